"""Reads the tree of an image, or this machine, with symbolic links followed inside of it."""

import os
import stat
from fnmatch import fnmatchcase

_MOST_LINKS = 40
_READ_LIMIT = 16 << 20


class Image:
    """The tree at `root` ("": this machine). Paths are absolute as the booted system sees them; nothing raises."""

    def __init__(self, root: str = "") -> None:
        self.root = root

    def resolve(self, path: str) -> str:
        """Where `path` leads to in the tree, all links followed but dangling ones; "" in a loop."""
        done: list[str] = []
        pending = list(reversed(path.split("/")))
        links = 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            try:
                target = os.readlink(f"{self.root}/{'/'.join((*done, part))}")
            except OSError:
                done.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                return ""
            if target.startswith("/"):
                done = []
            pending += reversed(target.split("/"))
        return f"/{'/'.join(done)}"

    def outside(self, path: str) -> str:
        """The path of `path` on the machine that looks at the tree."""
        return self.root + self.resolve(path)

    def read(self, path: str) -> "bytes | None":
        """The content of the file `path`, None if it can't be read."""
        try:
            # A FIFO would wait for a writer.
            fd = os.open(self.outside(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as stream:
                return stream.read(_READ_LIMIT)
        except (OSError, ValueError):
            return None

    def text(self, path: str) -> str:
        """The content of `path` as text, "" if it can't be read."""
        return (self.read(path) or b"").decode("utf-8", "surrogateescape")

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
        """The names in the directory `path` that match `pattern`, sorted; none if it is no directory."""
        try:
            return sorted(name for name in os.listdir(self.outside(path)) if fnmatchcase(name, pattern))
        except OSError:
            return []
