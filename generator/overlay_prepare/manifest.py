# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A description of each file of an image, kept beside the upper layer for the policy refresh: from it an update knows
which files of the upper layer are the same as the previous image's.

It is the file `contents` in the backing directory, and made in a process of its own once the image has changed, as
that reads all of the image's directory. The first line names the image, each other one has a path, a tab, and the text
that describe() makes.
"""

import errno
import posix

from overlay_generator.names import escape_line, unescape_line
from overlay_prepare.files import find_device, find_kind, is_on, list_attributes
from overlay_prepare.folder import NEW, WrongKind, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from overlay_prepare.folder import Folder

NAME = "contents"
MOST = 64 << 20  # bytes
_MOST_LINES = 1 << 19  # short lines take many times their size in memory
_PART = 262144  # bytes of a file that are read at once


def describe(path: str, other: str = "") -> str:
    """What is at `path`: its kind, mode, owner, attributes and content, the same text for the same thing.

    A file is not read if the rest differs from the text `other` already. Times don't count, except for an empty file,
    which has nothing else to compare. Returns "", which equals no description, where lstat(2) fails over a time after
    2038, as the C library's time_t has 32 bits, or the attributes are too many to be listed. Raises OSError.
    """
    kind = find_kind(path)
    try:
        info = posix.lstat(path)
        attributes = _digest_attributes(path)
    except OSError as error:
        if error.errno not in (errno.EOVERFLOW, errno.E2BIG):
            raise
        return ""
    text = f"{kind} {info.st_mode & 0o7777:o} {info.st_uid} {info.st_gid} {attributes} "
    if kind == "l":
        return text + escape_line(posix.readlink(path)).replace("\t", " ")
    if kind == "o":
        return f"{text}{info.st_rdev}"
    if kind == "d":
        return text
    text += f"{info.st_size} "
    if not info.st_size:
        return f"{text}{info.st_mtime_ns}"
    return text + _digest(path) if not other or other.startswith(text) else text


def read(backing: "Folder") -> "dict[str, str] | None":
    """The descriptions by path, of the image that the upper layer was last mounted over; None if there are none.

    Raises OSError.
    """
    from overlay_prepare import stamp

    return parse(backing.recover(NAME, MOST) or b"", stamp.read_previous(backing))


def parse(data: bytes, identity: str) -> "dict[str, str] | None":
    """The descriptions in `data`, the content of the file, None if they are not of the image of `identity`. Pure."""
    lines = _split_lines(data)
    if next(lines, None) != _name_image(identity).encode("utf-8", "surrogateescape"):
        return None
    found: dict[str, str] = {}
    for line in lines:
        path, tab, text = line.decode("utf-8", "surrogateescape").rpartition("\t")
        if tab:
            found[unescape_line(path)] = text
        if len(found) > _MOST_LINES:
            return None  # it is not ours, which write() has not begun then
    return found


def _split_lines(data: bytes) -> "Iterator[bytes]":
    """The lines of `data`, one after the other: all at once would take many times its size."""
    start = 0
    while start <= len(data):
        end = data.find(b"\n", start)
        end = end if end != -1 else len(data)
        yield data[start:end]
        start = end + 1


def is_current(backing: "Folder", identity: str) -> bool:
    """True if the descriptions are there for the image of `identity`. Raises OSError."""
    try:
        fd = backing.open_file(NAME, MOST)
    except FileNotFoundError:
        return False
    except WrongKind as error:
        backing.put_aside(NAME, error.strerror)
        return False
    try:
        return is_of(fd, identity)
    finally:
        posix.close(fd)


def is_of(fd: int, identity: str) -> bool:
    """True if the open file `fd`, of which nothing was read, has the descriptions of the image of `identity`."""
    first = _name_image(identity).encode("utf-8", "surrogateescape") + b"\n"
    return posix.read(fd, len(first)) == first


def write(backing: "Folder", identity: str) -> None:
    """Describe everything below the current directory, which is the image's. Raises OSError."""
    fd = backing.create(NAME + NEW)
    try:
        first = f"{_name_image(identity)}\n".encode("utf-8", "surrogateescape")
        write_all(fd, first)
        lines, size = 0, len(first)
        device = find_device(".")
        pending = ["."]
        while pending:
            directory = pending.pop()
            with posix.scandir(directory) as entries:
                for entry in entries:
                    text = describe(entry.path)
                    if text:
                        line = f"{escape_line(entry.path[2:])}\t{text}\n".encode("utf-8", "surrogateescape")
                        write_all(fd, line)
                        lines, size = lines + 1, size + len(line)
                        if lines > _MOST_LINES or size > MOST:
                            raise OSError(errno.EFBIG, posix.strerror(errno.EFBIG), backing.spell(NAME))
                    if entry.is_dir(follow_symlinks=False) and is_on(entry, device):
                        pending.append(entry.path)
        posix.fsync(fd)
    except OSError:
        backing.remove_file(NAME + NEW)
        raise
    finally:
        posix.close(fd)
    backing.finish(NAME)


def _name_image(identity: str) -> str:
    # Not a digest: hashlib costs as much as the interpreter's start, and this is compared at each boot.
    return "# " + escape_line(identity)


def _digest(path: str) -> str:
    from hashlib import sha256

    total = sha256()
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW)
    try:
        while data := posix.read(fd, _PART):
            total.update(data)
    finally:
        posix.close(fd)
    return total.hexdigest()


def _digest_attributes(path: str) -> str:
    """A text for the extended attributes, without those of overlayfs; "-" where there are none."""
    names = sorted(list_attributes(path))
    if not names:
        return "-"
    from hashlib import sha256

    total = sha256()
    for name in names:
        value = posix.getxattr(path, name, follow_symlinks=False)
        total.update(f"{name}={len(value)}:".encode("utf-8", "surrogateescape") + value)
    return total.hexdigest()
