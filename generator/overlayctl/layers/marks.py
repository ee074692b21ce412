# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads the marks of overlayfs in an upper layer: whiteouts, opaque directories, redirects, files without data.

After the kernel's Documentation/filesystems/overlayfs.rst; the same was seen on Linux 6.1, 6.12 and 6.18. Paths are
bytes, as names of files need not be text. Nothing is written, and no symbolic link followed.
"""

import errno
import os
from os import getxattr, listxattr

from overlay_prepare.files import is_of_disk, list_known
from overlayctl.layers.directory import Directory

PREFIX = "trusted.overlay."
_OPAQUE, _REDIRECT = PREFIX + "opaque", PREFIX + "redirect"
METACOPY, _WHITEOUT = PREFIX + "metacopy", PREFIX + "whiteout"
# An overlay shows `trusted.overlay.X` of a file to its users where a layer has this prefix and X (Linux 6.7).
_ESCAPED = PREFIX + "overlay."

_TYPE, _CHARACTER, _DIRECTORY, _REGULAR = 0o170000, 0o020000, 0o040000, 0o100000


def is_whiteout(path: bytes, info: os.stat_result) -> bool:
    """True if the entry `path` of a layer says that there is nothing of this name. Raises OSError.

    A character device 0:0, or an empty file with an attribute. The latter come with `opaque=x` on their directory, so
    that the kernel need not look for them in others; empty files are rare enough to look without.
    """
    kind = info.st_mode & _TYPE
    if kind == _CHARACTER:
        return info.st_rdev == 0
    return kind == _REGULAR and not info.st_size and _WHITEOUT in list_attributes(path)


def read_directory(path: bytes) -> "tuple[bool, bytes]":
    """Whether the upper directory `path` hides the one below, and what it is merged with instead. Raises OSError.

    The latter is an absolute path from the overlay's top, the name of a neighbour, or b"" for the same name.
    """
    names = list_attributes(path)
    # Only y hides; x says that some of its files are whiteouts.
    if _OPAQUE in names and getxattr(path, _OPAQUE, follow_symlinks=False) == b"y":
        return True, b""
    if _REDIRECT in names:
        return False, getxattr(path, _REDIRECT, follow_symlinks=False)
    return False, b""


def find_redirected(redirect: bytes, lower: Directory, beside: "Directory | None") -> "tuple[Directory, bytes] | None":
    """Where a `redirect` leads in the layer `lower`: a directory, and a name in it that need not be there.

    `beside` is the lower directory that shows through the one that the redirected entry is in. None if there is none.
    As in the kernel no symbolic link is followed. Raises OSError.
    """
    start = lower if redirect.startswith(b"/") else beside
    *parts, name = redirect.lstrip(b"/").split(b"/")
    if start is None or name in (b"", b".", b".."):
        return None
    directory = start.descend(parts)
    return None if directory is None else (directory, name)


def find_data(path: bytes, lower: bytes, below: "bytes | None") -> "tuple[bytes, object]":
    """Where the content of the regular file `path` lies: there, or in the lower layer if metadata alone was copied.

    `below` is its place in the lower layer, None if that does not show. The path is valid as long as the second of the
    two is held. `lower` is Layers.data. Raises OSError, also if the image no longer has the content.
    """
    names = list_attributes(path)
    if METACOPY not in names:
        return path, None
    if not lower:
        raise OSError(errno.ENODATA, "its content was left in one of two layers, and is not looked for", path)
    held: Directory | None = None
    if _REDIRECT in names:
        redirect = getxattr(path, _REDIRECT, follow_symlinks=False)
        if redirect.startswith(b"/"):
            found = find_redirected(redirect, Directory.open_top(lower), None)
            held = found[0] if found else None
            below = found[0].path + b"/" + found[1] if found else None
        elif below is not None:
            below = None if b"/" in redirect else below.rpartition(b"/")[0] + b"/" + redirect
    if below is None or not os.path.lexists(below):
        raise OSError(errno.ENODATA, "its content was left in the image, which has it no longer", path)
    return below, held


def read_attributes(path: bytes) -> "dict[str, bytes]":
    """The extended attributes that an overlay shows of the entry `path` of a layer. Raises OSError."""
    return {name: getxattr(path, name, follow_symlinks=False) for name in list_attributes(path) if is_shown(name)}


def is_shown(name: str) -> bool:
    """False for an attribute that is overlayfs's own, or tells how the disk keeps the file."""
    return (not name.startswith(PREFIX) or name.startswith(_ESCAPED)) and not is_of_disk(name)


def list_attributes(path: bytes) -> "list[str]":
    """The names of all attributes, none where the file system has none. Raises OSError."""
    try:
        return listxattr(path, follow_symlinks=False)
    except OSError as error:
        # A squashfs without a table of them (Linux 6.12).
        if error.errno == errno.ENOTSUP:
            return []
        if error.errno != errno.E2BIG:
            raise
    # Whoever owns a file can make the list longer than the kernel gives out: then of all that is known.
    text = os.fsdecode(path)
    return list_known(text, text)[0]
