# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl: the operator's command for the overlays that overlay-generator makes, see overlayctl(1)."""
