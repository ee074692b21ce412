# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two trees gone through together: the directories that both have at one path. Neither follows a link.

As in tree.py the depth of a user's directories may be any: the descriptors of few levels are kept, and a level that was
given back is opened again from the top, name by name.
"""

from overlay_prepare.folder import Folder

_OPEN = 32  # levels


class Pairs:
    """The way from two tops to where it stands; `here` are the two directories there, `way` the names to them."""

    def __init__(self, one: Folder, other: Folder) -> None:
        self.tops = (one, other)
        self.way: list[str] = []
        self.opened: list[tuple[Folder, Folder] | None] = []

    @property
    def here(self) -> "tuple[Folder, Folder]":
        """The two directories. Raises OSError."""
        if not self.opened:
            return self.tops
        pair = self.opened[-1]
        if pair is None:
            one, other = self.tops
            for name in self.way:
                one, other = one.open(name), other.open(name)
            pair = self.opened[-1] = (one, other)
        return pair

    @property
    def path(self) -> str:
        """Where it stands, below the tops."""
        return "/".join(self.way)

    def enter(self, name: str) -> None:
        """Go on to the directory `name` in both. Raises OSError."""
        one, other = self.here
        pair = (one.open(name), other.open(name))
        self.way.append(name)
        self.opened.append(pair)
        if len(self.opened) > _OPEN:
            # Closed with the last reference to them.
            self.opened[-_OPEN - 1] = None

    def leave(self) -> str:
        """Go back to the directory above; the name of the one that was left."""
        self.opened.pop()
        return self.way.pop()
