# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Directories of a layer, each held by a descriptor: users may rename what is in a layer while root reads it.

A name is looked up in the very directory that was listed, and a link in its place is not followed, so nothing outside
of the layer is ever reached. Paths begin with /proc/self/fd/N for the calls that take no descriptor of a directory.
"""

import errno
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

from overlayctl.errors import Failure

# O_NOATIME: reading must not change the layers.
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC
_MOST_OPEN = 300  # a process may have 1024 by default, and may fork helpers
_MOVED = "it was moved away while it was read"

# All open directories, except for tops, by their descriptors, in the order in which they were opened.
_opened: "dict[int, weakref.ref[Directory]]" = {}


class Directory:
    """A directory, opened when it is needed. However deep a tree is, only some of them are open at a time.

    The values of `fd` and `path` are valid until others are opened: ask for them each time.
    """

    __slots__ = ("__weakref__", "_above", "_fd", "_inode", "_name")

    def __init__(self, above: "Optional[Directory]", name: bytes) -> None:
        """Open it. Raises OSError, also if it is not a directory."""
        self._above = above
        self._name = name
        # The path of a top is given by the operator or the kernel, and may lead through links.
        flags = _FLAGS if above else _FLAGS & ~os.O_NOFOLLOW
        self._fd = open_quietly(name, flags, above.fd if above else None)
        info = os.fstat(self._fd)
        self._inode = (info.st_dev, info.st_ino)
        if above:
            self._remember()

    @classmethod
    def open_top(cls, path: bytes) -> "Directory":
        """The top of a layer. Raises OSError."""
        return cls(None, path)

    def __del__(self) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the descriptor; it is opened again when it is needed."""
        fd, self._fd = getattr(self, "_fd", -1), -1
        if fd >= 0:
            _opened.pop(fd, None)
            os.close(fd)

    @property
    def fd(self) -> int:
        """Its descriptor. Raises OSError if it was moved away since it was closed."""
        return self._fd if self._fd >= 0 else self._open_again()

    @property
    def path(self) -> bytes:
        """A path to it, without a slash at its end. Raises OSError."""
        return b"/proc/self/fd/%d" % self.fd

    def names(self) -> "list[bytes]":
        """The names in it. Raises OSError."""
        fd = self._open_for_listing()
        try:
            # In a third of the time of scan().
            return list(map(os.fsencode, os.listdir(fd)))
        finally:
            os.close(fd)

    @contextmanager
    def scan(self) -> "Iterator[Iterator[tuple[bytes, os.DirEntry[str]]]]":
        """What is in it, each with its name, one after the other. Raises OSError."""
        fd = self._open_for_listing()
        try:
            with os.scandir(fd) as entries:
                yield ((os.fsencode(entry.name), entry) for entry in entries)
        finally:
            os.close(fd)

    def _open_for_listing(self) -> int:
        # Listed by `path`, it would be opened without O_NOATIME; and processes that were forked share the position in
        # what `fd` lists.
        return open_quietly(self.path, _FLAGS & ~os.O_NOFOLLOW)

    @property
    def itself(self) -> bytes:
        """A path to it for calls that don't follow links, to which `path` is one. Raises OSError."""
        return b"/proc/self/fd/%d/." % self.fd

    def find(self) -> os.stat_result:
        """What fstat(2) says of it now. Raises OSError."""
        return os.fstat(self.fd)

    def is_same(self, other: "Optional[Directory]") -> bool:
        """True if both are one directory."""
        return other is not None and self._inode == other._inode

    def enter(self, name: bytes) -> "Directory":
        """The directory `name` in it. Raises OSError, also if it is not a directory."""
        return Directory(self, name)

    def descend(self, parts: "list[bytes]") -> "Optional[Directory]":
        """The directory that `parts` lead to, None if it is not there. Raises OSError."""
        current = self
        for part in parts:
            if part in (b"", b".", b".."):
                return None
            try:
                inner = current.enter(part)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                if error.errno == errno.ELOOP:  # a link, with O_NOFOLLOW
                    return None
                raise
            if current is not self:
                # Else a long path would make the directories of the walk be closed.
                current.close()
            current = inner
        return current

    def parts(self) -> "list[bytes]":
        """The names from the top to it."""
        names = []
        current = self
        while current._above:
            names.append(current._name)
            current = current._above
        return names[::-1]

    def _remember(self) -> None:
        _opened[self._fd] = weakref.ref(self)
        if len(_opened) > _MOST_OPEN:
            oldest = _opened.pop(next(iter(_opened)))()
            if oldest is not None:
                oldest.close()

    def _open_again(self) -> int:
        if self._above is None:
            raise Failure("a layer was closed while it was read")
        closed = [self]
        while closed[-1]._fd < 0 and closed[-1]._above:
            closed.append(closed[-1]._above)
        for directory in reversed(closed[:-1]):
            above = directory._above
            assert above
            fd = open_quietly(directory._name, _FLAGS, above._fd)
            info = os.fstat(fd)
            if (info.st_dev, info.st_ino) != directory._inode:
                os.close(fd)
                raise OSError(errno.ESTALE, _MOVED)
            directory._fd = fd
            directory._remember()
        return self._fd


def open_quietly(path: bytes, flags: int, directory: "int | None" = None) -> int:
    """open(2) with `flags`, which have O_NOATIME: that is allowed of one's own files alone. Raises OSError."""
    try:
        return os.open(path, flags, dir_fd=directory)
    except PermissionError:
        return os.open(path, flags & ~os.O_NOATIME, dir_fd=directory)
