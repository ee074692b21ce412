# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sets a few inodes of a disk aside for mounting the overlay itself.

With fewer than three free ones, besides those of its layers, the kernel refuses the mount (ENOSPC, Linux 6.18): a
directory that was filled with small files would end in an emergency shell at the next boot. File systems without a
fixed number of inodes report that they have none.
"""

import posix

from overlay_prepare.folder import Folder
from overlay_prepare.report import Unusable
from overlay_prepare.tree import remove

_SPARE = "spare"
_NEEDED = 4
_PLENTY = 32  # inodes: below that nothing is set aside, as it would be missed
_LOW = (16, 1 << 18)  # inodes, bytes
# What can be made again, the most useful last.
_EXPENDABLE = ("contents.new", "dropped.old", "contents", "dropped", "names")


def keep_room(backing: Folder) -> None:
    """Set inodes aside, or free them if too few are left. Raises Unusable if that is not enough, OSError."""
    free = _count_free(backing)
    if free is None:
        return
    if free >= _PLENTY:
        if backing.find_kind(_SPARE) != "d":
            with backing.make(_SPARE) as spare:
                for number in range(_NEEDED):
                    posix.close(spare.create(f"{number}"))
        return
    for name in (_SPARE, "trash", *_EXPENDABLE):
        if free is None or free >= _NEEDED:
            return
        remove(backing, name)
        free = _count_free(backing)
    if free is not None and free < _NEEDED - 1:
        raise Unusable(f"no inode is left on it; remove files from {backing.path}/upper")


def is_low(backing: Folder) -> bool:
    """True if next to nothing fits on the disk. Raises OSError."""
    info = posix.statvfs(backing.fd)
    inodes, size = _LOW
    return info.f_bavail * info.f_frsize < size or (bool(info.f_files) and info.f_ffree < inodes)


def _count_free(backing: Folder) -> "int | None":
    info = posix.statvfs(backing.fd)
    return info.f_ffree if info.f_files else None
