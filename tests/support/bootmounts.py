# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of real mounts share, see the fixture `check` in tests/generator/conftest.py."""

from collections.abc import Callable

VAR = "/run/buildroot/mounts/var"

Check = Callable[..., str]
