# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an update has frozen, and the upper layer on top of it, as the one layer that prepare will make of the two."""

import os
import stat
from collections.abc import Callable
from typing import Optional

from overlay_prepare import imagenames
from overlay_prepare.folder import Folder
from overlayctl.layers.directory import Directory
from overlayctl.layers.marks import is_whiteout
from overlayctl.layers.stack import Merged, Stack, find_entry

IsKnown = Callable[[bytes], bool]


class Folded(Stack):
    """A directory of both layers. Of the names in it there are none that only a fold would have no more: whiteouts on
    top for what no image has had, by `is_known` of a path below the top.
    """

    __slots__ = ("is_known",)

    def __init__(self, stack: Stack, is_known: IsKnown) -> None:
        super().__init__(stack.levels, stack.tops, stack.hides)
        self.is_known = is_known

    def names(self) -> "list[bytes]":
        """The names in it. Raises OSError."""
        return [name for name in super().names() if find_entry(self, name)]

    def find_holder(self, name: bytes) -> Directory:
        """The one directory that has `name`. Raises FileNotFoundError if a fold would leave none, OSError."""
        holder = super().find_holder(name)
        if not self.single and holder is self.levels[0] and self._is_forgotten(holder, name):
            raise FileNotFoundError(name)
        return holder

    def merge(self, name: bytes) -> "tuple[Merged, bool, bytes]":
        """As that of Stack."""
        inner, hides, redirect = super().merge(name)
        return (Folded(inner, self.is_known) if isinstance(inner, Stack) else inner), hides, redirect

    def _is_forgotten(self, holder: Directory, name: bytes) -> bool:
        if not _is_mark(holder, name):
            return False
        below = self.levels[-1]
        # A whiteout below stays: that name was an image's.
        return not (below is not None and _is_mark(below, name)) and not self.is_known(b"/".join([*self.parts(), name]))


def _is_mark(directory: Directory, name: bytes) -> bool:
    try:
        info = os.lstat(name, dir_fd=directory.fd)
    except FileNotFoundError:
        return False
    return not stat.S_ISDIR(info.st_mode) and is_whiteout(directory.path + b"/" + name, info)


def open_folded(upper: bytes, frozen: bytes, backing: Folder) -> Folded:
    """The two layers at `upper` and `frozen` as one; prepare's notes are in `backing`. Raises OSError."""
    known: set[bytes] | None = None

    def is_known(path: bytes) -> bool:
        nonlocal known
        if known is None:
            names = imagenames.read_all(backing)
            # Where nobody knows, what was deleted stays so.
            known = {os.fsencode(name.rstrip("/")) for name in names} if names is not None else {b""}
        return path in known or b"" in known

    return Folded(Stack.open_tops(upper, frozen), is_known)


class Layer:
    """A directory of an upper layer, for opaque.find_groups() of prepare."""

    def __init__(self, directory: Merged) -> None:
        self._directory = directory

    @property
    def fd(self) -> int:
        """Its descriptor, valid until others are opened. Raises OSError."""
        return self._directory.fd

    def descend(self, path: str) -> "Optional[Layer]":
        """The directory at `path`, None if it is not there. Raises OSError."""
        found = self._directory.descend(os.fsencode(path).split(b"/") if path else [])
        return Layer(found) if found is not None else None

    def find_kind(self, name: str) -> str:
        """Not empty if there is such a name. Raises OSError."""
        return "there" if find_entry(self._directory, os.fsencode(name)) else ""
