"""What overlayfs notes in an upper layer, read: whiteouts, opaque directories, redirects, files without data.

By the kernel's Documentation/filesystems/overlayfs.rst; seen alike on Linux 6.1, 6.12 and 6.18. Paths are bytes, as
names of files need not be text. Nothing is written, and no symbolic link followed.
"""

import errno
import os
from os import getxattr, listxattr

PREFIX = "trusted.overlay."
_OPAQUE, _REDIRECT = PREFIX + "opaque", PREFIX + "redirect"
METACOPY, _WHITEOUT = PREFIX + "metacopy", PREFIX + "whiteout"
# An overlay shows `trusted.overlay.X` of a file to its users where a layer has this prefix and X (Linux 6.7).
_ESCAPED = PREFIX + "overlay."

_TYPE, _CHARACTER, _DIRECTORY, _REGULAR = 0o170000, 0o020000, 0o040000, 0o100000


def is_whiteout(path: bytes, info: os.stat_result) -> bool:
    """True if the entry `path` of a layer says that there is nothing of this name. Raises OSError.

    A character device 0:0, or an empty file with an attribute. The mark `opaque=x` that goes with the latter spares
    the kernel the question for each name of a directory; an empty file is rare enough to be asked.
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


def find_redirected(redirect: bytes, lower: bytes, beside: "bytes | None") -> "bytes | None":
    """The place in the layer `lower` that a `redirect` means, None if there is none. Raises OSError.

    `beside` is the lower directory that shows through the one that the redirected entry is in.
    """
    if not redirect.startswith(b"/"):
        return None if beside is None else _descend(beside, [redirect])
    return _descend(lower, redirect[1:].split(b"/"))


def _descend(directory: bytes, parts: "list[bytes]") -> "bytes | None":
    """`parts` below `directory`, None if it is not there; as the kernel, without following a symbolic link."""
    path = directory
    for number, part in enumerate(parts, 1):
        if part in (b"", b".", b".."):
            return None
        path += b"/" + part
        try:
            info = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if number < len(parts) and info.st_mode & _TYPE != _DIRECTORY:
            return None
    return path


def find_data(path: bytes, lower: bytes, below: "bytes | None") -> bytes:
    """Where the content of the regular file `path` lies: there, or in the lower layer if metadata alone was copied.

    `below` is the place below it there, None if that does not show. Raises OSError, also if the image has the content
    no longer.
    """
    names = list_attributes(path)
    if METACOPY not in names:
        return path
    if _REDIRECT in names:
        beside = None if below is None else below.rpartition(b"/")[0]
        below = find_redirected(getxattr(path, _REDIRECT, follow_symlinks=False), lower, beside)
    if below is None or not os.path.lexists(below):
        raise OSError(errno.ENODATA, "its content was left in the image, which has it no longer", path)
    return below


def read_attributes(path: bytes) -> "dict[str, bytes]":
    """The extended attributes that an overlay shows of the entry `path` of a layer. Raises OSError."""
    return {name: getxattr(path, name, follow_symlinks=False) for name in list_attributes(path) if is_shown(name)}


def is_shown(name: str) -> bool:
    """False for an attribute that is overlayfs's own."""
    return not name.startswith(PREFIX) or name.startswith(_ESCAPED)


def list_attributes(path: bytes) -> "list[str]":
    """The names of all attributes, none where the file system has none. Raises OSError."""
    try:
        return listxattr(path, follow_symlinks=False)
    except OSError as error:
        # A squashfs without a table of them (Linux 6.12).
        if error.errno == errno.ENOTSUP:
            return []
        raise
