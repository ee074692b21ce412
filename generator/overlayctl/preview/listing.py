# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The names in a directory of an upper layer, and which of them the images have.

A directory may have a million: of each name there is one copy, and none of those that only an image has.
"""

import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Optional

from overlayctl.layers.directory import Directory
from overlayctl.layers.stack import Merged, Stack, find_entry

# Neither a file nor a symbolic link; in the new image; in the old one.
ODD, IN_NEW, IN_OLD = 1, 2, 4


class Listing(NamedTuple):
    """Directories, sorted, and all others with what is known of each: a sum of ODD, IN_NEW and IN_OLD."""

    directories: "list[bytes]"
    others: "dict[bytes, int]"


def list_upper(directory: Merged, only: "Optional[bytes]") -> Listing:
    """What `directory` of an upper layer has, or `only` that name of it. Raises OSError."""
    if isinstance(directory, Stack):
        return _list_stack(directory, only)
    directories = []
    others = {}
    with directory.scan() as entries:
        for name, entry in entries:
            if only is not None and name != only:
                continue
            if entry.is_dir(follow_symlinks=False):
                directories.append(name)
            else:
                others[name] = 0 if entry.is_file(follow_symlinks=False) or entry.is_symlink() else ODD
    directories.sort()
    return Listing(directories, others)


def _list_stack(directory: Stack, only: "Optional[bytes]") -> Listing:
    directories = []
    others = {}
    for name in directory.names():
        entry = find_entry(directory, name) if only in (None, name) else None
        if entry is None:
            continue
        kind = stat.S_IFMT(entry[1].st_mode)
        if kind == stat.S_IFDIR:
            directories.append(name)
        else:
            others[name] = 0 if kind in (stat.S_IFREG, stat.S_IFLNK) else ODD
    directories.sort()
    return Listing(directories, others)


def list_names(directory: Directory) -> "Iterator[bytes]":
    """The names in `directory`, one after the other. Raises OSError."""
    with directory.scan() as entries:
        for name, _ in entries:
            yield name


def mark(others: "dict[bytes, int]", names: "Iterable[bytes]", flag: int) -> None:
    """Add `flag` to those of `others` that are in `names`."""
    for name in names:
        if name in others:
            others[name] |= flag


def find_missing(listing: Listing, names: "Iterable[bytes]", only: "Optional[bytes]") -> "list[bytes]":
    """Those of `names`, sorted, that the upper layer has not; `only` that one, if it is given."""
    known = frozenset(listing.directories)
    wanted = names if only is None else (name for name in names if name == only)
    return sorted(name for name in wanted if name not in listing.others and name not in known)
