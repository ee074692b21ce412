# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads the tree of an image, or this machine, with symbolic links followed inside of it."""

import os
import stat
from fnmatch import fnmatchcase

from overlay_generator.inside import refuse_device, resolve

_READ_LIMIT = 16 << 20  # bytes


class Image:
    """The tree at `root` ("": this machine). Paths are absolute as the booted system sees them.

    Only outside() raises.
    """

    def __init__(self, root: str = "") -> None:
        self.root = root
        self.too_large: dict[str, int] = {}  # what was not read, and the limit in bytes

    def resolve(self, path: str) -> str:
        """Where `path` leads to in the tree, all links followed but dangling ones; "" in a loop."""
        try:
            return resolve(self.root, path)
        except OSError:
            return ""

    def outside(self, path: str) -> str:
        """The path of `path` on the machine that looks at the tree. Raises OSError for links in a circle."""
        return self.root + resolve(self.root, path)

    def read(self, path: str, limit: int = _READ_LIMIT) -> "bytes | None":
        """The content of the file `path`, None if it can't be read or has more than `limit` bytes, which is noted."""
        try:
            place = self.outside(path)
            if self.root:
                refuse_device(place, os.stat(place))
            # A FIFO would wait for a writer.
            fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as stream:
                data = stream.read(limit + 1)
        except (OSError, ValueError):
            return None
        if len(data) > limit:
            self.too_large[path] = limit
            return None
        return data

    def text(self, path: str, limit: int = _READ_LIMIT) -> str:
        """The content of `path` as text, "" if it can't be read."""
        return (self.read(path, limit) or b"").decode("utf-8", "surrogateescape")

    def find(self, path: str) -> "os.stat_result | None":
        """What `path` leads to, None if there is nothing."""
        try:
            return os.lstat(self.outside(path))
        except (OSError, ValueError):
            return None

    def exists(self, path: str) -> bool:
        """True if `path` leads to something."""
        return self.find(path) is not None

    def is_executable(self, path: str) -> bool:
        """True if `path` leads to a file that may be executed."""
        info = self.find(path)
        return info is not None and stat.S_ISREG(info.st_mode) and bool(info.st_mode & 0o111)

    def names(self, path: str, pattern: str = "*") -> "list[str]":
        """The names in the directory `path` that match `pattern`, sorted; none if it is not a directory."""
        try:
            return sorted(name for name in os.listdir(self.outside(path)) if fnmatchcase(name, pattern))
        except OSError:
            return []
