# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A directory that more than one layer may have, merged as overlayfs does, for what an update has frozen.

Seen on Linux 6.18, and in ovl_lookup(): of a name, the layer on top that has it counts. Directories are merged with
those of the same name below, down to one that is opaque, to a whiteout, or to something else than a directory: that
also ends what shows of the image. A redirect gives the name in the layers below.
"""

import errno
import os
import stat
from typing import Optional, Union

from overlayctl.layers.directory import Directory
from overlayctl.layers.marks import is_whiteout, read_directory

Entry = Optional[tuple[bytes, os.stat_result]]
Levels = tuple[Optional[Directory], ...]


class Stack:
    """One directory as the layers have it: `levels` from the top down, None where a layer lacks it; `tops` are those of
    the layers. It has what Directory has, of itself that of the topmost one. `hides`: nothing below them shows in it.
    """

    __slots__ = ("first", "hides", "levels", "tops")

    def __init__(self, levels: Levels, tops: "tuple[Directory, ...]", hides: bool = False) -> None:
        self.levels = levels
        self.tops = tops
        self.hides = hides
        self.first = next(level for level in levels if level is not None)

    @classmethod
    def open_tops(cls, *paths: bytes) -> "Stack":
        """The tops of the layers at `paths`. Raises OSError."""
        tops = tuple(Directory.open_top(path) for path in paths)
        return cls(tops, tops)

    @property
    def single(self) -> bool:
        """True if one layer alone has it."""
        return sum(level is not None for level in self.levels) == 1

    @property
    def fd(self) -> int:
        """The descriptor of the topmost one. Raises OSError."""
        return self.first.fd

    @property
    def path(self) -> bytes:
        """A path to the topmost one. Raises OSError."""
        return self.first.path

    @property
    def itself(self) -> bytes:
        """As that of Directory. Raises OSError."""
        return self.first.itself

    def find(self) -> os.stat_result:
        """What fstat(2) says of the topmost one. Raises OSError."""
        return self.first.find()

    def names(self) -> "list[bytes]":
        """All names, those of whiteouts too. Raises OSError."""
        if self.single:
            return self.first.names()
        return list({name for level in self.levels if level is not None for name in level.names()})

    def parts(self) -> "list[bytes]":
        """The names from the top to it."""
        return self.first.parts()

    def close(self) -> None:
        """Close the descriptors; they are opened again when they are needed."""
        for level in self.levels:
            if level is not None:
                level.close()

    def find_holder(self, name: bytes) -> Directory:
        """The topmost directory that has `name`. Raises FileNotFoundError if none has, OSError."""
        for level in self.levels:
            try:
                if level is not None:
                    os.lstat(name, dir_fd=level.fd)
                    return level
            except FileNotFoundError:
                continue
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)

    def enter(self, name: bytes) -> "Merged":
        """The directory `name` in it. Raises OSError, also if it is not a directory."""
        return self.merge(name)[0]

    def descend(self, parts: "list[bytes]") -> "Merged | None":
        """The directory that `parts` lead to, None if it is not there. Raises OSError."""
        current: Merged = self
        for number, part in enumerate(parts):
            if not isinstance(current, Stack):
                return current.descend(parts[number:])
            if part in (b"", b".", b".."):
                return None
            try:
                current = current.merge(part)[0]
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    return None
                raise
        return current

    def merge(self, name: bytes) -> "tuple[Merged, bool, bytes]":
        """The directory `name` in it; whether it hides what is below all of these layers; and what it is merged with
        there instead, as read_directory() tells it. Raises OSError, also if it is not a directory.
        """
        found: list[Directory | None] = []
        hides, redirect = False, b""
        for level, top in zip(self.levels, self.tops):
            inner = None
            if not hides:
                if redirect.startswith(b"/"):
                    at, last, redirect, hides = _follow(top, redirect)
                else:
                    at, last = level, redirect or name
                if at is not None and _find_type(at, last):
                    if _find_type(at, last) != stat.S_IFDIR:
                        if not any(found):
                            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
                        hides = True
                    else:
                        inner = at.enter(last)
                        opaque, more = read_directory(inner.itself)
                        hides, redirect = hides or opaque, _join(redirect, more)
            found.append(inner)
        if not any(found):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        lowest = found[-1]
        if lowest is not None and not any(found[:-1]):
            return lowest, hides, redirect
        return Stack(tuple(found), self.tops, hides), hides, redirect


Merged = Union[Directory, Stack]


def hold(directory: Merged, name: bytes) -> Directory:
    """The one directory in which `name` of `directory` lies. Raises OSError, also if a stack has no such name."""
    return directory.find_holder(name) if isinstance(directory, Stack) else directory


def is_hiding(directory: Merged) -> bool:
    """True if nothing of what is below these layers shows in `directory`, by itself. Raises OSError."""
    return directory.hides if isinstance(directory, Stack) else read_directory(directory.itself)[0]


def find_entry(directory: "Merged | None", name: bytes) -> Entry:
    """What `directory` has at `name`, also if it is a whiteout; None for nothing. Raises OSError."""
    if directory is None:
        return None
    try:
        fd = hold(directory, name).fd
        return b"/proc/self/fd/%d/%b" % (fd, name), os.lstat(name, dir_fd=fd)
    except FileNotFoundError:
        return None


def are_same(one: "Merged | None", other: "Merged | None") -> bool:
    """True if both are there and one directory."""
    if isinstance(one, Stack) and isinstance(other, Stack):
        pairs = zip(one.levels, other.levels)
        return all(level is below or (level is not None and level.is_same(below)) for level, below in pairs)
    return isinstance(one, Directory) and isinstance(other, Directory) and one.is_same(other)


def look(directory: "Merged | None", name: bytes) -> Entry:
    """What `directory` has at `name`, None for a whiteout. Raises OSError, also where there is nothing."""
    assert directory is not None
    fd = hold(directory, name).fd
    path = b"/proc/self/fd/%d/%b" % (fd, name)
    info = os.lstat(name, dir_fd=fd)
    if (not info.st_size or stat.S_ISCHR(info.st_mode)) and is_whiteout(path, info):
        return None
    return path, info


def _find_type(directory: Directory, name: bytes) -> int:
    """The type of what `directory` has at `name`, 0 for nothing. Raises OSError."""
    try:
        return stat.S_IFMT(os.lstat(name, dir_fd=directory.fd).st_mode)
    except FileNotFoundError:
        return 0


def _follow(top: Directory, redirect: bytes) -> "tuple[Directory | None, bytes, bytes, bool]":
    """Where an absolute `redirect` leads in the layer `top`: a directory, None if it is not there, and the name in it;
    what it is for the layers below, as a directory on the way may have been moved too; True if that is hidden.
    """
    *parts, last = redirect.strip(b"/").split(b"/")
    at, way = top, b""
    for number, part in enumerate(parts):
        kind = _find_type(at, part)
        if kind != stat.S_IFDIR:
            return None, last, redirect, bool(kind)
        at = at.enter(part)
        opaque, more = read_directory(at.itself)
        way = _join(way + b"/" + part, more)
        redirect = b"/".join((way, *parts[number + 1 :], last))
        if opaque:
            return at.descend(parts[number + 1 :]), last, redirect, True
    return at, last, redirect, False


def _join(redirect: bytes, more: bytes) -> bytes:
    """The redirect that `more`, found where `redirect` led to, makes of it."""
    if not more or more.startswith(b"/") or not redirect.startswith(b"/"):
        return more or redirect
    return redirect.rpartition(b"/")[0] + b"/" + more
