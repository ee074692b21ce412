# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads an upper layer against a lower one, as overlayfs merges them. The library of diff, export and stage."""
