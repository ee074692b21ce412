# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Marks the image as good for what an update has frozen: run by overlay-commit.service, once boot-complete.target is
reached. The next boot folds the layers then, at once or after the time of Commit=.
"""

from overlay_generator.names import BACKING_ROOT
from overlay_prepare import frozen, stamp
from overlay_prepare.files import list_entries
from overlay_prepare.folder import Folder, open_top
from overlay_prepare.report import ERROR, STATE, WARNING, describe, say


def mark_all() -> int:
    """The exit status: 0, or 1 if one of the overlays could not be marked."""
    status = 0
    for entry in list_entries(STATE):
        if not entry.name.endswith(".json"):
            continue
        path = f"{BACKING_ROOT}/{entry.name[:-5]}"
        try:
            with open_top(path, lambda text: say(WARNING, text)) as backing:
                mark(backing)
        except FileNotFoundError:
            pass  # in memory at another place, and nothing is frozen there
        except OSError as error:
            say(ERROR, f"{path}: this boot can't be marked as good: {describe(error)}")
            status = 1
    return status


def mark(backing: Folder) -> None:
    """Note when this image was good for the first time, where something is frozen. Raises OSError."""
    folder = frozen.open_frozen(backing)
    if not folder or not frozen.is_frozen(folder):
        return
    image = stamp.read_previous(backing)
    if image:
        frozen.mark_good(backing, image)
