# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Opens what an update will bring: a tree, the image of a file system, a disk; read, and never written."""
