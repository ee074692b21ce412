# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Marks the image as good for what an update has frozen: run by overlay-commit.service, once boot-complete.target is
reached. The next boot folds the layers then, at once or after the time of Commit=.
"""

from overlay_prepare import frozen, stamp
from overlay_prepare.folder import Folder
from overlay_prepare.overlays import do_for_each
from overlay_prepare.report import ERROR, describe, say


def mark_all() -> int:
    """The exit status: 0, or 1 if one of the overlays could not be marked."""
    return do_for_each(mark, _tell)


def mark(backing: Folder) -> None:
    """Note when this image was good for the first time, where something is frozen. Raises OSError."""
    folder = frozen.open_frozen(backing)
    if not folder or not frozen.is_frozen(folder):
        return
    image = stamp.read_previous(backing)
    if image:
        frozen.mark_good(backing, image)


def _tell(path: str, error: OSError) -> None:
    say(ERROR, f"{path}: this boot can't be marked as good: {describe(error)}")
