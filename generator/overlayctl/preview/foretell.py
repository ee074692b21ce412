# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Walks an upper layer beside the image before and the new one: each place where the update will be seen, or not.

What happens to an entry is prepare's own judgement (policy.judge_pruned() and is_repeated()); what a person will then
see of it is found out here. Only the names of one directory at a time are held, and of those above it: memory does not
grow with the number of findings.
"""

import os
import stat
from collections.abc import Callable, Iterator
from os import lstat, stat_result
from typing import NamedTuple, Optional, Protocol, Union

from overlay_prepare.files import is_too_long
from overlay_prepare.imagechange import UPDATED
from overlay_prepare.marks import OPAQUE
from overlay_prepare.policy import DEEPEST, DROP, ENTER, RAZE, is_repeated, judge_pruned
from overlayctl.layers.directory import Directory
from overlayctl.layers.marks import list_attributes
from overlayctl.layers.stack import Merged, hold, is_hiding
from overlayctl.layers.team import PART
from overlayctl.preview.finding import (
    CLASH,
    DELETED,
    DROPPED,
    FOLLOWS,
    GONE,
    HIDDEN,
    OPENED,
    SHOWN,
    Finding,
)  # fmt: skip
from overlayctl.preview.images import Entry, Old, enter, find_news, find_news_below, look, tell_apart
from overlayctl.preview.listing import IN_NEW, IN_OLD, ODD, find_missing, list_names, list_upper, mark
from overlayctl.preview.update import Update

Report = Callable[[bytes, OSError], None]
Seen = Callable[[bytes, Entry], None]
_UPDATED = os.fsencode(UPDATED)
_ALL = "all"  # of the image's names: none shows
_KINDS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}


Names = list[tuple[bytes, int]]  # and what is known of it, see listing.py


class Level:
    """A directory of the walk: in the upper layer, in the new image and in the old; None if there is none.

    `hides`: nothing of the image shows in it now. `mask` is what will be hidden of the new image: all, or these names,
    "" for nothing. `razed`: it is dropped with all that is in it. `apart`: nothing in it follows (refresh). `left`
    counts what will be in it.
    """

    __slots__ = ("apart", "depth", "hides", "inner", "left", "mask", "name", "new", "old", "path", "razed", "upper")

    def __init__(self, path: bytes, upper: Merged, new: "Optional[Directory]", old: "Optional[Directory]") -> None:
        self.path = path
        self.upper = upper
        self.new = new
        self.old = old
        self.name = b""
        self.hides = self.razed = self.apart = False
        self.mask: str | frozenset[bytes] = ""
        self.left = self.depth = 0
        self.inner: Iterator[bytes] = iter(())


class Part(NamedTuple):
    """Some names in a directory, for somebody else to tell_files()."""

    level: Level
    names: Names


class Sharing(Protocol):
    """Whoever takes parts of a walk."""

    def is_shared(self, count: int) -> bool:
        """True if so many names of a directory, the next one, are to come as parts."""

    def settle(self) -> None:
        """Return when it is known what was found of all parts so far."""


Step = Union[Finding, Part]


class Foreteller:
    """The findings of one overlay. `seen` is given each entry that stays, `report` what can't be read."""

    def __init__(
        self, update: Update, upper: Merged, new: Directory, old: Old, report: Report, seen: "Seen | None" = None
    ) -> None:
        self.update = update
        self.upper = upper
        self.new = new
        self.old = old
        self.report = report
        self.seen = seen
        # True if an entry of the upper layer does not matter where both images have the same.
        self.quick = update.policy == "keep" and seen is None and not update.forgets
        self.entries = 0
        self.advance: Callable[[int], object] = lambda _count: None  # called with how many more entries were looked at
        self.listed = 0  # bytes that the file `dropped` will get
        self.sharing: Sharing | None = None

    def walk(self, start: bytes = b"") -> "Iterator[Step]":
        """The findings at `start` and below it. Raises OSError where the tops can't be read."""
        only = [part for part in start.split(b"/") if part]
        top = Level(b"", self.upper, self.new, self.old.top)
        self._judge_hiding(top, None)
        way = [top]
        yield from self._enter(top, only)
        while way:
            level = way[-1]
            name = next(level.inner, None)
            if name is None:
                way.pop()
                if len(way) >= len(only):
                    yield from self._guard(level.path, self._leave(level, way[-1] if way else None))
                elif way:
                    way[-1].left += 1
                continue
            path = b"%b/%b" % (level.path, name) if level.path else name
            try:
                inner = self._open(level, name, path)
            except FileNotFoundError:
                continue  # somebody has just removed it
            except OSError as error:
                self.report(path, error)
                level.left += 1
                continue
            if inner is None:
                level.left += path in self.update.bound
                continue
            way.append(inner)
            yield from self._guard(path, self._enter(inner, only))

    def _guard(self, path: bytes, findings: "Iterator[Step]") -> "Iterator[Step]":
        try:
            yield from findings
        except OSError as error:
            self.report(path, error)

    def _open(self, level: Level, name: bytes, path: bytes) -> "Level | None":
        """The directory `name` of the upper layer in `level`; None for one that is passed through."""
        if path in self.update.bound or path in self.update.seeded:
            return None
        new = None if level.razed else enter(level.new, name, look(level.new, name))
        inner = Level(path, level.upper.enter(name), new, enter(level.old, name, look(level.old, name)))
        inner.name, inner.depth = name, level.depth + 1
        self._judge_hiding(inner, level)
        return inner

    def _judge_hiding(self, level: Level, above: "Level | None") -> None:
        """What the directory hides of the image now, and after the update."""
        opaque = is_hiding(level.upper)
        level.hides = opaque or (above is not None and above.hides)
        level.razed = above is not None and above.razed
        level.apart = above is not None and above.apart
        policy = self.update.policy
        if policy == "reset" or level.razed:
            return
        if policy == "prune":
            if level.depth > DEEPEST or self._is_too_long(level.path):
                level.mask = _ALL if opaque or (above is not None and above.mask == _ALL) else ""
            elif above is not None:
                level.razed = judge_pruned("d", _find_kind(look(above.new, level.name))) == RAZE
            return
        if policy == "refresh" and above is not None and not level.apart:
            attributes = list_attributes(level.upper.itself)
            level.apart = opaque or OPAQUE in attributes or self._is_too_long(level.path)
        if level.path in self.update.opened:
            level.mask = self.update.opened[level.path]
        elif level.hides:
            level.mask = _ALL

    def _enter(self, level: Level, only: "list[bytes]") -> "Iterator[Step]":
        """The findings for all in `level` but the directories of the upper layer."""
        wanted = only[level.depth] if level.depth < len(only) else None
        listing = list_upper(level.upper, wanted)
        directories, others = listing
        level.inner = iter(directories)
        missing: list[bytes] = []
        if level.new is not None:
            mark(others, list_names(level.new), IN_NEW)
            if level.hides and not level.razed:
                missing = find_missing(listing, list_names(level.new), wanted)
        mark(others, list_names(level.old) if level.old else self.old.names(level.path, None), IN_OLD)
        # All of them where each counts.
        whole = self.seen is not None or level.razed or self.update.policy == "reset"
        whole = whole or (level.depth == 0 and self.update.forgets)
        names = sorted(others if whole else (name for name, flags in others.items() if flags))
        self.entries += len(directories) + len(others)
        self.advance(len(directories) + len(others) - len(names))
        level.left += len(others) - len(names)
        shared = self.sharing is not None and self.sharing.is_shared(len(names))
        for start in range(0, len(names), PART):
            part = [(name, others[name]) for name in names[start : start + PART]]
            self.advance(len(part))
            if shared:
                yield Part(level, part)
            else:
                yield from self.tell_files(level, part)
        if self.sharing is not None and (self.seen is not None or self.update.policy in ("prune", "refresh")):
            self.sharing.settle()
        yield from self._tell_hidden(level, missing)

    def tell_files(self, level: Level, names: Names) -> "Iterator[Finding]":
        """The findings for entries of the upper layer that are not directories."""
        for name, flags in names:
            try:
                yield from self._tell_file(level, name, flags)
            except FileNotFoundError:
                continue  # somebody has just removed it
            except OSError as error:
                level.left += 1
                self.report(b"%b/%b" % (level.path, name) if level.path else name, error)

    def _tell_file(self, level: Level, name: bytes, flags: int) -> "Iterator[Finding]":
        """The findings for an entry of the upper layer that is not a directory."""
        path = b"%b/%b" % (level.path, name) if level.path else name
        odd, in_old = flags & ODD, flags & IN_OLD
        new = look(level.new, name) if flags & IN_NEW else None
        old = look(level.old, name) if in_old else None
        known = None
        if self.quick and not odd and new is not None and not stat.S_ISDIR(new[1].st_mode):
            # The usual case: the same in both images, whatever is here.
            known = find_news(self.old, path, old, new)
            if not known:
                level.left += 1
                return
        fd = hold(level.upper, name).fd
        info = lstat(name, dir_fd=fd)
        own = (b"/proc/self/fd/%d/%b" % (fd, name), info)
        whiteout = bool(odd) and stat.S_ISCHR(info.st_mode) and info.st_rdev == 0
        here, was, comes = None if whiteout else info, old and old[1], new and new[1]
        action = self._judge(level, own, whiteout, path, new, old)
        if action:
            if not whiteout or new or level.razed:
                self._list(path)
                size = _measure(comes if whiteout else info)
                what = (DELETED,) if whiteout and not level.razed else ()
                yield Finding(action, path, here, was, comes, size, what)
            return
        level.left += 1
        if self.seen is not None and not whiteout:
            self.seen(path, own)
        if new is None:
            if not whiteout and in_old and level.new is not None:
                yield Finding(GONE, path, here, was, None, _measure(info))
            return
        assert level.new is not None
        assert comes is not None
        kind = DELETED if whiteout else HIDDEN if _is_same_type(info, comes) else CLASH
        if known is not None:
            news = known
        elif kind == HIDDEN:
            news = find_news(self.old, path, old, new)
        else:
            news = find_news_below(self.old, path, level.old, level.new, name)
        if news and (kind != HIDDEN or tell_apart(own, new)):
            yield Finding(kind, path, here, was, comes, _measure(comes), news)

    def _judge(
        self, level: Level, own: Entry, whiteout: bool, path: bytes, new: "Entry | None", old: "Entry | None"
    ) -> str:
        """DROPPED or FOLLOWS for what is dropped, "" for what stays."""
        policy = self.update.policy
        if level.depth == 0 and self.update.forgets and path == _UPDATED:
            return FOLLOWS
        if policy == "reset" or level.razed:
            return DROPPED
        if policy == "prune" and level.depth < DEEPEST and not self._is_too_long(path):
            return DROPPED if judge_pruned("w" if whiteout else "", _find_kind(new)) == DROP else ""
        if policy == "refresh" and not whiteout and not level.apart and level.depth < DEEPEST:
            # Reading is what takes its time.
            if old is not None and (
                old[1].st_mode != own[1].st_mode or old[1].st_uid != own[1].st_uid or old[1].st_size != own[1].st_size
            ):
                return ""
            return FOLLOWS if is_repeated(os.fsdecode(own[0]), self.old.describe(path, old)) else ""
        return ""

    def _tell_hidden(self, level: Level, names: "list[bytes]") -> "Iterator[Finding]":
        """The findings for names of the new image alone, in a directory that hides the image's now."""
        shown = self.update.policy == "reset" or not level.mask
        for name in names:
            path = b"%b/%b" % (level.path, name) if level.path else name
            new = look(level.new, name)
            if new is None:
                continue
            if shown or (level.mask != _ALL and name not in level.mask):
                yield Finding(SHOWN, path, None, None, new[1], _measure(new[1]))
            else:
                assert level.new is not None
                news = find_news_below(self.old, path, level.old, level.new, name)
                if news:
                    was = look(level.old, name)
                    yield Finding(DELETED, path, None, was and was[1], new[1], _measure(new[1]), news)

    def _leave(self, level: Level, above: "Level | None") -> "Iterator[Finding]":
        """The findings for a directory of the upper layer, after those for all that is in it."""
        own = (level.upper.itself, level.upper.find())
        if above is None:
            new: Entry | None = (self.new.itself, self.new.find())
            old: Entry | None = (self.old.top.itself, self.old.top.find()) if self.old.top else None
        else:
            new, old = look(above.new, level.name), look(above.old, level.name)
        was, comes = old and old[1], new and new[1]
        if self._is_opened(level):
            yield Finding(OPENED, level.path, own[1], was, comes)
        stays, follows = self._judge_directory(level, above, own, new, old)
        if not stays:
            if comes is None or not stat.S_ISDIR(comes.st_mode):
                kind = FOLLOWS if self.update.policy == "refresh" else DROPPED
                yield Finding(kind, level.path, own[1], was, comes)
            elif new and tell_apart(own, new):
                yield Finding(FOLLOWS, level.path, own[1], was, comes)
            return
        if above is not None:
            above.left += 1
        if self.seen is not None:
            self.seen(level.path, own)
        if new is None:
            known = old is not None or (self.old.describe(level.path, old) is not None)
            if known and above is not None and above.new is not None:
                yield Finding(GONE, level.path, own[1], was, None)
            return
        differs = tell_apart(own, new)
        if follows:
            if differs:
                yield Finding(FOLLOWS, level.path, own[1], was, comes)
            return
        assert comes is not None
        if not differs:
            return
        kind = HIDDEN if stat.S_ISDIR(comes.st_mode) else CLASH
        if above is None:
            news = tell_apart(old, new) if old is not None else ()
        else:
            news = find_news(self.old, level.path, old, new)
        if news:
            yield Finding(kind, level.path, own[1], was, comes, _measure(comes), news)

    def _is_opened(self, level: Level) -> bool:
        """True for a directory that hides the image's now by itself, and not all of it after."""
        if level.razed or level.new is None or not is_hiding(level.upper):
            return False
        return self.update.policy != "reset" and level.mask != _ALL

    def _judge_directory(
        self, level: Level, above: "Level | None", own: Entry, new: "Entry | None", old: "Entry | None"
    ) -> "tuple[bool, bool]":
        """Whether a directory of the upper layer stays there, and whether it gets the attributes of the new image's."""
        policy, is_directory = self.update.policy, _find_kind(new) == "d"
        if policy == "reset" or level.razed:
            return above is None, above is None
        if above is None:
            return True, False
        if policy == "prune" and above.depth < DEEPEST and not self._is_too_long(level.path):
            if judge_pruned("d", _find_kind(new)) == ENTER and is_directory:
                return level.left > 0, True
        elif policy == "refresh" and above.depth < DEEPEST and not level.apart:
            before = self.old.describe(level.path, old)
            if is_repeated(os.fsdecode(own[0]), before):
                return level.left > 0, is_directory
        return True, False

    def _list(self, path: bytes) -> None:
        if self.update.policy in ("prune", "refresh"):
            self.listed += len(self.update.where) + len(path) + 2

    def _is_too_long(self, path: bytes) -> bool:
        return len(path) > 800 and is_too_long(f"{self.update.where.rstrip('/')}/{os.fsdecode(path)}")


def _find_kind(entry: "Entry | None") -> str:
    """The kind of `entry`, as find_kind() of prepare spells it."""
    return "" if entry is None else _KINDS.get(stat.S_IFMT(entry[1].st_mode), "o")


def _measure(info: "stat_result | None") -> int:
    """The bytes of a file; what a directory or a link takes depends on its file system."""
    return info.st_size if info is not None and stat.S_ISREG(info.st_mode) else 0


def _is_same_type(one: stat_result, other: stat_result) -> bool:
    return stat.S_IFMT(one.st_mode) == stat.S_IFMT(other.st_mode)
