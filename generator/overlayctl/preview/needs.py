# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an update needs of the disk, and about how long its boot will work on the upper layer."""

import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Optional

from overlayctl.layers.directory import Directory
from overlayctl.layers.stack import Merged, find_entry, is_hiding
from overlayctl.preview.finding import SPACE, Finding
from overlayctl.preview.update import Update
from overlayctl.status.space import spell_size

# The small files that are made anew beside the old ones, and the overlay that the disk is probed with (fitness.py).
_BYTES, _INODES = 256 << 10, 32
_DESCRIPTION = 110  # bytes of a line of `contents` beside the path: two digests are rare, one is of most files
_BLOCK = 4096
# How often prepare goes through the upper layer, measured in walks of preview; seen on ext4 and tmpfs.
_WALKS = {"keep": 0.5, "refresh": 1.5, "prune": 1.5, "reset": 0.0}
_COPIED = 30 << 20  # bytes a second: a slow eMMC
_NAMES = 2.0  # they are read, sorted into a list and written
_LEAST = 0.1  # seconds: the disk is probed, and everything is synced


Report = Callable[[bytes, OSError], None]


class Needs(NamedTuple):
    """Bytes and inodes that have to be free, and seconds."""

    size: int
    inodes: int
    seconds: float


class Tree(NamedTuple):
    """What is in a directory of an image: entries, bytes of files and of a list of the names, seconds to read it."""

    entries: int
    size: int
    names: int
    seconds: float


def measure(top: Directory, report: Report, mine: "Optional[Merged]" = None, sizes: bool = False) -> Tree:
    """What is below `top`, except for what the directory `mine` of an upper layer has or hides; files are looked at
    only for their `sizes`. `report` is given what can't be read, by its path below the image's top.
    """
    start = time.monotonic()
    entries = size = names = 0
    pending: list[tuple[int, Directory, bytes, Merged | None]] = [(0, top, b"", mine)]
    while pending:
        length, above, itself, over = pending.pop()
        try:
            directory = above.enter(itself) if itself else above
            own = _enter(over, itself) if itself else over
            if own is not None and is_hiding(own):
                continue
            taken = frozenset(own.names()) if own is not None else frozenset()
            # Not as a list: it may have a million names.
            with directory.scan() as found:
                for name, one in found:
                    inner = one.is_dir(follow_symlinks=False)
                    entry = find_entry(own, name) if name in taken else None
                    if entry is not None and not (inner and stat.S_ISDIR(entry[1].st_mode)):
                        continue
                    entries += 1
                    below = length + len(name) + 1
                    names += below + inner
                    if inner:
                        pending.append((below, directory, name, own))
                    elif sizes:
                        size += -(-os.lstat(name, dir_fd=directory.fd).st_size // _BLOCK) * _BLOCK
        except OSError as error:
            report(b"/".join([*above.parts(), itself]), error)
    return Tree(entries, size, names, time.monotonic() - start)


def _enter(over: "Optional[Merged]", name: bytes) -> "Optional[Merged]":
    entry = find_entry(over, name)
    return over.enter(name) if over is not None and entry and stat.S_ISDIR(entry[1].st_mode) else None


def add_up(update: Update, image: Tree, seeded: "list[Tree]", listed: int, walked: float) -> Needs:
    """What the step needs, from the new `image`'s directory, what is copied for directories that are passed through,
    the bytes that are `listed` in the file `dropped`, and the seconds that the walk of the upper layer took.
    """
    size, inodes = _BYTES + image.names + listed, _INODES
    if update.policy == "refresh":
        size += image.names + image.entries * _DESCRIPTION
    inodes += sum(len(names) for names in update.opened.values())
    copied = sum(tree.size for tree in seeded)
    size, inodes = size + copied, inodes + sum(tree.entries + 1 for tree in seeded)
    seconds = _LEAST + walked * _WALKS[update.policy] + image.seconds * _NAMES + copied / _COPIED
    return Needs(size, inodes, seconds)


def find_free(backing: str) -> "tuple[int, int | None]":
    """Bytes and inodes that root may still take on the disk of `backing`; None where inodes have no fixed number."""
    info = os.statvfs(backing)
    return info.f_bfree * info.f_frsize, info.f_ffree if info.f_files else None


def judge(needed: Needs, free: "tuple[int, int | None]") -> "Iterator[Finding]":
    """A finding for each thing that there is too little of."""
    size, inodes = free
    if needed.size > size:
        text = f"{spell_size(needed.size)} are needed, and {spell_size(size)} are free"
        yield Finding(SPACE, b"", None, None, None, needed.size, ("size",), text)
    if inodes is not None and needed.inodes > inodes:
        yield Finding(SPACE, b"", what=("inodes",), text=f"{needed.inodes} inodes are needed, and {inodes} are free")
