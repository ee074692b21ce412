# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which of the things that were written to a disk it may hold after a power cut. Pure.

All before the last completed flush is there. Of the writes up to the next flush any may be there: a prefix of them, as
with most disks, a random subset, as with a disk that has a cache, and one of them torn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from typing import Optional

    # The offset of a write, and its data; None for a flush.
    Record = Optional[tuple[int, bytes]]


_SUPERBLOCK = 4096  # bytes


@dataclass(frozen=True)
class State:
    """All of the first `flushed` records, the ones numbered in `more`, and the first `size` bytes of `torn`."""

    flushed: int
    more: tuple[int, ...] = ()
    torn: int = -1
    size: int = 0

    @property
    def title(self) -> str:
        """A name that tells it from the others of the same record."""
        torn = f", {self.size} bytes of {self.torn}" if self.torn >= 0 else ""
        return f"{self.flushed} and {list(self.more)}{torn}"


def find_windows(records: Sequence[Record]) -> list[tuple[int, list[int]]]:
    """For each completed flush, and for none: how many records are before its end, and the writes up to the next."""
    windows: list[tuple[int, list[int]]] = [(0, [])]
    for number, record in enumerate(records):
        if record is None:
            windows.append((number + 1, []))
        else:
            windows[-1][1].append(number)
    return windows


def enumerate_states(
    records: Sequence[Record],
    chance: random.Random,
    units: tuple[int, ...],
    subsets: int = 4,
    tears: int = 2,
) -> list[State]:
    """States in the order of the record: for each window all prefixes, `subsets` random ones and `tears` ones with a
    write of which only some of the `units`, in bytes, came to the disk.

    What is written to the first 4 KiB is not torn: ext4 with half a superblock can't be mounted, whatever uses it.
    """
    states: dict[State, None] = {}
    for flushed, writes in find_windows(records):
        for length in range(len(writes) + 1):
            states[State(flushed, tuple(writes[:length]))] = None
        for _ in range(subsets if len(writes) > 1 else 0):
            share = chance.random()
            states[State(flushed, tuple(number for number in writes if chance.random() < share))] = None
        for _ in range(tears if writes else 0):
            place = chance.randrange(len(writes))
            record = records[writes[place]]
            assert record is not None, "writes are no flushes"
            unit = chance.choice(units)
            if len(record[1]) > unit and record[0] >= _SUPERBLOCK:
                size = unit * chance.randrange(1, (len(record[1]) + unit - 1) // unit)
                states[State(flushed, tuple(writes[:place]), writes[place], size)] = None
    return sorted(states, key=lambda state: state.flushed)


def choose(states: list[State], most: int, chance: random.Random) -> list[State]:
    """At most `most` of `states`, in their order."""
    if len(states) <= most:
        return states
    return [states[number] for number in sorted(chance.sample(range(len(states)), most))]


def choose_around(states: list[State], most: int, mark: int) -> list[State]:
    """The `most` of `states` that are nearest to the record `mark`, in their order."""
    numbers = sorted(range(len(states)), key=lambda number: abs(states[number].flushed - mark))
    return [states[number] for number in sorted(numbers[:most])]
