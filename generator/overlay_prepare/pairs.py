# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two trees gone through together: the directories that both have at one path. Neither follows a link.

As in tree.py the depth of a user's directories may be any: the descriptors of few levels are kept, and a level that was
given back is opened again as the parent of the one in it. From the top, name by name, that would take the square of the
depth (2,000 levels: half a minute, Linux 6.18).
"""

from overlay_prepare.folder import Folder, WrongKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OPEN = 32  # levels
_LONGEST = 4096  # PATH_MAX: no path has so many characters
# Names that are kept: so many for the first level, a hundredth of it for the hundredth, and never fewer than that.
_NAMES, _FEWEST = 8192, 64


class Names:
    """The directories in one that are still to be gone to, as far as there is memory for their names."""

    __slots__ = ("_found", "_more", "_scan", "_taken")

    def __init__(self) -> None:
        self._found: list[str] = []
        self._more = False
        self._scan: Iterator[str] | None = None
        self._taken = 0

    def add(self, name: str, depth: int) -> bool:
        """Add the next one of a level that is so deep, 1 for the first; False if it has to be asked for later."""
        if len(self._found) >= _count_kept(depth):
            self._more = True
            return False
        self._found.append(name)
        return True

    def take(self, folder: Folder, depth: int, gone: bool) -> "str | None":
        """The next one in `folder`, None after the last. `gone`: those that were taken are in it no longer."""
        if self._more and not self._found:
            if self._scan is None:
                self._scan = (entry.name for entry in folder.scan() if entry.is_dir(follow_symlinks=False))
                for _ in range(0 if gone else self._taken):
                    next(self._scan, None)
            # It goes on where it was: begun anew for each few names it would take the square of their number.
            most = _count_kept(depth)
            self._found = [name for _, name in zip(range(most), self._scan)]
            self._more = len(self._found) == most
            if not self._more:
                self.rest()
        self._taken += 1
        return self._found.pop() if self._found else None

    def rest(self) -> None:
        """Give back the descriptor that it may have, as `folder` is closed until it is come back to."""
        self._scan = None

    def is_over(self) -> bool:
        """True if nothing is left to take."""
        return not (self._found or self._more)


def _count_kept(depth: int) -> int:
    return max(_FEWEST, _NAMES // depth)


NOTHING = Names()  # one for all levels that have nothing left: a chain of directories may be very long


class Pairs:
    """The way from two tops to where it stands: `here` are the two directories there."""

    def __init__(self, one: Folder, other: Folder) -> None:
        self.here = (one, other)
        self._names: list[str] = []
        self._length = 0
        # The directories above, or what those that were given back are recognised by, in few bytes: they may be many.
        self._above: list[tuple[Folder, Folder] | str] = []

    @property
    def path(self) -> "str | None":
        """Where it stands, below the tops; None where that is longer than any path."""
        return "/".join(self._names) if self._length < _LONGEST else None

    @property
    def depth(self) -> int:
        """The level where it stands, 1 for the tops."""
        return len(self._above) + 1

    def enter(self, name: str) -> None:
        """Go on to the directory `name` in both. Raises OSError."""
        one, other = self.here
        pair = (one.open(name), other.open(name))
        self._above.append(self.here)
        self.here = pair
        self._names.append(name)
        self._length += len(name) + 1
        # The first ones are the caller's.
        if len(self._above) > _OPEN:
            folders = self._above[-_OPEN]
            if isinstance(folders, tuple):
                # Nobody else has them, so they are closed.
                self._above[-_OPEN] = _identify(*folders)

    def leave(self) -> str:
        """Go back to the directory above; the name of the one that was left. Raises OSError, also if that was moved."""
        inner, above = self.here, self._above.pop()
        if isinstance(above, str):
            self.here = (inner[0].open_parent(), inner[1].open_parent())
            if _identify(*self.here) != above:
                raise WrongKind("was moved meanwhile", inner[0].path)
        else:
            self.here = above
        name = self._names.pop()
        self._length -= len(name) + 1
        return name


def walk(
    one: Folder,
    other: Folder,
    arrive: "Callable[[Pairs], Names]",
    depart: "Callable[[Folder, Folder], object]",
    moving: bool,
    abandon: "Callable[[Folder], object] | None" = None,
) -> None:
    """Call `arrive` for each pair of directories, which returns those to go on to from there, and `depart` for the same
    after all that is below. `moving`: `depart` has left the one empty, and it is removed, but for the top.

    Raises OSError; `abandon` is called before for each one of the pairs that were arrived at and not departed from.
    """
    pairs = Pairs(one, other)
    try:
        _walk(pairs, arrive, depart, moving)
    except OSError as error:
        if isinstance(error.filename, int):
            error.filename = pairs.here[0].path  # nobody finds a directory by a descriptor
        while abandon:
            abandon(pairs.here[0])
            if pairs.depth == 1:
                break
            pairs.leave()
        raise


def _walk(
    pairs: Pairs, arrive: "Callable[[Pairs], Names]", depart: "Callable[[Folder, Folder], object]", moving: bool
) -> None:
    pending = [arrive(pairs)]
    while pending:
        name = pending[-1].take(pairs.here[0], pairs.depth, moving)
        if pending[-1].is_over():
            pending[-1] = NOTHING
        if name is not None:
            pairs.enter(name)
            if len(pending) > _OPEN:
                pending[-_OPEN].rest()
            pending.append(arrive(pairs))
            continue
        pending.pop()
        depart(*pairs.here)
        if pending:
            left = pairs.leave()
            if moving:
                pairs.here[0].rmdir(left)


def _identify(one: Folder, other: Folder) -> str:
    found = (folder.stat_self() for folder in (one, other))
    return " ".join(f"{info.st_ino}" if info else "" for info in found)
