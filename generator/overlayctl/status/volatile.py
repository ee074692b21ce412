# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a file system that looks like one on a disk is gone after a boot: its disk is memory, or lies in it.

zram and brd are disks in memory, a loop device is as lasting as its file, and what device mapper or md makes of others
is as lasting as those. All of it is in sysfs (kernel's Documentation/ABI/testing/sysfs-block).
"""

import os
import stat
from dataclasses import dataclass

from overlay_prepare.bootcheck import MEMORY_DISKS
from overlayctl.mounts import Mount, Table

MEMORY = ("tmpfs", "ramfs", "rootfs")
_MODELS = ("scsi_debug",)
# With these, one lost disk loses all; the other levels of md keep a copy (md(4)).
_FRAGILE = ("raid0", "linear")
_DELETED = " (deleted)"  # what the kernel adds to the path of a file without a name (d_path())
_DEEPEST = 16


class Unknown(Exception):
    """It can't be seen from here; the text says what."""


def is_memory(backing: "Mount | None") -> bool:
    """True if what is written to an upper layer there goes to memory, as its type says: None is the root's own."""
    return backing is None or backing.fstype in MEMORY


def find(mount: Mount, table: Table, sysfs: str = "/sys") -> str:
    """Why what is written to `mount` is lost though that is not a tmpfs, as a sentence without a full stop; "" if not.

    `table` has all mounts. Raises Unknown.
    """
    found = None if mount.fstype in MEMORY else _Finder(table, sysfs).judge_mount(mount)
    return f"{found.name} {found.what}" if found else ""


@dataclass(frozen=True)
class _Lost:
    """Something that is gone after a boot: its name, and what it is, e.g. `is a disk in memory (zram)`."""

    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.name}, which {self.what}"


class _Finder:
    """Follows devices down to what they lie on; None as an answer means that nothing is lost."""

    def __init__(self, table: Table, sysfs: str) -> None:
        self.table = table
        self.sysfs = sysfs

    def judge_mount(self, mount: Mount, depth: int = 0) -> "_Lost | None":
        if mount.fstype == "overlay":
            return self._judge_overlay(mount, depth)
        # Major 0: of no disk, or of several as btrfs has it; the source names one of them.
        number = _find_number(mount.source) if mount.device.startswith("0:") else mount.device
        link = f"{self.sysfs}/dev/block/{number}"
        return self._judge_disk(os.path.realpath(link), depth) if number and os.path.exists(link) else None

    def _judge_overlay(self, mount: Mount, depth: int) -> "_Lost | None":
        upper = mount.find_option("upperdir")
        if not upper:
            return None  # nothing is written to it
        if not os.path.isdir(upper):
            raise Unknown(f"{upper}, the upper layer of {mount.where}, is not seen from here")
        return self._judge_path(upper, f"the upper layer of {mount.where}", depth)

    def _judge_path(self, path: str, name: str, depth: int) -> "_Lost | None":
        """What is said of `name`, a file or directory at `path`."""
        mount = self.table.holding(path)
        if mount is None or depth > _DEEPEST:
            return None
        if mount.fstype in MEMORY:
            return _Lost(name, f"is in memory ({mount.fstype} at {mount.where})")
        found = self.judge_mount(mount, depth + 1)
        return _Lost(name, f"lies on {found}") if found else None

    def _judge_disk(self, place: str, depth: int) -> "_Lost | None":
        """What is said of the disk that has the directory `place` in sysfs."""
        if os.path.exists(f"{place}/partition"):
            place = os.path.dirname(place)
        name = os.path.basename(place)
        node = f"/dev/{name.replace('!', '/')}"
        model = _read(f"{place}/device/model").strip()
        kind = MEMORY_DISKS.get(name.rstrip("0123456789")) or (model if model in _MODELS else "")
        if kind:
            return _Lost(node, f"is a disk in memory ({kind})")
        file = _read(f"{place}/loop/backing_file")
        if file:
            return self._judge_loop(file[:-1] if file.endswith("\n") else file, node, depth)
        return self._judge_parts(place, node, depth)

    def _judge_loop(self, file: str, node: str, depth: int) -> "_Lost | None":
        if not _is_there(file):
            if file.endswith(_DELETED):
                return _Lost(node, f"is the file {file[: -len(_DELETED)]}, which was deleted")
            # A path of the initrd's, or of another mount namespace.
            raise Unknown(f"{file}, the file of {node}, is not seen from here")
        found = self._judge_path(file, file, depth)
        return _Lost(node, f"is the file {found}") if found else None

    def _judge_parts(self, place: str, node: str, depth: int) -> "_Lost | None":
        """What is said of a disk that device mapper or md makes of others."""
        try:
            parts = sorted(os.listdir(f"{place}/slaves"))
        except OSError:
            return None  # a disk of its own
        if depth > _DEEPEST:
            return None
        found = [self._judge_disk(os.path.realpath(f"{place}/slaves/{part}"), depth + 1) for part in parts]
        lost = [part for part in found if part]
        level = _read(f"{place}/md/level").strip()
        if not lost or (level and level not in _FRAGILE and len(lost) < len(found)):
            return None
        return _Lost(node, f"lies on {lost[0]}")


def _find_number(source: str) -> str:
    """Major and minor of the block device `source`, "" if it is not one."""
    try:
        info = os.stat(source) if source.startswith("/") else None
    except OSError:
        return ""
    if info is None or not stat.S_ISBLK(info.st_mode):
        return ""
    return f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"


def _is_there(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass  # it is there, and this user may not look at it
    return True


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:
        return ""  # an attribute that this kind of disk does not have
