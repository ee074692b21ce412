# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Steps back to what an update has frozen: the upper layer of the image before is its upper layer again, to the byte.

By renames alone, which need no room. The newer upper layer is kept as `undone`; of two of them the older goes.
"""

import posix

from overlay_prepare import frozen, stamp
from overlay_prepare.folder import Folder
from overlay_prepare.report import WARNING, describe, say
from overlay_prepare.reset import put_aside
from overlay_prepare.tree import remove, remove_below


def step_back(backing: Folder, folder: Folder) -> bool:
    """Make the layer that is frozen in `folder` the upper one again, with its notes; True if there is one of newer data
    that was put aside. Raises OSError.

    Done again after a half it goes on with the rest.
    """
    if not folder.find_kind(frozen.UNDOING):
        # Also an empty one: it tells, once nothing is frozen any more, whose the notes are.
        if backing.find_kind("upper"):
            backing.rename("upper", frozen.UNDOING, folder)
    elif not frozen.remove_empty(backing, "upper"):
        # Of a step back that another program's boot has come between.
        _put_aside(backing, folder)
        backing.rename("upper", frozen.UNDOING, folder)
    if not frozen.is_leaving(folder):
        folder.make(frozen.FORMER).close()  # so that there is a sign of it in any case
    if folder.find_kind(frozen.KEPT):
        # As long as it has its name, the rest counts as frozen.
        if folder.find_kind(frozen.LAYER):
            remove(folder, frozen.FORMER)  # there where another program's boot has come between
            folder.rename(frozen.LAYER, frozen.FORMER)
        folder.rename(frozen.KEPT, "upper", backing)
    else:
        folder.rename(frozen.LAYER, "upper", backing)
    # In this order also on a disk: without the layer its notes would be another one's.
    posix.sync()
    kept = finish(backing, folder)
    if backing.find_kind("work"):
        with backing.open("work") as work:
            remove_below(work)
    put_aside(backing, frozen.NAME)
    return kept


def finish(backing: Folder, folder: Folder) -> bool:
    """Bring the notes of the layer that is the upper one again to it, and put the newer one aside; False if that has
    nothing. Raises OSError.
    """
    # Where that can't be read, those that are there may be back already.
    notes = frozen.read_fields(folder, frozen.SINCE).get("NOTES", " ".join(frozen.NOTES)).split()
    for name in frozen.NOTES:
        if folder.find_kind(name) == "f":
            backing.expect(name, "f")
            folder.rename(name, name, backing)
        elif name not in (*notes, frozen.IMAGE):
            frozen.drop(backing, name)
    for name in (frozen.GOOD, frozen.COMMIT):
        frozen.drop(backing, name)
    try:
        # It was frozen as its image would step back. Where another image boots next, it has to be frozen again.
        frozen.mark_capable(backing, stamp.read_previous(backing))
    except OSError as error:
        say(WARNING, f"{backing.path}: the next update will not be frozen: {describe(error)}")
    posix.sync()
    if frozen.remove_empty(folder, frozen.UNDOING):
        return False
    _put_aside(backing, folder)
    if folder.find_kind(frozen.SINCE) == "f":
        backing.expect(frozen.UNDONE_SINCE, "f")
        folder.rename(frozen.SINCE, frozen.UNDONE_SINCE, backing)
    posix.sync()
    return True


def take_back(backing: Folder, folder: Folder) -> None:
    """Undo the beginning of a step back that another image has come after. Raises OSError."""
    if not frozen.remove_empty(folder, frozen.FORMER):
        # Made anew by another image than that which comes next, it would not be the same.
        folder.rename(frozen.FORMER, frozen.LAYER)
    if folder.find_kind(frozen.UNDOING):
        folder.rename(frozen.UNDOING, "upper", backing)
    backing.sync()


def _put_aside(backing: Folder, folder: Folder) -> None:
    put_aside(backing, frozen.UNDONE)
    folder.rename(frozen.UNDOING, frozen.UNDONE, backing)
