# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts changes by their kind."""

import stat

from overlayctl.layers.change import DELETED, EQUAL, KINDS, Change
from overlayctl.layers.links import Links
from overlayctl.output import printable
from overlayctl.status.space import spell_size


class Tally:
    """Counts and sizes of changes. The size of a deleted file is the image's, that of any other is the present one."""

    def __init__(self, links: Links) -> None:
        self._counts = dict.fromkeys(KINDS, 0)
        self._sizes = dict.fromkeys(KINDS, 0)
        self._links = links

    def add(self, change: Change) -> None:
        """Count `change`; a file with several names has its size once."""
        self._counts[change.kind] += 1
        info = change.info or change.old_info
        if info is None or not stat.S_ISREG(info.st_mode):
            return
        if change.real is None or change.info is None or not self._links.find_first(change.path, change.real, info):
            self._sizes[change.kind] += info.st_size

    def spell(self, where: str) -> str:
        """A table for a person, or a line that says that nothing was changed."""
        rows = [(kind, self._counts[kind], self._sizes[kind]) for kind in KINDS if self._counts[kind]]
        head = printable(where)
        if not rows:
            return f"{head}: nothing was changed\n"
        lines = [f"  {kind:<9}{count:>9}  {spell_size(size):>10}" for kind, count, size in rows]
        present = [row for row in rows if row[0] != DELETED]
        total = f"  {'in all':<9}{sum(row[1] for row in rows):>9}  {spell_size(sum(row[2] for row in present)):>10}"
        notes = {DELETED: "of the image, hidden", EQUAL: "takes space and changes nothing"}
        lines = [line + (f"  {notes[row[0]]}" if row[0] in notes else "") for line, row in zip(lines, rows)]
        return "\n".join([head, *lines, total]) + "\n"
