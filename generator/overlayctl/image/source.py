# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a person gives as an image: a directory as it is, anything else mounted by its file system, for as long as a
`with` block lasts. Nothing is written to it, and no link in it leads out of it.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from overlay_prepare.identity import find_type
from overlayctl import mounts
from overlayctl.errors import Failure
from overlayctl.image import detached, superblock

_RELEASES = ("etc/os-release", "usr/lib/os-release")
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_BY_HAND = "mount it read-only, and give the directory"


class Source:
    """An open image: `root` is a path of its top, `name` what the person called it.

    `start` are the first bytes of its file system, b"" of a tree. `notes` are sentences for the person.
    """

    def __init__(self, name: str, root: str, start: bytes = b"", notes: "tuple[str, ...]" = ()) -> None:
        self.name = name
        self.root = root
        self.start = start
        self.notes = notes

    def find(self, where: str) -> bytes:
        """The place of the image's directory `where`, absolute. Raises Failure where it has none."""
        place = self.root
        walked = ""
        for part in where.split("/"):
            if not part:
                continue
            place, walked = f"{place}/{part}", f"{walked}/{part}"
            try:
                info = os.lstat(place)
            except FileNotFoundError as error:
                raise Failure(f"{self.name}: has no {walked}, so that nothing would be overlaid there") from error
            except OSError as error:
                raise Failure(f"{self.name}: {walked}: {error.strerror}") from error
            if stat.S_ISLNK(info.st_mode):
                raise Failure(f"{self.name}: {walked} is a symbolic link to {os.readlink(place)}, and not followed")
            if not stat.S_ISDIR(info.st_mode):
                raise Failure(f"{self.name}: {walked} is not a directory, so that nothing would be overlaid there")
        return os.fsencode(place)


@contextmanager
def opened(name: str, partition: int = 0, what: str = "image") -> "Iterator[Source]":
    """The image that a person calls `name`; of a disk the one on `partition` (0: on the only one with an image).

    `what` is the word for messages. Raises Failure, also if it is in use.
    """
    try:
        # Before it is opened, as just opening a device can have an effect.
        info = os.stat(name)
    except OSError as error:
        raise Failure(f"{name}: {error.strerror}") from error
    if stat.S_ISDIR(info.st_mode):
        if partition:
            raise Failure(f"{name}: --partition is for disks, and this is a directory")
        with unwritable(os.path.abspath(name)) as root:
            yield Source(name, root)
        return
    if not (stat.S_ISREG(info.st_mode) or stat.S_ISBLK(info.st_mode)):
        raise Failure(f"{name}: is neither a directory nor the {what} of a file system, nor a disk; {_BY_HAND}")
    fd = _open(name, info)
    mounted = -1
    try:
        mounted, start, notes = _mount(name, fd, partition)
        # By its descriptor, as it has no other path.
        yield Source(name, f"/proc/self/fd/{mounted}", start, notes)
    finally:
        if mounted >= 0:
            os.close(mounted)
        os.close(fd)


@contextmanager
def unwritable(path: str) -> "Iterator[str]":
    """The directory `path` by another path through which nothing can be changed, if the kernel can do that."""
    fd = detached.clone(path)
    if fd < 0:
        yield path
        return
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _open(name: str, info: os.stat_result) -> int:
    """A descriptor to read it by. Raises Failure."""
    device = stat.S_ISBLK(info.st_mode)
    try:
        # O_EXCL: EBUSY for a device that is mounted or belongs to another one (open(2)). And nobody can mount it then.
        return os.open(name, _FLAGS | (os.O_EXCL if device else 0))
    except OSError as error:
        if device and error.errno == errno.EBUSY:
            raise Failure(f"{name}: is in use{_find_mounted(info)}; unmount it, or give the directory") from error
        raise Failure(f"{name}: {error.strerror}{'; try it as root' if error.errno == errno.EACCES else ''}") from error


def _find_mounted(info: os.stat_result) -> str:
    number = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    found = next((mount.where for mount in mounts.read().mounts if mount.device == number), "")
    return f" (mounted at {found})" if found else ""


def _mount(name: str, fd: int, partition: int) -> "tuple[int, bytes, tuple[str, ...]]":
    """A descriptor of the top of the mounted file system, its first bytes, and notes. Raises Failure."""
    try:
        start, size = os.pread(fd, superblock.START, 0), os.lseek(fd, 0, os.SEEK_END)
    except OSError as error:
        raise Failure(f"{name}: {error.strerror}") from error
    if not start:
        raise Failure(f"{name}: is empty")
    start = start.ljust(superblock.START, b"\0")
    if os.geteuid() != 0:
        raise Failure(f"{name}: only root can mount an image; try it as root, or give its tree as a directory")
    if find_type(start):
        if partition:
            raise Failure(f"{name}: has no partitions, but one file system")
        return (*_mount_one(name, fd, start, 0, size), _note_journal(name, start))
    if not superblock.has_table(start):
        raise Failure(f"{name}: {superblock.explain(start)}")
    return _mount_partition(name, fd, start, size, partition)


def _mount_one(name: str, fd: int, start: bytes, offset: int, size: int) -> "tuple[int, bytes]":
    kind, needed = find_type(start), superblock.find_size(start)
    if needed > size:
        raise Failure(f"{name}: is cut off: its {kind} has {needed} bytes, and {size} are there")
    try:
        return detached.mount(fd, kind, offset, 0 if not offset else size), start
    except detached.CantMount as error:
        text = str(error).rstrip(".")
        if kind == "squashfs" and error.reason == errno.EINVAL:
            text = f"this kernel may have been built without {superblock.name_compressor(start)} for squashfs ({text})"
        raise Failure(f"{name}: its {kind} can't be mounted: {text}; {_BY_HAND}") from error


def _note_journal(name: str, start: bytes) -> "tuple[str, ...]":
    if not superblock.needs_journal(start):
        return ()
    return (f"{name}: its ext4 was not unmounted, and its journal is left alone: the last changes may be missing",)


def _mount_partition(
    name: str, fd: int, start: bytes, size: int, partition: int
) -> "tuple[int, bytes, tuple[str, ...]]":
    """The same for the partition of a disk."""
    found = superblock.list_partitions(start, lambda offset, length: os.pread(fd, length, offset))
    if partition:
        found = [one for one in found if one.number == partition]
        if not found:
            raise Failure(f"{name}: has no partition {partition}")
    mounted: dict[int, tuple[int, bytes]] = {}
    reasons = []
    try:
        for one in found:
            own = os.pread(fd, superblock.START, one.offset).ljust(superblock.START, b"\0")
            if not find_type(own):
                reasons.append(f"{one.number} {superblock.explain(own)}")
                continue
            place = f"{name}: partition {one.number}"
            try:
                mounted[one.number] = _mount_one(place, fd, own, one.offset, min(one.size, size - one.offset))
            except Failure as error:
                if partition:
                    raise
                reasons.append(f"{one.number}: {str(error)[len(place) + 2 :]}")
        roots = [number for number in mounted if partition or _is_root(mounted[number][0])]
        if len(roots) != 1:
            raise Failure(f"{name}: {_explain_partitions(roots, reasons)}")
        top, own = mounted.pop(roots[0])
        return top, own, (f"{name}: partition {roots[0]} is read", *_note_journal(name, own))
    finally:
        for top, _ in mounted.values():
            os.close(top)


def _is_root(top: int) -> bool:
    return any(os.path.lexists(f"/proc/self/fd/{top}/{path}") for path in _RELEASES)


def _explain_partitions(roots: "list[int]", reasons: "list[str]") -> str:
    if roots:
        numbers = ", ".join(map(str, roots))
        return f"has an image on each of the partitions {numbers}; choose one by --partition"
    return f"no partition of it has an image, with an os-release in it{f' ({reasons[0]})' if reasons else ''}"
