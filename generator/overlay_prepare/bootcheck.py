# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The gate of boot assessment: checks that every overlay is what its owner requires before this boot is called good.

Run by overlay-boot-check.service, which is off until it is enabled (systemd's Documentation/AUTOMATIC_BOOT_ASSESSMENT,
boot-complete.target of systemd.special(7)).
"""

import errno
import posix

from overlay_generator import boot, gather
from overlay_generator.look import parse_mountinfo
from overlay_prepare import identity, stamp
from overlay_prepare.events import BOOT_NOT_GOOD
from overlay_prepare.files import find_device, find_kind
from overlay_prepare.folder import open_top
from overlay_prepare.report import ERROR, NOTICE, STATE, WARNING, describe, say, tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_generator.model import Mounted, OverlayMount

_READ_ONLY = 1  # ST_RDONLY of statvfs(3)
_SYSFS = "/sys"
# The kernel's names of disks that are memory, each followed by a number, and what they are called.
MEMORY_DISKS = {"zram": "zram", "ram": "brd", "nullb": "null_blk"}


def check_all() -> int:
    """The exit status: 0 if all requirements are met or no overlay is asked for, else 1. Each reason is logged."""
    try:
        plan = boot.make_plan("", gather.read_environ())
        data = gather.read_file("/proc/self/mountinfo")
    except OSError as error:
        say(ERROR, f"the overlays can't be checked: {describe(error)}")
        return 1
    if plan is None:
        say(NOTICE, "no overlay is asked for")
        return 0
    mounted = parse_mountinfo(data.decode("utf-8", "surrogateescape"))
    unmet = [
        (skipped.where, skipped.reason, str(skipped))
        for skipped in plan.skipped
        if skipped.level == "error" and "writable" in skipped.require
    ]
    for mount in plan.mounts:
        try:
            reasons = find_unmet(mount, mounted)
            unmet += [(mount.where, reason, f"{mount.where}: {reason}") for reason in reasons]
        except OSError as error:
            unmet.append((mount.where, describe(error), f"{mount.where} can't be checked: {describe(error)}"))
    for where, reason, text in unmet:
        fields = {"where": where, "reason": reason}
        tell(BOOT_NOT_GOOD, ERROR, f"{text}; this boot is not called good", fields, console=False)
    return 1 if unmet else 0


def find_unmet(mount: "OverlayMount", mounted: "list[Mounted]") -> "list[str]":
    """The requirements of the owner of `mount` that are not met, as sentences. Raises OSError."""
    require = mount.settings.require
    found = []
    if "writable" in require:
        if not any(m.where == mount.where and m.fstype == "overlay" for m in mounted):
            found.append("the overlay is not mounted")
        elif posix.statvfs(mount.where).f_flag & _READ_ONLY:
            found.append("the overlay is read-only")
        elif reason := _find_refusal(mount.backing.path):
            found.append(f"its disk takes no writes: {reason}")
    holding = [m for m in mounted if m.where == mount.backing.mount]
    in_memory = not holding or holding[-1].fstype == "tmpfs"
    if "current-image" in require and not in_memory:
        backing = mount.backing.path
        with open_top(backing, lambda text: say(WARNING, text)) as folder:
            if not stamp.is_current(folder, identity.identify(f"{backing}/lower")):
                found.append("the upper layer is not fit for the image below it")
    if "persistent" in require:
        if in_memory:
            found.append("it is in memory")
        elif find_kind(f"{STATE}/{mount.name}.failed"):
            found.append("what is written is not kept")
        elif disk := _find_disk_in_memory(mount.backing.path):
            found.append(f"it is in memory: {disk}")
    return found


def _find_refusal(path: str) -> str:
    """Why nothing can be written to the file system at `path`, "" if it can, or that is not known.

    After an error of the disk ext4 may be `emergency_ro` (errors=remount-ro, Linux 6.18) and xfs shut down: neither
    they themselves nor the overlay say so by ST_RDONLY. So it is tried, with a file that has no name.
    """
    try:
        with open_top(path, lambda text: say(WARNING, text)) as folder:
            posix.close(posix.open(".", posix.O_TMPFILE | posix.O_WRONLY | posix.O_CLOEXEC, 0o600, dir_fd=folder.fd))
    except OSError as error:
        # A full disk is no reason, nor is one that knows no such files.
        return describe(error) if error.errno in (errno.EROFS, errno.EIO) else ""
    return ""


def _find_disk_in_memory(path: str) -> str:
    """The disk that holds `path`, if it is memory; "" otherwise. Raises OSError.

    Only a disk by itself: overlayctl status also looks at what a loop device, device mapper or md is made of.
    """
    device = find_device(path)
    if device == -1:
        return ""  # not known
    try:
        place = posix.readlink(f"{_SYSFS}/dev/block/{posix.major(device)}:{posix.minor(device)}")
    except FileNotFoundError:
        return ""  # of no disk, or of several, as btrfs has it
    disk = place.partition("/block/")[2].split("/")[0]
    return disk if disk.rstrip("0123456789") in MEMORY_DISKS else ""
