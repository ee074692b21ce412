# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks whether the file system at a backing directory is the one that fstab wants and can hold an upper layer."""

import errno
import posix

from overlay_generator.fstab import can_be_upper
from overlay_generator.gather import read_file
from overlay_generator.look import STOPPED, parse_mountinfo
from overlay_generator.model import Mounted
from overlay_prepare import labels
from overlay_prepare.files import NO_SPACE, WHITEOUT, keep_quiet
from overlay_prepare.folder import Folder, open_top
from overlay_prepare.report import Unusable
from overlay_prepare.tree import remove

_READ_ONLY = 1  # ST_RDONLY of statvfs(3)
_PROBE = "probe"


def find_mounted(mount: str, mountinfo: str = "/proc/self/mountinfo") -> Mounted:
    """What is mounted at `mount`, the topmost. Raises Unusable if nothing is, OSError."""
    data = read_file(mountinfo)
    found = [m for m in parse_mountinfo(data.decode("utf-8", "surrogateescape")) if m.where == mount]
    if not found:
        raise Unusable(f"nothing is mounted at {mount}")
    return found[-1]


def verify(mounted: Mounted, wanted: str) -> None:
    """Raises Unusable if `mounted` is not of the type that fstab wants ("" or auto: any), or not writable."""
    if wanted not in ("", "auto", "none") and mounted.fstype not in wanted.split(","):
        raise Unusable(f"{mounted.fstype} is mounted at {mounted.where}, and fstab wants {wanted}")
    if not can_be_upper(mounted.fstype):
        raise Unusable(
            f"{mounted.fstype} at {mounted.where} can't hold an upper layer: "
            "use ext4, xfs, btrfs or f2fs, on raw NAND ubifs"
        )
    if "ro" in mounted.flags.split(",") or not STOPPED.isdisjoint(mounted.options.split(",")):
        raise Unusable(f"{mounted.where} is mounted read-only; see the kernel's messages on its file system")


def probe(backing: Folder, options: str) -> None:
    """Try whether `backing` has all that an overlay with `options` needs, by mounting a small one. Raises Unusable if
    something is missing, OSError.
    """
    remove(backing, _PROBE)  # left by a boot that was interrupted
    try:
        backing.mkdir(_PROBE, 0o700)
        with backing.open(_PROBE) as scratch:
            _probe_attributes(scratch)
            _probe_types(scratch)
            _probe_overlay(scratch, options)
    except OSError as error:
        # A full disk is usable: what is on it can still be read, and files be removed.
        if error.errno not in NO_SPACE:
            raise
    finally:
        remove(backing, _PROBE)


def keeps_acls(path: "str | int") -> bool:
    """True if the file system of `path`, a path or a descriptor, has POSIX ACLs: ubifs and squashfs have none, and the
    kernel may be built without those of others. Raises OSError.
    """
    try:
        posix.getxattr(path, "system.posix_acl_access")
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        return error.errno == errno.ENODATA
    return True


def check_work(backing: Folder) -> None:
    """Make the directory `backing`/work/work, as the kernel is about to. Raises Unusable if that fails.

    Where the kernel can't make it, it mounts the overlay read-only and reports success (Linux 6.1 to 6.18).
    """
    try:
        with backing.open("work") as work:
            try:
                work.rmdir("work")
            except FileNotFoundError:
                pass  # a new disk: the kernel has made none yet
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ENOTEMPTY):
                    raise
                remove(work, "work")
            work.mkdir("work", 0)
    except OSError as error:
        raise Unusable(f"{backing.path}/work can't be used: {error.strerror}") from error


def warn_of_projects(mounted: Mounted, backing: Folder, where: str) -> None:
    """Warn if project IDs keep files from being copied up. Only where there may be some: it costs one more module."""
    if mounted.fstype == "xfs" or "prjquota" in mounted.options.split(","):
        from overlay_prepare.projects import warn_of_clash

        warn_of_clash(backing, where)


def run(*command: str) -> None:
    """Run `command`, whose first word is the path of the program. Raises OSError if it fails."""
    pid = posix.posix_spawn(command[0], command, posix.environ)
    if posix.waitpid(pid, 0)[1]:
        raise OSError(0, f"{command[0]} failed", command[-1])


def _probe_attributes(scratch: Folder) -> None:
    try:
        posix.setxattr(scratch.fd, "trusted.overlay-generator", b"y")
    except OSError as error:
        if error.errno in NO_SPACE:
            raise
        raise Unusable(f"its file system has no trusted extended attributes ({error.strerror})") from error


def _probe_types(scratch: Folder) -> None:
    """overlayfs takes the type of an entry from the directory (d_type): without it, rm -r fails later on."""
    scratch.mkdir("directory")
    found = list(scratch.scan())
    scratch.rmdir("directory")
    # Without d_type in the directory, is_dir() looks at the entry itself, which is no longer there.
    if not found or not found[0].is_dir(follow_symlinks=False):
        raise Unusable("its directories don't tell the type of their entries (d_type); make it anew: ext4, xfs ftype=1")


def _probe_overlay(scratch: Folder, options: str) -> None:
    """Remove and rename files of a small overlay, and check that whiteouts appear in its upper layer."""
    folders = {name: scratch.make(name) for name in ("lower", "upper", "work")}
    scratch.mkdir("merged")
    for name in ("removed", "renamed"):
        posix.close(folders["lower"].create(name))
    layers = {name: folder.find_path() for name, folder in folders.items()}
    layout = f"lowerdir={layers['lower']},upperdir={layers['upper']},workdir={layers['work']},{options}"
    at = f"{scratch.find_path()}/merged"
    try:
        # SELinux's policies give mount(8) a domain of its own, which may write nothing here, and overlayfs accesses
        # the layers with the rights of the process that mounted it: so mount(8) has to stay in this one.
        with labels.OwnDomain():
            run("/bin/mount", "-n", "-t", "overlay", "-o", layout, "overlay", at)
    except OSError as error:
        raise Unusable("the kernel refuses it as the upper layer of an overlay; see the kernel's messages") from error
    try:
        with open_top(at, keep_quiet) as merged:
            if posix.statvfs(merged.fd).f_flag & _READ_ONLY:
                raise Unusable("an overlay on it comes up read-only; see the kernel's messages")
            merged.unlink("removed")
            merged.rename("renamed", "name")
        for name in ("removed", "renamed"):
            info = folders["upper"].stat(name)
            if info.st_mode & 0o170000 != WHITEOUT or info.st_rdev:
                raise Unusable("an overlay on it can't mark deleted files")
    except PermissionError as error:
        raise Unusable(f"files of an overlay on it can't be removed ({error.strerror})") from error
    finally:
        _unmount(at)


def _unmount(path: str) -> None:
    """Unmount the overlay at `path`. Raises OSError if it is still there."""
    try:
        run("/bin/umount", path)
    except OSError:
        # Whatever keeps it busy: as long as it is mounted, memory can't take the place of the disk below it.
        run("/bin/umount", "-l", path)
