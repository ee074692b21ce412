# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells mounts apart where device numbers don't: a subvolume of btrfs has one of its own."""

import posix


def find_mount(fd: int) -> bytes:
    """The mount that `fd` is on, as the line with the kernel's ID of it (proc(5), fdinfo). Raises OSError."""
    info = posix.open(f"/proc/self/fdinfo/{fd}", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        lines = posix.read(info, 4096).split(b"\n")
    finally:
        posix.close(info)
    return next((line for line in lines if line.startswith(b"mnt_id:")), b"")
