# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sets marks of overlayfs on directories in which their owners may have left no room for one: on ext4 the attributes of
a directory have a block and what is free in the inode, and anybody can fill that with attributes of the name user.*.
"""

import errno
import posix

from overlay_prepare.files import MARKS, NO_SPACE, read_attribute, set_attribute
from overlay_prepare.folder import Folder
from overlay_prepare.report import WARNING, say
from overlay_prepare.reserve import is_low

OPAQUE, ORIGIN = MARKS + "opaque", MARKS + "origin"
NO_ROOM = (*NO_SPACE, errno.E2BIG)
_MOST = 8  # attributes that go for a mark, of which one is nearly always enough


def make_opaque(folder: Folder) -> bool:
    """Let the directory hide what the image has there; False where there is no room for the mark. Raises OSError.

    An attribute or two of the owner's may go for it, which is told: what was deleted there stays deleted.
    """
    if set_mark(folder, OPAQUE, b"y"):
        return True
    say(WARNING, f"{folder.path} can't hide what the image has there: its attributes take all the room that it has")
    return False


def mark_whiteouts(folder: Folder) -> None:
    """Make the kernel look for whiteouts in `folder` even if the image has no such directory. Raises OSError."""
    # See normalise.py: "copied up from somewhere unknown". Where its owner has left no room for it, they are listed as
    # names that don't exist, or nobody gets into the directory, as the kernel sets it itself (ENOSPC, Linux 6.18).
    if not has_mark(folder, ORIGIN) and not set_mark(folder, ORIGIN, b""):
        say(WARNING, f"{folder.path} can't be marked for what was deleted in it: its attributes take all the room")


def set_mark(folder: Folder, name: str, value: bytes) -> bool:
    """Set an attribute of overlayfs, for which an attribute of the owner's may go; False where there is no room even
    then. Raises OSError, also where it is the disk that is full.
    """
    if _try(folder, name, value):
        return True
    taken: list[tuple[str, bytes]] = []
    for other, content in _list_owners(folder, len(name) + len(value))[:_MOST]:
        posix.removexattr(folder.fd, other)
        taken.append((other, content))
        if _try(folder, name, value):
            names = " ".join(other for other, _ in taken)
            say(WARNING, f"{folder.path} has lost {names}: its attributes took all the room that it has")
            return True
    for other, content in taken:
        posix.setxattr(folder.fd, other, content)
    return False


def _try(folder: Folder, name: str, value: bytes) -> bool:
    try:
        set_attribute(folder.fd, folder.path, name, value)
    except OSError as error:
        # Where nothing fits on the disk, nothing of a user's goes for it.
        if error.errno in NO_ROOM and not is_low(folder):
            return False
        raise
    return True


def has_mark(folder: Folder, name: str) -> bool:
    """True if the directory has the attribute. Raises OSError."""
    # Not from the list of all: that fails where they are too many (E2BIG), as anybody can make them.
    return read_attribute(folder.fd, folder.path, name) is not None


def _list_owners(folder: Folder, size: int) -> "list[tuple[str, bytes]]":
    """Those that the owner has set and that nobody but programs of theirs obeys: of those of `size` the smallest first,
    then smaller ones.
    """
    try:
        names = [name for name in posix.listxattr(folder.fd) if name.startswith("user.")]
    except OSError:
        return []
    found = [(name, posix.getxattr(folder.fd, name)) for name in names]
    found.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
    enough = [pair for pair in found if len(pair[0]) + len(pair[1]) >= size]
    return enough + found[: len(found) - len(enough)][::-1]
