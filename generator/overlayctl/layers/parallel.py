# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Walks with the help of other processors: parts of large directories are given to processes that read them.

The text is the one of a single walk. Parts are given out in the order of their names, to each helper in turn, and
taken back in that order. A short walk, or a machine with one processor, has no helpers.
"""

from collections import deque
from collections.abc import Callable, Iterator

from overlayctl.layers.change import Change, Layers
from overlayctl.layers.directory import Directory
from overlayctl.layers.place import Part
from overlayctl.layers.team import LONGEST, PART, WORTHWHILE, Team, Values
from overlayctl.layers.walk import Report, Walker

_MOST_WAITING = 1000

Spell = Callable[[Change], str]


class Unread:
    """Counts what could not be read, and reports it by `say`."""

    def __init__(self, say: Report) -> None:
        self.count = 0
        self._say = say

    def __call__(self, path: bytes, error: OSError) -> None:
        """For walk()."""
        self.count += 1
        self._say(path, error)


def spell_all(layers: Layers, start: bytes, spell: Spell, unread: Unread) -> "Iterator[str]":
    """The text that `spell` makes of each change of walk(), in the same order. Raises as walk() does."""
    shared = _Shared(spell, unread)
    team = shared.team
    walker = shared.walker = Walker(layers, True, unread, shared.share)
    # In the order of the text: None for a part that a helper has.
    waiting: deque[str | None] = deque()
    try:
        for step in walker.walk(start):
            if isinstance(step, Part):
                team.give(tuple(step))
                waiting.append(None)
            elif waiting:
                waiting.append(spell(step))
            else:
                yield spell(step)
            while waiting and (waiting[0] is not None or team.is_busy() or len(waiting) > _MOST_WAITING):
                text = waiting.popleft()
                yield shared.take() if text is None else text
        for text in waiting:
            yield shared.take() if text is None else text
    finally:
        team.dismiss()


class _Shared:
    """A walk whose large directories are shared with a team; `walker` is set by the caller."""

    walker: Walker

    def __init__(self, spell: Spell, unread: Unread) -> None:
        self.team = Team(self._work)
        self._spell = spell
        self._unread = unread
        self._seen = 0

    def share(self, directory: Directory, names: "Iterator[bytes]", count: int) -> "Iterator[bytes | list[bytes]]":
        """The `shared` of Walker."""
        self._seen += count
        if self.team.size < 2 or self._seen < WORTHWHILE or count < PART:
            return names
        return _split(directory, names)

    def take(self) -> str:
        """The text of the oldest part that was given. Raises OSError."""
        text, unread = self.team.take()
        self._unread.count += unread
        return str(text)

    def _work(self, part: Values) -> Values:
        before = self._unread.count
        shared, self.walker.shared = self.walker.shared, None
        text = "".join(map(self._spell, self.walker.walk_part(Part(*part))))
        found = (text, self._unread.count - before)
        # As it was: a task that is too large for a pipe is done by the one who gives it.
        self.walker.shared, self._unread.count = shared, before
        return found


def _split(directory: Directory, names: "Iterator[bytes]") -> "Iterator[bytes | list[bytes]]":
    """Each name of a directory by itself, all others in lists."""
    inner: set[bytes] = set()
    # Two links: no directory in it. On a file system where that is not so, the text is the same, but a helper has more
    # to do.
    if directory.find().st_nlink != 2:
        with directory.scan() as entries:
            inner = {name for name, entry in entries if entry.is_dir(follow_symlinks=False)}
    part: list[bytes] = []
    size = 0
    for name in names:
        if part and (name in inner or len(part) >= PART or size > LONGEST):
            yield part
            part, size = [], 0
        if name in inner:
            yield name
        else:
            part.append(name)
            size += len(name)
    if part:
        yield part
