# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`python3 -m overlayctl`, for a checkout and for build machines that installed it with pip."""

from overlayctl.main import run

run()
