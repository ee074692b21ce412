# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mounts, loop devices and file systems, by system calls where a command would cost more than what is measured."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_libc = ctypes.CDLL(None, use_errno=True)
_GET_FREE, _SET_FD, _CLEAR = 0x4C82, 0x4C00, 0x4C01  # of linux/loop.h
_RDONLY, _BIND, _PRIVATE, _REC = 1, 4096, 1 << 18, 16384  # MS_… of mount(2)
_BTRFS_START, _BTRFS_WAIT = 0x80089418, 0x40089416  # BTRFS_IOC_START_SYNC, BTRFS_IOC_WAIT_SYNC

# How each is made, small, and how it is mounted. xfs below 300 MB can be made only as its own tests do.
MAKE = {
    "ext4": (64, "mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 -J size=4 {}", ""),
    "xfs": (320, "mkfs.xfs -q -K -f {}", "nouuid,nodiscard"),
    "btrfs": (128, "mkfs.btrfs -q -K -f -m single {}", "nodiscard"),
    "f2fs": (64, "mkfs.f2fs -q -f -t 0 {}", "nodiscard"),
}
# What a disk writes at once, in bytes: a sector, a page of flash. btrfs has its superblock in a unit of 4096, and can't
# be mounted with half of it, whatever uses it.
TEARS = {"ext4": (512, 4096), "xfs": (512, 4096), "btrfs": (4096,), "f2fs": (4096,)}


def _check(status: int, what: object) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(what))


def mount(source: object, target: object, kind: str, options: str = "", flags: int = 0) -> None:
    """mount(2). Raises OSError."""
    words = [os.fsencode(str(word)) for word in (source, target, kind, options)]
    _check(_libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), target)


def bind(source: object, target: object) -> None:
    """Bind `source` at `target`. Raises OSError."""
    mount(source, target, "none", flags=_BIND)


def unmount(target: object) -> None:
    """Unmount what is at `target`; something may look at it for a moment. Raises OSError."""
    for attempt in range(200):
        try:
            _check(_libc.umount2(os.fsencode(str(target)), 0), target)
            return
        except OSError:
            if attempt == 199:
                raise
            time.sleep(0.02)


def detach(target: object) -> None:
    """Unmount `target` and all that is mounted below it, lazily (MNT_DETACH). Raises OSError."""
    _check(_libc.umount2(os.fsencode(str(target)), 2), target)


def go_private() -> None:
    """A mount namespace of this process's own."""
    _check(_libc.unshare(0x20000), "unshare")
    mount("none", "/", "none", flags=_PRIVATE | _REC)


def sync_file_system(path: object) -> None:
    """syncfs(2): what sync(2) does, to the one file system of `path`."""
    fd = os.open(str(path), os.O_RDONLY)
    try:
        _check(_libc.syncfs(fd), path)
    finally:
        os.close(fd)


def commit_metadata(top: str, kind: str) -> None:
    """Let the file system at `top` commit its metadata as its timer does, without the data of files."""
    fd = os.open(f"{top}/.commit", os.O_WRONLY | os.O_CREAT)
    try:
        if kind == "btrfs":
            transaction = fcntl.ioctl(fd, _BTRFS_START, bytes(8))
            fcntl.ioctl(fd, _BTRFS_WAIT, transaction)
        else:
            os.utime(fd)
            os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def loop(path: Path, read_only: bool = False) -> Iterator[str]:
    """The loop device on the file `path`. Raises OSError."""
    fd = os.open(path, os.O_RDONLY if read_only else os.O_RDWR)
    control = os.open("/dev/loop-control", os.O_RDWR)
    try:
        while True:
            device = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            try:
                with open(device, "rb" if read_only else "r+b", buffering=0) as stream:
                    fcntl.ioctl(stream, _SET_FD, fd)
                break
            except OSError as error:
                # Somebody else has taken it, or is letting go of it (seen 3 times in 20,000 beside other mounts).
                if error.errno not in (errno.EBUSY, errno.ENXIO):
                    raise
    finally:
        os.close(control)
        os.close(fd)
    try:
        yield device
    finally:
        with open(device, "rb", buffering=0) as stream:
            fcntl.ioctl(stream, _CLEAR)


@contextlib.contextmanager
def mounted(path: Path, kind: str, at: Path, read_only: bool = False) -> Iterator[str]:
    """The file system in the file `path`, mounted `at`; the device. Raises OSError."""
    with loop(path, read_only) as device:
        options = "" if read_only else MAKE[kind][2]
        mount(device, at, kind, options, _RDONLY if read_only else 0)
        try:
            yield device
        finally:
            unmount(at)


def make_disk(path: Path, kind: str) -> None:
    """Make an empty file system of `kind` in the sparse file `path`. Raises CalledProcessError."""
    size, command, _ = MAKE[kind]
    path.unlink(missing_ok=True)
    with path.open("wb") as stream:
        stream.truncate(size << 20)
    subprocess.run(command.format(path).split(), check=True, capture_output=True)
    subprocess.run(["fallocate", "-d", path], check=True, capture_output=True)


def check_disk(path: Path, kind: str) -> str:
    """What systemd-fsck@.service would do; "" or why the disk is not mounted. xfs and btrfs have no check there."""
    if kind != "ext4":
        return ""
    done = subprocess.run(["e2fsck", "-p", path], capture_output=True, text=True, check=False)
    # As in fsck(8): 1 is corrected.
    return "" if done.returncode in (0, 1) else f"e2fsck -p: {done.returncode}: {done.stdout}{done.stderr}"


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file without its holes."""
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        position = 0
        while position < size:
            try:
                position = os.lseek(reader.fileno(), position, os.SEEK_DATA)
            except OSError:
                return  # only a hole is left
            end = os.lseek(reader.fileno(), position, os.SEEK_HOLE)
            while position < end:
                data = os.pread(reader.fileno(), min(end - position, 1 << 20), position)
                os.pwrite(writer.fileno(), data, position)
                position += len(data)
