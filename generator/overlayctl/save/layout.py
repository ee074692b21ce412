# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What git and a tar can't keep of a tree: reads the lines of `layout` in a case directory, and carries them out.

A line is a type, a path and arguments, after tmpfiles.d(5):

    d PATH [MODE [UID GID]]   a directory
    f PATH TEXT               a file
    L PATH TARGET             a symbolic link, also in the place of a file
    p PATH                    a FIFO
    r PATH                    remove what is there
    x PATH NAME VALUE         set an extended attribute
    * PATH COUNT TEXT         COUNT times TEXT at the end of a file, %d in it is the number

PATH, TEXT and TARGET have Python's escapes, as bytes. A case may come from a stranger: whatever it says, nothing is
done outside of the directory that it is carried out in.
"""

import os
import shutil
import stat
from collections.abc import Callable
from typing import NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LONGEST = 64 << 20  # bytes that one line makes


class Line(NamedTuple):
    """One line, its `path` and `rest` as they are written."""

    kind: str
    path: str
    rest: str


def parse(text: str) -> "list[Line]":
    """The lines of `text` that say something."""
    # Not splitlines(): that also splits at characters which a path may have.
    lines = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
    return [Line(*[*line.split(None, 2), "", ""][:3]) for line in lines]


def escape(text: str) -> str:
    """`text` as one word of a line."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(b) if 0x20 < b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in data)


def unescape(text: str) -> bytes:
    """What escape() made `text` of. Raises ValueError."""
    return text.encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1")


class Builder:
    """Carries lines out below the directory `top`, by descriptors: no link on the way is followed."""

    def __init__(self, top: str) -> None:
        self._top = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the directory."""
        os.close(self._top)

    def make(self, line: Line) -> None:
        """Do what `line` says. Raises OSError, ValueError for one that is not understood or leads elsewhere."""
        if line.kind not in _MAKERS:
            raise ValueError(f"layout: unknown type {line.kind!r}")
        directory, name = self._open_parent(unescape(line.path))
        try:
            _MAKERS[line.kind](directory, name, line.rest)
        finally:
            os.close(directory)

    def _open_parent(self, path: bytes) -> "tuple[int, bytes]":
        """A descriptor of the directory that `path` is in, made where it is missing, and the name in it."""
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise ValueError(f"layout: {os.fsdecode(path)!r} leads out of the tree")
        current = os.dup(self._top)
        for part in parts[:-1]:
            try:
                _make_directory(part, current)
                inner = os.open(part, _DIRECTORY, dir_fd=current)
            finally:
                os.close(current)
            current = inner
        return current, parts[-1] if parts else b"."


def _make_directory(name: bytes, directory: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=directory)
    except FileExistsError:
        pass  # if it is not a directory, opening it fails


def _add_directory(directory: int, name: bytes, rest: str) -> None:
    mode, *owner = (rest or "0755").split()
    _make_directory(name, directory)
    fd = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        if owner:
            os.fchown(fd, int(owner[0]), int(owner[1]))
        os.fchmod(fd, int(mode, 8))
    finally:
        os.close(fd)


def _add_file(directory: int, name: bytes, rest: str) -> None:
    with os.fdopen(os.open(name, _WRITE | os.O_TRUNC, 0o644, dir_fd=directory), "wb") as stream:
        stream.write(unescape(rest))


def _append(directory: int, name: bytes, rest: str) -> None:
    count, text = rest.split(None, 1)
    if int(count) * len(text) > _LONGEST:
        raise ValueError(f"layout: {count} times are too many")
    with os.fdopen(os.open(name, _WRITE | os.O_APPEND, 0o644, dir_fd=directory), "ab") as stream:
        stream.writelines(unescape(text.replace("%d", str(number))) for number in range(int(count)))


def _add_link(directory: int, name: bytes, rest: str) -> None:
    try:
        if stat.S_ISREG(os.lstat(name, dir_fd=directory).st_mode):
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass  # the usual case: nothing is in its place
    os.symlink(unescape(rest), name, dir_fd=directory)


def _remove(directory: int, name: bytes, _rest: str) -> None:
    if stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
        shutil.rmtree(b"/proc/self/fd/%d/%b" % (directory, name))
    else:
        os.unlink(name, dir_fd=directory)


def _set_attribute(directory: int, name: bytes, rest: str) -> None:
    attribute, value = rest.split(None, 1)
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.setxattr(fd, attribute, value.encode())
    finally:
        os.close(fd)


_MAKERS: "dict[str, Callable[[int, bytes, str], None]]" = {
    "d": _add_directory, "f": _add_file, "L": _add_link, "r": _remove, "x": _set_attribute, "*": _append,
    "p": lambda directory, name, _rest: os.mkfifo(name, dir_fd=directory),
}  # fmt: skip
