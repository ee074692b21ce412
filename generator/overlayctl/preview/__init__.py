# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verb preview: what an update of the image will do to what a device has written, before it is made."""
