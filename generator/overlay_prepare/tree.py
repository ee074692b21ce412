# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Walks through a tree below an open directory, or removes it. Neither follows a link or enters another mount.

A user can make a tree that is deeper than the longest path, and has more entries than fit into memory: neither the
number of open descriptors nor the memory in use grows with that, except for a few words for each level of depth.
"""

import errno

from overlay_prepare.folder import Folder, WrongKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    import posix
    from collections.abc import Callable, Iterator

_OPEN = 32  # levels whose descriptors are kept; a service has 1024 by default
_NAMES = 64  # names of subdirectories that are kept for a level
_AGAIN = 8192  # the same for the first level when it is read again; for the hundredth level a hundredth of it
_PART = 1024  # entries that list_by_parts() has in memory
_NONE: "list[str]" = []
_MORE = ""


class Level:
    """One directory of a walk: `name` in the one above it, `folder` while it is open."""

    __slots__ = ("folder", "key", "left", "name", "scan", "taken")

    def __init__(self, name: str, folder: Folder) -> None:
        self.name = name
        self.folder: Folder | None = folder
        self.key = 0  # its device and inode, to recognise it
        # Subdirectories to go to, the next one last; None or "" as the first: to be read again, as there may be more.
        self.left: list[str] | None = []
        self.scan: Iterator[str] | None = None
        self.taken = 0  # how many subdirectories were gone to


def walk(
    top: Folder,
    look: "Callable[[Folder, posix.DirEntry[str]], object]",
    leave: "Callable[[Folder, list[Level]], object]",
) -> None:
    """Call look() for everything below `top` that is not a directory, and leave(), with the levels down to it, for each
    directory once look() was called for all that is in it, `top` the first. Raises OSError, and what the two raise.

    A directory comes before those in it. look() may not make or remove entries, leave() may remove all but
    directories. Other mounts are left alone.
    """
    way = [Level("", top)]
    _look(way[0], look, leave, way)
    while way:
        level = way[-1]
        assert level.folder is not None
        name = _take_next(level, level.folder, max(_NAMES, _AGAIN // len(way)))
        if name is None:
            way.pop()
            if way and way[-1].folder is None:
                _return(way[-1], level.folder)
            if way:
                level.folder.close()
            continue
        try:
            inner = level.folder.open(name)
        except WrongKind:
            continue  # another mount
        way.append(Level(name, inner))
        if len(way) > _OPEN + 1:
            _rest(way[-_OPEN - 1])
        _look(way[-1], look, leave, way)


def list_by_parts(folder: Folder) -> "Iterator[posix.DirEntry[str]]":
    """All entries of `folder`, for callers that remove them or go into them meanwhile: a user can make more in one
    directory than fit into memory. Raises OSError.

    Nothing may be added to `folder`, nor may it be scanned, before the last one was taken.
    """
    found: list[posix.DirEntry[str]] = []
    for entry in folder.scan():
        found.append(entry)
        if len(found) == _PART:
            yield from found
            found.clear()
    # With fewer of them the scan is over by now, and has no descriptor at each level of a deep tree.
    yield from found


def _look(
    level: Level,
    look: "Callable[[Folder, posix.DirEntry[str]], object]",
    leave: "Callable[[Folder, list[Level]], object]",
    way: "list[Level]",
) -> None:
    assert level.folder is not None
    left: list[str] | None = []
    for entry in level.folder.scan():
        if not entry.is_dir(follow_symlinks=False):
            look(level.folder, entry)
        elif left is not None:
            left.append(entry.name)
            if len(left) > _NAMES:
                left = None
    if left is not None:
        left.reverse()
    level.left = left
    leave(level.folder, way)


def _take_next(level: Level, folder: Folder, most: int) -> "str | None":
    """The name of the directory to go to next, None after the last; at most so many names are kept for later."""
    if level.scan is None and level.left in (None, [_MORE]):
        names = (entry.name for entry in folder.scan() if entry.is_dir(follow_symlinks=False))
        if level.left is None and not level.taken:
            level.scan = names
        else:
            # It was released. Begun anew for each name, it would take the square of the number of deep directories.
            for _ in range(level.taken):
                next(names, None)
            found = [name for _, name in zip(range(most), names)]
            # Of those that are few nothing is kept, see _rest().
            level.left = [*([_MORE] if found and level.taken + len(found) > _NAMES else []), *reversed(found)]
    level.taken += 1
    if level.scan is not None:
        return next(level.scan, None)
    return level.left.pop() if level.left else None


def _rest(level: Level) -> None:
    """Release what a level holds until the walk comes back to it."""
    if level.folder is not None:
        level.key = _identify(level.folder)
        level.scan = None
        if not level.left or level.left[0] != _MORE:
            # One list for all that have nothing left: a chain of directories may be very long.
            level.left = _NONE if level.left == [] else None
        level.folder.close()
        level.folder = None


def _return(level: Level, inner: Folder) -> None:
    """Open `level` again, as the parent of the directory `inner`. Raises OSError if that was moved elsewhere."""
    level.folder = inner.open_parent()
    if _identify(level.folder) != level.key:
        raise WrongKind("was moved meanwhile", inner.path)


def _identify(folder: Folder) -> int:
    info = folder.stat_self()
    return info.st_dev << 64 | info.st_ino if info else 0


def remove(folder: Folder, name: str) -> bool:
    """Remove `name` with all that is in it; False if there is nothing. Raises OSError, also at another mount."""
    kind = folder.find_kind(name)
    if kind == "d":
        with folder.open(name) as inner:
            remove_below(inner)
        folder.rmdir(name)
    elif kind:
        folder.unlink(name)
    return bool(kind)


def remove_below(top: Folder) -> None:
    """Remove everything in `top`, which stays itself. Raises OSError, also at another mount."""
    way = [("", top, _clear(top))]
    moved = 0
    while way:
        name, folder, inner = way[-1]
        following = next(inner, None)
        if following is None:
            # Once more: what was moved up here meanwhile is in it.
            inner = _clear(folder)
            following = next(inner, None)
            if following is None:
                way.pop()
                if way:
                    folder.close()
                    way[-1][1].rmdir(name)
                continue
            way[-1] = (name, folder, inner)
        if len(way) > _OPEN:
            # Moved up to `top`, which is cleared again at the end: no more descriptors than this are open.
            moved = _bring_up(folder, following, top, moved)
            continue
        deeper = folder.open(following)
        way.append((following, deeper, _clear(deeper)))


def _clear(folder: Folder) -> "Iterator[str]":
    """Remove the files of `folder`, and yield the names of its directories, each to be removed before the next one.

    The scan goes on where it was: begun anew it would pass all blocks that were emptied so far, each time (ext4, 80,000
    directories: 13 seconds instead of 3, Linux 6.18).
    """
    found: list[str] = []
    for entry in folder.scan():
        if not entry.is_dir(follow_symlinks=False):
            folder.unlink(entry.name)
            continue
        found.append(entry.name)
        if len(found) == _NAMES:
            yield from found
            found.clear()
    # With fewer of them the scan is over by now, and takes no memory at each level of a deep tree.
    yield from found


def _bring_up(folder: Folder, name: str, top: Folder, number: int) -> int:
    """Move a directory up to `top`, under a name with a number above `number`, which is returned."""
    while True:
        number += 1
        try:
            folder.rename(name, f".deep-{number}", top)
            return number
        except OSError as error:
            # Something there has that name.
            if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY):
                raise
