# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cuts a step off as powercut.py does, on a disk that has lost what was not synced.

Two ways in which file systems lose it, each seen on one: `data`: a file that was written and not synced is empty, while
its name is there (ext4, xfs, f2fs). `names`: what was made, moved, removed or marked is as before, except in a
directory that was synced itself since (btrfs).
"""

import contextlib
import os
import posix
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from powercut import CHANGING, CUT, finish

WAYS = ("data", "names")
Call = Callable[..., object]


def cut_off_lossy(step: "Callable[[], object]", after: int, way: str, room: Path) -> bool:
    """True if the child that did `step` came to its end in less than `after` calls; else what was not synced is lost
    in one of the WAYS. `room` is a directory on the same file system for what may come back.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            disk = _Disk(after, way, room)
            disk.watch()
            step()
            # Right after it as well.
            status = CUT if disk.cut_here() else 0
        finally:
            os._exit(status)
    return finish(pid)


class _Disk:
    """What has not come to the disk: files by inode, and how to take each change back."""

    def __init__(self, after: int, way: str, room: Path) -> None:
        self.after = after
        self.way = way
        self.room = tempfile.mkdtemp(dir=room)
        self.calls = 0
        self.kept = 0
        self.real = {name: getattr(posix, name) for name in CHANGING}
        self.files: dict[int, int] = {}
        self.changes: list[tuple[set[int], Callable[[], object]]] = []

    def watch(self) -> None:
        """Stand between this process and its calls."""
        for name in CHANGING:
            setattr(posix, name, self._count(name))

    def _count(self, name: str) -> Call:
        def one(*arguments: object, **options: object) -> object:
            if name == "open" and not int(str(arguments[1])) & (os.O_CREAT | os.O_TRUNC):
                return self.real["open"](*arguments, **options)
            if self.cut_here():
                os._exit(CUT)
            self.calls += 1
            handler = getattr(self, f"_{name}", None)
            return handler(*arguments, **options) if handler else self.real[name](*arguments, **options)

        return one

    def cut_here(self) -> bool:
        """True if this is where the power is cut; then what was not synced is lost now."""
        if self.calls == self.after:
            self._lose()
        return self.calls == self.after

    def _lose(self) -> None:
        if self.way == "data":
            for fd in self.files.values():
                info = os.fstat(fd)
                os.ftruncate(fd, 0)
                os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))
            return
        for _, undo in reversed(self.changes):
            # An error: something that is gone itself, or is in what was not lost.
            with contextlib.suppress(OSError):
                undo()

    def _sync(self) -> None:
        self.files.clear()
        self.changes.clear()

    def _fsync(self, fd: int) -> None:
        inode = os.fstat(fd).st_ino
        self.files.pop(inode, None)
        self.changes = [(parents, undo) for parents, undo in self.changes if inode not in parents]

    def _at(self, path: "str | int", dir_fd: "int | None" = None) -> "tuple[str, set[int]]":
        """A path that stays right when what is above is moved, and the inode of the directory that it is in."""
        if isinstance(path, int):
            return f"/proc/self/fd/{os.dup(path)}", {os.fstat(path).st_ino}
        parent, _, name = os.fsdecode(path).rstrip("/").rpartition("/")
        fd = os.open(parent or ("/" if path.startswith("/") else "."), os.O_PATH, dir_fd=dir_fd)
        return f"/proc/self/fd/{fd}/{name}", {os.fstat(fd).st_ino}

    def _keep(self, place: str) -> str:
        """Another name for what is at `place`, from where it can come back."""
        self.kept += 1
        kept = f"{self.room}/{self.kept}"
        self.real["link"](place, kept, follow_symlinks=False)
        return kept

    def _note(self, parents: "set[int]", undo: Call, *arguments: object) -> None:
        self.changes.append((parents, lambda: undo(*arguments)))

    def _open(self, path: str, flags: int, mode: int = 0o777, *, dir_fd: "int | None" = None) -> int:
        place, parents = self._at(path, dir_fd)
        new = not os.path.lexists(place)
        fd = int(self.real["open"](path, flags, mode, dir_fd=dir_fd))
        if new:
            self._note(parents, self.real["unlink"], place)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            self.files[os.fstat(fd).st_ino] = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
        return fd

    def _mkdir(self, path: str, mode: int = 0o777, *, dir_fd: "int | None" = None) -> None:
        place, parents = self._at(path, dir_fd)
        self.real["mkdir"](path, mode, dir_fd=dir_fd)
        self._note(parents, self.real["rmdir"], place)

    def _mknod(self, path: str, mode: int = 0o600, device: int = 0, *, dir_fd: "int | None" = None) -> None:
        place, parents = self._at(path, dir_fd)
        self.real["mknod"](path, mode, device, dir_fd=dir_fd)
        self._note(parents, self.real["unlink"], place)

    def _symlink(self, source: str, path: str, *, dir_fd: "int | None" = None) -> None:
        place, parents = self._at(path, dir_fd)
        self.real["symlink"](source, path, dir_fd=dir_fd)
        self._note(parents, self.real["unlink"], place)

    def _link(self, source: str, path: str, **options: object) -> None:
        place, parents = self._at(path, options.get("dst_dir_fd"))  # type: ignore[arg-type]
        self.real["link"](source, path, **options)
        self._note(parents, self.real["unlink"], place)

    def _unlink(self, path: str, *, dir_fd: "int | None" = None) -> None:
        place, parents = self._at(path, dir_fd)
        if not os.path.lexists(place) or (os.path.isdir(place) and not os.path.islink(place)):
            self.real["unlink"](path, dir_fd=dir_fd)
            return
        kept = self._keep(place)
        self.real["unlink"](path, dir_fd=dir_fd)
        self._note(parents, self.real["rename"], kept, place)

    def _rmdir(self, path: str, *, dir_fd: "int | None" = None) -> None:
        place, parents = self._at(path, dir_fd)
        if not os.path.isdir(place) or os.listdir(place):
            self.real["rmdir"](path, dir_fd=dir_fd)
            return
        self.kept += 1
        kept = f"{self.room}/{self.kept}"
        self.real["rename"](place, kept)
        self._note(parents, self.real["rename"], kept, place)

    def _rename(
        self, source: str, path: str, *, src_dir_fd: "int | None" = None, dst_dir_fd: "int | None" = None
    ) -> None:
        (old, one), (new, other) = self._at(source, src_dir_fd), self._at(path, dst_dir_fd)
        kept = self._keep(new) if os.path.lexists(new) and not os.path.isdir(new) else ""
        self.real["rename"](source, path, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        def undo() -> None:
            self.real["rename"](new, old)
            if kept:
                self.real["rename"](kept, new)

        self._note(one | other, undo)

    def _setxattr(self, path: "str | int", name: str, value: bytes, flags: int = 0, **options: bool) -> None:
        self._change_attribute(path, name)
        self.real["setxattr"](path, name, value, flags, **options)

    def _removexattr(self, path: "str | int", name: str, **options: bool) -> None:
        self._change_attribute(path, name)
        self.real["removexattr"](path, name, **options)

    def _change_attribute(self, path: "str | int", name: str) -> None:
        place, parents = self._at(path)
        follow = isinstance(path, int)
        parents = parents | {os.stat(place, follow_symlinks=follow).st_ino}
        try:
            value = os.getxattr(place, name, follow_symlinks=follow)
        except OSError:
            remove = self.real["removexattr"]
            self._note(parents, lambda: remove(place, name, follow_symlinks=follow))
            return
        put = self.real["setxattr"]
        self._note(parents, lambda: put(place, name, value, follow_symlinks=follow))
