# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""mount(2) and umount(2) without a process for each: thousands of random histories need ten of them each."""

import ctypes
import errno
import fcntl
import os
import time
from pathlib import Path

from overlayctl.image import detached

READ_ONLY, _REMOUNT, _BIND = 1, 32, 4096  # MS_RDONLY, MS_REMOUNT, MS_BIND of sys/mount.h
_CLEAR = 0x4C01  # LOOP_CLR_FD of linux/loop.h
_LIBRARY = ctypes.CDLL(None, use_errno=True)


def mount(source: object, at: Path, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount a file system at the directory `at`. Raises OSError."""
    words = (os.fsencode(str(source)), os.fsencode(at), kind.encode(), ctypes.c_ulong(flags), data.encode())
    if _LIBRARY.mount(*words) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source}: {os.strerror(number)}", str(at))


def mount_image(image: Path, at: Path, kind: str) -> str:
    """Mount a file read-only; the loop device that it is on, for unmount_image(). Raises OSError, CantMount."""
    fd = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        loop, path = detached._attach(fd, 0, 0)
        try:
            mount(path, at, kind, READ_ONLY)
        finally:
            os.close(loop)
    finally:
        os.close(fd)
    return path


def unmount_image(at: Path, loop: str) -> None:
    """Unmount what mount_image() has mounted. Raises OSError.

    The loop device would go by itself, but some time later, and what the file is on could not be unmounted until then.
    """
    unmount(at)
    fd = os.open(loop, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _CLEAR)
    except OSError as error:
        if error.errno != errno.ENXIO:  # it has gone
            raise
    finally:
        os.close(fd)
    for _ in range(200):
        if not os.path.exists(f"/sys/block/{loop.rpartition('/')[2]}/loop/backing_file"):
            return
        time.sleep(0.05)  # udev looks at it


def bind_read_only(source: Path, at: Path) -> None:
    """Let the directory `source` be seen at `at`, where it can't be written to. Raises OSError."""
    mount(source, at, "", _BIND)
    mount("", at, "", _BIND | _REMOUNT | READ_ONLY)


def unmount(at: Path) -> None:
    """Unmount what is mounted at `at`. Raises OSError."""
    if _LIBRARY.umount2(os.fsencode(at), 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(at))
