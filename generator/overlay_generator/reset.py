"""Puts an upper layer aside and deletes it later. Only before its overlay is mounted, never of a mounted one."""

import posix

from overlay_generator import stamp
from overlay_generator.files import make_directory, sync_directory
from overlay_generator.normalise import remove_below

TRASH = "trash"


def reset(backing: str) -> bool:
    """True if there was an upper layer and it has been put aside, with its work directory. Raises OSError.

    Renames alone, so that it takes no time, and a power cut leaves the old layer, or none.
    """
    number = 0
    trash = f"{backing}/{TRASH}"
    make_directory(trash, 0o700)
    while True:
        try:
            posix.mkdir(f"{trash}/{number}", 0o700)
            break
        except FileExistsError:
            number += 1
    # The stamp goes first: a new upper layer beside the old work directory is then made fit before it is used.
    stamp.mark_changing(backing)
    found = False
    for name in ("upper", "work"):
        try:
            posix.rename(f"{backing}/{name}", f"{trash}/{number}/{name}")
            found = True
        except FileNotFoundError:
            pass
    sync_directory(backing)
    return found


def empty_trash(backing: str) -> None:
    """Delete what reset() has put aside, also by earlier boots. Raises OSError."""
    remove_below(f"{backing}/{TRASH}")
    posix.rmdir(f"{backing}/{TRASH}")
