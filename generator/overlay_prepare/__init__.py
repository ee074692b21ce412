# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prepares the layers of overlays at boot; called by the services that overlay-generator(8) generates."""
