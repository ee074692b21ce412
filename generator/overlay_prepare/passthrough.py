"""Directories that are passed through: kept beside the upper layer and bound over the overlay.

For what can't live on an overlay, such as the storage of a container engine. Each is in `direct` of the backing
directory, under the flat name of its path. The first time it takes over what the upper layer has there, then what the
image has. The steps have names of their own on the disk, and none is given before what it stands for is there for
good, so that a power cut at any moment is no harm:

NAME~filling  what the image has and the user has not is copied here. The upper layer is as it was, and a boot that
              finds one begins anew: nobody knows what of it came to the disk, nor of which image.
NAME~filled   all of that is on the disk.
NAME.full     what the user has, out of the upper layer. What is in NAME~filled moves here, marks are taken out.
NAME          done.
"""

import posix

from overlay_generator.names import backing_name, unflatten
from overlay_prepare.files import (
    MARKS,
    find_kind,
    is_too_long,
    leads_to_directory,
    list_entries,
    make_directory,
    sync_directory,
)
from overlay_prepare.imagecopy import copy_missing, move_below
from overlay_prepare.normalise import is_whiteout, remove
from overlay_prepare.upper import copy_attributes

TOP = "direct"
# A flat name has no "~". Those with a dot could be another path's, and are what 0.1.0 knows.
_FILLING, _FILLED, _FULL = "~filling", "~filled", ".full"
_TAKEN = ".taken"  # of 0.1.0 only: the user's files and some of the image's


def make_direct(where: str, backing: str, path: str) -> None:
    """Make the directory for the absolute `path` below `where`, unless it is there already. Raises OSError."""
    top = f"{backing}/{TOP}"
    make_directory(top, 0o700)
    target = f"{top}/{backing_name(path)}"
    if not find_kind(target):
        inner = f"{backing}/upper/{path[len(where.rstrip('/')) + 1 :]}"
        if not find_kind(target + _FULL):
            mine = _find_mine(f"{backing}/upper", inner, target)
            _fill(path, target, mine)
            if mine:
                posix.rename(target + _FILLING, target + _FILLED)
                # In this order also on a disk: without NAME~filled, what the image has would be missing for good.
                posix.sync()
                posix.rename(mine, target + _FULL)
            else:
                posix.rename(target + _FILLING, target)
        if find_kind(target + _FULL):
            _finish(target, inner)
        sync_directory(top)
    for leftover in (_FILLING, _FILLED):
        remove(target + leftover)


def link(name: str, backing: str, state: str) -> None:
    """Make the path by which the units name the directories: a link in the directory `state`. Raises OSError."""
    path = f"{state}/{name}.{TOP}"
    try:
        posix.symlink(f"{backing}/{TOP}", path)
    except FileExistsError:
        pass


def list_others(backing: str, direct: "tuple[str, ...]") -> "list[tuple[str, str]]":
    """The paths that were passed through and are not among `direct`, and the directories where what was written there
    is; but for empty ones. Raises OSError.
    """
    found = []
    wanted = {backing_name(path) for path in direct}
    for entry in list_entries(f"{backing}/{TOP}"):
        name = entry.name[: -len(_FULL)] if entry.name.endswith(_FULL) else entry.name
        if "~" in name or name in wanted or not entry.is_dir(follow_symlinks=False) or not list_entries(entry.path):
            continue
        try:
            found.append((unflatten(name), entry.path))
        except ValueError:
            pass  # of somebody else's making
    return found


def _find_mine(upper: str, inner: str, target: str) -> str:
    """The directory with what was written there before it was passed through, as nobody would find that below the
    bind mount; "" for none.
    """
    if find_kind(target + _TAKEN) == "d":
        return target + _TAKEN
    return inner if leads_to_directory(upper, inner[len(upper) + 1 :]) else ""


def _fill(image: str, target: str, mine: str) -> None:
    """Make NAME~filling of what `image` has and `mine` has not; it is on the disk when this returns."""
    filling = target + _FILLING
    remove(filling)
    # Without NAME.full beside it, the user has been at what it was compared with.
    remove(target + _FILLED)
    posix.mkdir(filling, 0o755)
    try:
        if find_kind(image) == "d":
            copy_missing(image, filling, mine, {})
            copy_attributes(image, filling)
    except (OSError, RecursionError):
        # Not passed through then, and what the user has there is seen all the same. A full disk needs the room.
        remove(filling)
        raise
    posix.sync()


def _finish(target: str, inner: str) -> None:
    """Make NAME of NAME.full and NAME~filled. What can't be, as on a full disk, is given back to the upper layer."""
    full = target + _FULL
    try:
        if find_kind(target + _FILLED):
            move_below(target + _FILLED, full)
    except OSError:
        posix.rename(full, inner)
        raise
    _clean(full)
    # What was taken out must not be back under the last name: btrfs brings one directory to the disk without others.
    posix.sync()
    posix.rename(full, target)


def _clean(top: str) -> None:
    """Take out what only an overlay gives a meaning: whiteouts, and marks on directories and files."""
    pending = [top]
    while pending:
        directory = pending.pop()
        _strip(directory)
        for entry in list_entries(directory):
            if entry.is_dir(follow_symlinks=False):
                if not is_too_long(entry.path):
                    pending.append(entry.path)
            elif is_whiteout(entry):
                posix.unlink(entry.path)
            else:
                _strip(entry.path)


def _strip(path: str) -> None:
    for name in posix.listxattr(path, follow_symlinks=False):
        if name.startswith(MARKS):
            posix.removexattr(path, name, follow_symlinks=False)
