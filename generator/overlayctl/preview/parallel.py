# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The findings of an overlay, told with the help of other processors: what they say of the files of large directories
is taken back in the order of a single walk.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Union

from overlayctl.errors import Failure
from overlayctl.layers.parallel import Unread
from overlayctl.layers.team import PART, WORTHWHILE, Team, Values
from overlayctl.preview.finding import Finding
from overlayctl.preview.foretell import Foreteller, Level, Part
from overlayctl.preview.owners import Owners

_MOST_WAITING = 1000


class Told(NamedTuple):
    """The text of findings, and by their kinds how many entries they are about, and how many bytes."""

    text: str
    counts: "dict[str, tuple[int, int]]"


Tell = Callable[[Iterable[Finding]], Told]
Said = Union[Finding, Told]


def tell_all(teller: Foreteller, start: bytes, tell: Tell, owners: Owners, unread: Unread) -> "Iterator[Said]":
    """What `teller` finds at `start` and below, in its order: findings, and what `tell` has made of them elsewhere.

    `owners` is what sees the entries, and `unread` what `teller` reports to. Raises Failure, OSError.
    """
    shared = _Shared(teller, tell, owners, unread)
    try:
        for step in teller.walk(start):
            if isinstance(step, Part):
                shared.give(step)
            elif not shared.waiting:
                yield step
            else:
                shared.waiting.append([step])
            yield from shared.find_ready()
        shared.settle()
        yield from shared.find_ready()
    finally:
        shared.end()


class _Shared:
    def __init__(self, teller: Foreteller, tell: Tell, owners: Owners, unread: Unread) -> None:
        self.team = Team(self._work)
        self.waiting: deque[list[Said]] = deque()  # in the order of the text; empty: a helper has it
        self._given: deque[tuple[list[Said], Level]] = deque()
        self._teller, self._tell, self._owners, self._unread = teller, tell, owners, unread
        self._seen = 0
        teller.sharing = self

    def is_shared(self, count: int) -> bool:
        """For the walk."""
        self._seen += count
        return self.team.size > 1 and self._seen >= WORTHWHILE and count >= PART

    def end(self) -> None:
        """Let all helpers end, and `teller` be as before."""
        self.team.dismiss()
        self._teller.sharing = None

    def give(self, part: Part) -> None:
        """Have `part` told by a helper. Raises OSError."""
        level = part.level
        place: list[Said] = []
        self.waiting.append(place)
        self._given.append((place, level))
        there = (level.new is not None, level.old is not None)
        self.team.give((level.path, level.upper.parts(), *there, level.razed, level.apart, level.depth, part.names))

    def find_ready(self) -> "Iterator[Said]":
        """What is next in the order of the text; others are waited for where too much is waiting. Raises Failure."""
        while self.waiting:
            if not self.waiting[0]:
                if not self.team.is_busy() and len(self.waiting) < _MOST_WAITING:
                    return
                self._take()
            yield from self.waiting.popleft()

    def settle(self) -> None:
        """Wait for all that was given. Raises Failure."""
        while self._given:
            self._take()

    def _take(self) -> None:
        place, level = self._given.popleft()
        try:
            text, counts, left, listed, owners, unread = self.team.take()
        except OSError as error:
            # For the walk an OSError would be about the directory that it is in.
            raise Failure(str(error.strerror)) from error
        place.append(Told(text, counts))
        level.left += left
        self._teller.listed += listed
        self._owners.add(owners)
        self._unread.count += unread

    def _work(self, task: Values) -> Values:
        """What a helper does."""
        path, parts, in_new, in_old, razed, apart, depth, names = task
        teller, unread = self._teller, self._unread.count
        try:
            upper = teller.upper.descend(parts)
            new = teller.new.descend(parts) if in_new else None
            old = teller.old.top.descend(parts) if in_old and teller.old.top else None
        except OSError as error:
            teller.report(path, error)
            self._unread.count = unread
            return "", {}, len(names), 0, [], 1
        if upper is None:
            return "", {}, 0, 0, [], 0  # somebody has just removed it
        level = Level(path, upper, new, old)
        level.razed, level.apart, level.depth = razed, apart, depth
        listed, teller.listed = teller.listed, 0
        seen = self._owners.take()
        told = self._tell(teller.tell_files(level, names))
        found = (*told, level.left, teller.listed, self._owners.take(), self._unread.count - unread)
        # As it was: a task that is too large for a pipe is done by the one who gives it.
        self._unread.count, teller.listed = unread, listed
        self._owners.add(seen)
        return found
