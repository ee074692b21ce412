# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares one entry of the upper layer with what the image has in its place."""

import os
from collections.abc import Callable
from os import getxattr

from overlayctl.layers.held import open_regular
from overlayctl.layers.marks import METACOPY, PREFIX, find_data, is_shown, list_attributes
from overlayctl.layers.stack import Merged

_TYPE, _REGULAR, _DIRECTORY, _LINK = 0o170000, 0o100000, 0o040000, 0o120000
_CHUNK = 1 << 18
# Most files have no other.
_COPIED_UP = [PREFIX + "origin"]
_NONE: "list[str]" = []
_CONTENT = ["content"]


def find_differences(
    real: bytes, info: os.stat_result, old: bytes, old_info: os.stat_result, lower: bytes, beside: "Merged | None"
) -> "tuple[str, ...]":
    """How the entry `real` differs from `old` of the same type: content, mode, owner, times, xattrs. Raises OSError.

    Times (mtime) are compared of files whose content is the same, not of directories, where they change with what is in
    them. `lower` is Layers.data, and `beside` the directory that shows through there.
    """
    names, old_names = list_attributes(real), list_attributes(old)
    if names == _COPIED_UP:
        names = _NONE
    data, _held = real, None
    if names and METACOPY in names:
        data, _held = find_data(real, lower, None if beside is None else beside.path + b"/" + old.rpartition(b"/")[2])
    found = _NONE if _is_same_content(data, real, info, old, old_info) else _CONTENT
    if info.st_mode != old_info.st_mode:
        found = [*found, "mode"]
    if info.st_uid != old_info.st_uid or info.st_gid != old_info.st_gid:
        found = [*found, "owner"]
    if found[:1] != _CONTENT and info.st_mtime_ns != old_info.st_mtime_ns and info.st_mode & _TYPE != _DIRECTORY:
        found = [*found, "times"]
    if (names or old_names) and not _has_same_attributes(real, names, old, old_names):
        found = [*found, "xattrs"]
    return tuple(found)


def _is_same_content(data: bytes, real: bytes, info: os.stat_result, old: bytes, old_info: os.stat_result) -> bool:
    kind = info.st_mode & _TYPE
    if kind == _REGULAR:
        if data == old:
            return True
        if info.st_size != old_info.st_size:
            return False
        # Empty files are equal, and an inode equals itself.
        if not info.st_size or (info.st_ino == old_info.st_ino and info.st_dev == old_info.st_dev):
            return True
        return has_equal_bytes(data, old, info.st_size)
    if kind == _LINK:
        return os.readlink(real) == os.readlink(old)
    return kind == _DIRECTORY or info.st_rdev == old_info.st_rdev


def has_equal_bytes(one: bytes, other: bytes, size: int, opener: "Callable[[bytes], int]" = open_regular) -> bool:
    """True if the first `size` bytes of both files are the same; `opener` gives a descriptor. Raises OSError."""
    first = opener(one)
    try:
        second = opener(other)
        try:
            while size > 0:
                # No more than there is: the room for a whole chunk is mapped and given back by three calls each time.
                count = size if size < _CHUNK else _CHUNK
                data = os.read(first, count)
                if data != os.read(second, count):
                    return False
                # A file that is truncated meanwhile ends early.
                size -= len(data) or size
            return True
        finally:
            os.close(second)
    finally:
        os.close(first)


def _has_same_attributes(real: bytes, names: "list[str]", old: bytes, old_names: "list[str]") -> bool:
    shown = sorted(filter(is_shown, names))
    if shown != sorted(filter(is_shown, old_names)):
        return False
    return all(
        getxattr(real, name, follow_symlinks=False) == getxattr(old, name, follow_symlinks=False) for name in shown
    )
