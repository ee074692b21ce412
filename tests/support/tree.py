# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes small trees of files and layers, and describes everything in them that overlayfs tells apart."""

import os
import shutil
import stat
from pathlib import Path

OPAQUE, ORIGIN = "trusted.overlay.opaque", "trusted.overlay.origin"
Tree = dict[str, tuple[object, ...]]


def fill(top: Path, *entries: str) -> Path:
    """Make `entries` below `top`: `path/` a directory, `path/ opaque` one that hides the image's, `path!` a whiteout,
    `path>target` a symbolic link, `path=text` a file, `path` a file with its own path in it. Returns `top`.
    """
    top.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        name, opaque, _ = entry.partition(" opaque")
        link, arrow, target = name.partition(">")
        file, equals, text = name.partition("=")
        path = top / file.rstrip("/!") if not arrow else top / link
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            path.symlink_to(target)
        elif name.endswith("!"):
            os.mknod(path, stat.S_IFCHR, 0)
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(os.fsencode(text if equals else file))
        if opaque:
            os.setxattr(path, OPAQUE, b"y")
    return top


def copy(source: Path, target: Path) -> Path:
    """Copy a file, a symbolic link or an empty directory with all that it shows, as the kernel's copy-up does."""
    if source.is_dir() and not source.is_symlink():
        target.mkdir()
        shutil.copystat(source, target)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
    info = source.lstat()
    os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)
    return target


def read_tree(top: Path) -> Tree:
    """All that is below `top`, by relative paths: what overlayfs tells apart, and who owns it."""
    return {path.relative_to(top).as_posix(): describe(path) for path in sorted(top.rglob("*"))}


def describe(path: Path) -> "tuple[object, ...]":
    """Kind, mode, owner, device, attributes and content of what is at `path`."""
    info = path.lstat()
    names = sorted(os.listxattr(path, follow_symlinks=False))
    attributes = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
    content: object = ""
    if stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    elif stat.S_ISREG(info.st_mode):
        content = path.read_bytes()
    return oct(info.st_mode), info.st_uid, info.st_gid, info.st_rdev, attributes, content


def dig(top: Path, depth: int, name: str = "d" * 100, entry: str = "") -> None:
    """Make a tree of `depth` directories below `top`, level by level, too deep for any path to reach.

    `entry` is made in the last of them: `path/` a directory, `path!` a whiteout, `path` a file.
    """
    at = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = inner
    if entry.endswith("/"):
        os.mkdir(entry[:-1], dir_fd=at)
    elif entry.endswith("!"):
        os.mknod(entry[:-1], stat.S_IFCHR, dir_fd=at)
    elif entry:
        os.close(os.open(entry, os.O_WRONLY | os.O_CREAT, dir_fd=at))
    os.close(at)
