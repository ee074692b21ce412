# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a user does in an overlay, at random, for diff_fuzz.py: all that leaves a mark in an upper layer."""

import contextlib
import ctypes
import os
import random
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hold import hold
from overlay_prepare.normalise import normalise

if TYPE_CHECKING:
    from diff_mounts import Overlay

RENAME_EXCHANGE = 2


def make_history(overlay: "Overlay", chance: random.Random) -> None:
    """Up to three mounts of `overlay` with other options, and some work in each."""
    shutil.copystat(overlay.lower, overlay.upper)
    for number in range(chance.randint(2, 4) if overlay.freezes else chance.randint(1, 3)):
        if number and overlay.freezes and not overlay.frozen.exists() and chance.random() < 0.7:
            overlay.freeze()
        elif number:
            overlay.change_options()
        if chance.random() < 0.2:
            normalise(hold(overlay.upper), hold(overlay.work))
            # With nfs_export the kernel merges no directory whose origin it does not know; we never mount with both.
            overlay.normalised = True
            overlay.options["nfs_export"] = "off"
        with overlay.mounted():
            for _ in range(chance.randint(1, 30)):
                change(overlay.at, chance)


def fill(top: Path, chance: random.Random) -> None:
    """A random image in `top`."""
    for _ in range(chance.randint(5, 50)):
        change(top, chance)


def change(top: Path, chance: random.Random) -> None:
    """One random change in `top`; what is impossible there is left out."""
    present = list_all(top)
    directories = [top, *(path for path in present if path.is_dir() and not path.is_symlink())]
    path = chance.choice(directories) / chance.choice("abcdef")
    other = chance.choice(present) if present else path
    # A name that is taken, a directory in the way, EXDEV: a user gets these too.
    with contextlib.suppress(OSError, shutil.Error):
        chance.choice(ACTIONS)(path, other, chance)


def list_all(top: Path) -> "list[Path]":
    found = (Path(at, name) for at, inner, files in os.walk(top) for name in (*inner, *files))
    return sorted(path for path in found if path.name != "lost+found")


def is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def write(path: Path, _other: Path, chance: random.Random) -> None:
    if path.exists() and not path.is_file():
        return  # opening a FIFO would take for ever
    # Few texts, so that many files are of the same size, and some of the same content.
    path.write_text(chance.choice(["", "one", "two", "three", "x" * 5000]))


def overwrite(_path: Path, other: Path, chance: random.Random) -> None:
    if is_file(other):
        times = other.stat()
        write(other, other, chance)
        if chance.random() < 0.5:
            os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))


def append(_path: Path, other: Path, chance: random.Random) -> None:
    if is_file(other):
        with other.open("a") as stream:
            stream.write(chance.choice(["", " more"]))


def make_directory(path: Path, _other: Path, chance: random.Random) -> None:
    path.mkdir()
    write(path / chance.choice("abcdef"), path, chance)


def remove(_path: Path, other: Path, _chance: random.Random) -> None:
    if other.is_dir() and not other.is_symlink():
        shutil.rmtree(other)
    else:
        other.unlink()


def rename(path: Path, other: Path, _chance: random.Random) -> None:
    other.rename(path)


def rename_over(path: Path, other: Path, _chance: random.Random) -> None:
    if path.is_dir() and other.is_dir():
        for inner in path.iterdir():
            remove(inner, inner, _chance)
    other.rename(path)


def exchange(path: Path, other: Path, _chance: random.Random) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    library.renameat2(-100, os.fsencode(path), -100, os.fsencode(other), RENAME_EXCHANGE)


def link(path: Path, other: Path, _chance: random.Random) -> None:
    if is_file(other):
        os.link(other, path)


def link_symbolically(path: Path, _other: Path, chance: random.Random) -> None:
    path.symlink_to(chance.choice("abcdef"))


def chmod(_path: Path, other: Path, chance: random.Random) -> None:
    if not other.is_symlink():
        other.chmod(chance.choice([0o600, 0o640, 0o700, 0o755, 0o2755, 0o1777]))


def chown(_path: Path, other: Path, chance: random.Random) -> None:
    os.lchown(other, chance.choice([0, 12]), chance.choice([0, 34]))


def touch(_path: Path, other: Path, chance: random.Random) -> None:
    os.utime(other, ns=(0, chance.choice([1_000_000_007, 2_000_000_009])), follow_symlinks=False)


def open_only(_path: Path, other: Path, _chance: random.Random) -> None:
    if is_file(other):
        other.open("a").close()


def set_attribute(_path: Path, other: Path, chance: random.Random) -> None:
    name = chance.choice(["trusted.one", "user.two", "security.three"])
    if chance.random() < 0.3:
        os.removexattr(other, name, follow_symlinks=False)
    else:
        os.setxattr(other, name, chance.choice([b"", b"value", b"\xff\0\n="]), follow_symlinks=False)


def make_special(path: Path, _other: Path, chance: random.Random) -> None:
    kind = chance.choice(["fifo", "device", "socket"])
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        os.mknod(path, chance.choice([stat.S_IFCHR, stat.S_IFBLK]) | 0o600, os.makedev(1, chance.choice([3, 5])))
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.fspath(path))


def replace_by_copy(_path: Path, other: Path, chance: random.Random) -> None:
    """As editors save: a new file takes the name."""
    if is_file(other):
        scratch = other.with_name("new")
        scratch.write_bytes(other.read_bytes() + chance.choice([b"", b"edited"]))
        if chance.random() < 0.5:
            shutil.copystat(other, scratch)
        scratch.rename(other)


# What users do most is there twice.
ACTIONS: "tuple[Callable[[Path, Path, random.Random], None], ...]" = (
    write, write, overwrite, append, make_directory, make_directory, make_directory, remove, remove,
    rename, rename, rename, rename_over, exchange, link, link, link, link, link_symbolically, chmod, chown, touch,
    open_only, set_attribute, make_special, replace_by_copy,
)  # fmt: skip
