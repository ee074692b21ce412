# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What two images have at one place, and whether the second has anything newer there."""

import os
import stat
from typing import Optional

from overlay_prepare import manifest
from overlayctl.layers.compare import find_differences, has_equal_bytes
from overlayctl.layers.directory import Directory, open_quietly
from overlayctl.layers.marks import list_attributes, read_attributes

Entry = tuple[bytes, os.stat_result]
_NOTHING: "frozenset[bytes]" = frozenset()
_TIMES, _CONTENT = "times", "content"
# What is opened is on a mount with nodev, if the kernel can make one.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC
_UNKNOWN, _NEW, _BELOW = ("unknown",), ("new",), ("below",)


class Old:
    """The previous image, as far as it is known: its directory, or the descriptions that prepare has made of it.

    `top` is its directory, `described` are those descriptions by path; without either nothing is known.
    """

    def __init__(self, top: "Directory | None", described: "dict[str, str] | None" = None) -> None:
        self.top = top
        self.described = described
        self._children: dict[str, set[bytes]] = {}
        for path in described or ():
            parent, _, name = path.rpartition("/")
            self._children.setdefault(parent, set()).add(os.fsencode(name))

    @property
    def known(self) -> bool:
        """True if anything is known of it."""
        return self.top is not None or self.described is not None

    def names(self, path: bytes, directory: "Directory | None") -> "frozenset[bytes] | set[bytes]":
        """Its names in the directory at `path`, which is `directory` if that is open."""
        if directory is not None:
            return frozenset(directory.names())
        return self._children.get(os.fsdecode(path), _NOTHING) if self.described is not None else _NOTHING

    def describe(self, path: bytes, entry: "Entry | None") -> "str | None":
        """What manifest.describe() says of what it has at `path`; None for nothing. Raises OSError."""
        if self.described is not None:
            return self.described.get(os.fsdecode(path))
        return manifest.describe(os.fsdecode(entry[0])) if entry else None


def look(directory: "Directory | None", name: bytes) -> "Entry | None":
    """What `directory` of an image has at `name`, None for nothing. Raises OSError."""
    if directory is None:
        return None
    fd = directory.fd
    try:
        return b"/proc/self/fd/%d/%b" % (fd, name), os.lstat(name, dir_fd=fd)
    except FileNotFoundError:
        return None


def enter(directory: "Directory | None", name: bytes, entry: "Entry | None") -> "Optional[Directory]":
    """The directory that `entry` of `directory` is, None if it is something else. Raises OSError."""
    if directory is None or entry is None or not stat.S_ISDIR(entry[1].st_mode):
        return None
    return directory.enter(name)


def tell_apart(one: Entry, other: Entry) -> "tuple[str, ...]":
    """How two entries differ: type, content, mode, owner, xattrs; not what is in a directory. Raises OSError."""
    first, second = one[1], other[1]
    if first.st_mode ^ second.st_mode and stat.S_IFMT(first.st_mode) != stat.S_IFMT(second.st_mode):
        return ("type",)
    if not stat.S_ISREG(first.st_mode):
        return tuple(word for word in find_differences(one[0], first, other[0], second, b"", None) if word != _TIMES)
    # The usual case: each call counts a million times.
    size = first.st_size
    found = []
    if size != second.st_size:
        found.append(_CONTENT)
    elif (first.st_ino, first.st_dev) == (second.st_ino, second.st_dev):
        return ()
    elif size and not has_equal_bytes(one[0], other[0], size, _open):
        found.append(_CONTENT)
    if first.st_mode != second.st_mode:
        found.append("mode")
    if first.st_uid != second.st_uid or first.st_gid != second.st_gid:
        found.append("owner")
    if not found and read_shown(one[0]) != read_shown(other[0]):
        found.append("xattrs")
    return tuple(found)


def read_shown(path: bytes) -> "dict[str, bytes] | None":
    """The extended attributes of the entry `path` that an overlay shows; None for none. Raises OSError."""
    names = list_attributes(path)
    return (read_attributes(path) or None) if names else None


def _open(path: bytes) -> int:
    return open_quietly(path, _FLAGS)


def find_news(old: Old, path: bytes, was: "Entry | None", new: Entry) -> "tuple[str, ...]":
    """How the new image's `new` at `path` differs from the old one's `was`, without what is in a directory.

    What is not known may be newer. Raises OSError.
    """
    if was is not None:
        return tell_apart(was, new)
    if old.described is None:
        return _NEW if old.known else _UNKNOWN
    text = old.described.get(os.fsdecode(path))
    if text is None:
        return _NEW
    return (_CONTENT,) if manifest.describe(os.fsdecode(new[0]), text) != text else ()


def find_news_below(
    old: Old, path: bytes, before: "Directory | None", after: "Directory", name: bytes
) -> "tuple[str, ...]":
    """The same for what the directories `before` and `after` have at `name`, and all in it. Raises OSError."""
    new = look(after, name)
    if new is None:
        return ()
    what = find_news(old, path, look(before, name), new)
    if not what and stat.S_ISDIR(new[1].st_mode) and _has_news_below(old, path, before, after, name):
        return _BELOW
    return what


def _has_news_below(old: Old, path: bytes, before: "Directory | None", after: "Directory", name: bytes) -> bool:
    """True if a name in the directory is new, changed or gone."""
    pending = [(path, before.enter(name) if before else None, after.enter(name))]
    while pending:
        at, first, second = pending.pop()
        names = frozenset(second.names())
        if old.names(at, first) != names:
            return True
        for inner in names:
            below = b"%b/%b" % (at, inner) if at else inner
            entry = look(second, inner)
            if entry is None:
                continue
            if find_news(old, below, look(first, inner), entry):
                return True
            if stat.S_ISDIR(entry[1].st_mode):
                pending.append((below, first.enter(inner) if first else None, second.enter(inner)))
    return False
