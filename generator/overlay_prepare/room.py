# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a disk has room for a second upper layer on top of one that is frozen: a file is copied whole at its first
write after that.
"""

import posix

from overlay_prepare.files import is_too_long
from overlay_prepare.folder import Folder, look_at

_RECENT = 7 * 86400 * 10**9  # nanoseconds
_MOST_LOOKED_AT = 1500  # files; what there is more is taken to be like them
# Names on the way to directories, each of which is opened from the top: anybody can make a chain of any length, for
# which that would take the square of it.
_MOST_STEPS = 30_000
_SPARE = 20  # of so many parts of the disk one stays free
_LEAST_INODES = 64


def find_lack(backing: Folder) -> str:
    """Why what is usually written may not fit beside the upper layer of `backing`, "" where it does. Raises OSError.

    That is what was written in the seven days before the last write that was found.
    """
    info = posix.statvfs(backing.fd)
    free, size = info.f_bavail * info.f_frsize, info.f_blocks * info.f_frsize
    if info.f_files and info.f_ffree < _LEAST_INODES:
        return f"{info.f_ffree} inodes are left"
    if free >= size // 2:
        return ""  # all that is there could be copied once
    files, whole = _look(backing)
    since = max((modified for modified, _ in files), default=_RECENT) - _RECENT
    needed = sum(length for modified, length in files if modified >= since)
    if not whole and info.f_files and files:
        # In proportion, by the inodes that are in use.
        needed = needed * max(info.f_files - info.f_ffree, len(files)) // len(files)
    if needed > free - size // _SPARE:
        return f"what was written in the last seven days has about {needed >> 20} MiB, and {free >> 20} MiB are free"
    return ""


def _look(backing: Folder) -> "tuple[list[tuple[int, int]], bool]":
    """Time of the last change and bytes of files of the upper layer, and True if those are all of them."""
    files: list[tuple[int, int]] = []
    pending, steps = ["upper"], 0
    while pending:
        path = pending.pop(0)
        steps += path.count("/") + 1
        if steps > _MOST_STEPS:
            return files, False
        folder = backing.descend(path)
        for entry in folder.scan() if folder else ():
            if len(files) >= _MOST_LOOKED_AT or len(pending) > _MOST_LOOKED_AT:
                return files, False
            if entry.is_dir(follow_symlinks=False):
                inner = f"{path}/{entry.name}"
                if not is_too_long(inner):
                    pending.append(inner)
            elif folder and entry.is_file(follow_symlinks=False):
                name = entry.name
                info = look_at(lambda at=folder, name=name: at.stat(name))  # type: ignore[misc]
                if info:
                    files.append((info.st_mtime_ns, info.st_blocks * 512))
    return files, True
