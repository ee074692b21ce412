"""Keeps a few inodes of a disk for the mount of the overlay itself.

With fewer than three beside those of its layers the kernel refuses the mount (ENOSPC, Linux 6.18): a directory that
was filled with small files would end in an emergency shell at the next boot. File systems without a fixed number of
inodes say that they have none.
"""

import posix

from overlay_prepare.files import find_kind, make_directory
from overlay_prepare.normalise import remove
from overlay_prepare.report import Unusable

_SPARE = "spare"
_NEEDED = 4
_PLENTY = 32  # inodes: below that nothing is set aside, as it would be missed
_LOW = (16, 1 << 18)  # inodes, bytes
# What is made again, the most useful last.
_EXPENDABLE = ("contents.new", "dropped.old", "contents", "dropped", "names")


def keep_room(backing: str) -> None:
    """Set inodes aside, or give them back where there are too few. Raises Unusable if these don't do, OSError."""
    free = _count_free(backing)
    spare = f"{backing}/{_SPARE}"
    if free is None or free >= _PLENTY:
        if free is not None and not find_kind(spare):
            make_directory(spare, 0o700)
            for number in range(_NEEDED):
                posix.close(posix.open(f"{spare}/{number}", posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o600))
        return
    for path in (spare, f"{backing}/trash", *(f"{backing}/{name}" for name in _EXPENDABLE)):
        if free >= _NEEDED:
            return
        remove(path)
        free = _count_free(backing) or 0
    if free < _NEEDED - 1:
        raise Unusable(f"no inode is left on it; remove files from {backing}/upper")


def is_low(backing: str) -> bool:
    """True if little more than nothing fits on the disk. Raises OSError."""
    info = posix.statvfs(backing)
    inodes, size = _LOW
    return info.f_bavail * info.f_frsize < size or (bool(info.f_files) and info.f_ffree < inodes)


def _count_free(backing: str) -> "int | None":
    info = posix.statvfs(backing)
    return info.f_ffree if info.f_files else None
