# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Opens directories for the functions of prepare that want them open."""

from pathlib import Path

from overlay_prepare.folder import Folder, open_top


def hold(path: "str | Path", told: "list[str] | None" = None) -> Folder:
    """The directory `path`, open until it is dropped; what it reports is added to `told`."""
    return open_top(str(path), (told if told is not None else []).append)
