# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes that hold files from before the overlay was mounted: they read and write below it (psutil, proc(5))."""

import os
from dataclasses import dataclass

_SHOWN = 20


@dataclass(frozen=True)
class Holder:
    """A process, and the paths that it holds, sorted."""

    pid: int
    name: str
    paths: "tuple[str, ...]"


def find(where: str, lower: str, mounted_at: "float | None" = None) -> "list[Holder]":
    """The processes with something open below `where` that is a file of `lower`, where the image's directory is bound.

    `mounted_at`: when the overlay was mounted, in seconds after boot, None if that is not known. Processes that this
    user may not look at are left out. Raises space.Missing, OSError if `lower` can't be looked at.
    """
    device = os.stat(lower).st_dev
    try:
        import psutil  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        from overlayctl.status.space import Missing

        raise Missing from error
    holders = []
    own = os.getpid()
    booted = psutil.boot_time()
    for process in psutil.process_iter():
        if process.pid == own:
            continue
        found = _find_open(process.pid, where, device)
        try:
            # Before Linux 6.15 or so, maps has the device of the layer for what was mapped through the overlay, too.
            if mounted_at is None or process.create_time() - booted < mounted_at:
                found |= _find_mapped(process.pid, where, device)
            # Another root directory may have the same paths on the same disk, as containers have.
            paths = {path for path, inode in found if _is_same(f"{lower}{path[len(where) :]}", inode)}
            if paths:
                holders.append(Holder(process.pid, process.name(), tuple(sorted(paths)[:_SHOWN])))
        except psutil.Error:
            continue  # it has ended meanwhile
    return holders


def _find_open(pid: int, where: str, device: int) -> "set[tuple[str, int]]":
    """What the links of a process in /proc lead to: open files, its working directory, its root."""
    top = f"/proc/{pid}"
    links = [f"{top}/cwd", f"{top}/root"]
    try:
        links += [entry.path for entry in os.scandir(f"{top}/fd")]
    except OSError:
        pass  # it has just ended, or is not for this user to look at
    found = set()
    for link in links:
        try:
            path = os.readlink(link)
            # The name first: most files lie elsewhere, and stat(2) of one on a dead network would wait.
            if _is_inside(path, where):
                info = os.stat(link)
                if info.st_dev == device:
                    found.add((path, info.st_ino))
        except OSError:
            continue
    return found


def _find_mapped(pid: int, where: str, device: int) -> "set[tuple[str, int]]":
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}".encode()
    found = set()
    try:
        with open(f"/proc/{pid}/maps", "rb") as stream:
            for line in stream:
                fields = line.rstrip(b"\n").split(None, 5)
                if len(fields) == 6 and fields[3] == wanted:
                    path = os.fsdecode(fields[5])
                    if _is_inside(path, where):
                        found.add((path, int(fields[4])))
    except OSError:
        pass  # it has just ended, or is not for this user to look at
    return found


def _is_same(path: str, inode: int) -> bool:
    try:
        return os.lstat(path).st_ino == inode
    except OSError:
        return False


def _is_inside(path: str, where: str) -> bool:
    return path == where or path.startswith(f"{where}/")
