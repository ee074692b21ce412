# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl reset and restore: leave a request in the backing directory, which the next boot carries out."""
