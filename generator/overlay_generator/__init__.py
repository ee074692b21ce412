# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlay-generator: makes directories of a read-only image writable at boot, see overlay-generator(8)."""

__version__ = "0.1.0"
