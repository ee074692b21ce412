# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Change a tree as a scenario wants it, and make a file system image of it or of nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from random import Random

from steps import StepFailed, output_of, run_step
from values import File

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
RANDOM_FILE = 1 << 16
# The tools come from the suite under test: its mkfs and its kernel know each other. In a mount namespace of
# its own, as several machines may be made at the same time.
IN_TREE = """
mount --bind "$1" "$2/mnt" && mount --bind /dev "$2/dev" && mount -t proc proc "$2/proc" || exit
tree=$2
shift 2
exec chroot "$tree" "$@"
"""


def run_in_tree(step: str, tree: Path, directory: Path, argv: Sequence[str], log: Path) -> None:
    """Run a command of a tree's own; it finds the directory at /mnt.

    Raises StepFailed.
    """
    run_step(step, ["unshare", "--mount", "sh", "-c", IN_TREE, "sh", directory, tree, *argv], log)


def pack(kind: str, tree: Path, target: Path, tools: Path, log: Path, uuid: str = "") -> None:
    """Make a file system image of the kind, one of values.ROOTS, with everything in the tree.

    An empty uuid gives a random one.

    Raises StepFailed.
    """
    step = "pack the root file system"
    if kind == "squashfs":
        run_step(step, ["mksquashfs", tree, target, "-comp", "lz4", "-noappend", "-no-progress", "-quiet"], log)
    elif kind == "erofs":
        words = ["mkfs.erofs", "-zlz4", *(["-U", uuid] if uuid else []), f"/mnt/{target.name}", f"/mnt/{tree.name}"]
        run_in_tree(step, tools, tree.parent, words, log)
    else:
        used = int(output_of("measure the tree", ["du", "-s", "--block-size=1M", tree]).split()[0])
        run_step(step, ["truncate", "--size", f"{used * 5 // 4 + 32}M", target], log)
        run_step(step, ["mkfs.ext4", "-q", "-F", *(["-U", uuid] if uuid else []), "-d", tree, target], log)


def change_tree(tree: Path, file: File) -> None:
    """Put a file into the tree, or remove what matches its path.

    Raises StepFailed when there is nothing to remove.
    """
    place = tree / file.path.lstrip("/")
    if file.kind == "removed":
        found = list(tree.glob(file.path.lstrip("/")))
        if not found:
            raise StepFailed(f"step 'change the image': there is no {file.path} to be removed")
        for path in found:
            _remove(path)
    elif file.kind == "link":
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        make_link(place, file.value)
    elif file.kind == "random":
        _fill(place, size_in_bytes(file.value))
    elif file.kind == "directory":
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(file.mode)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(file.value)
        place.chmod(file.mode)


def copy_file(source: Path, target: Path, mode: int) -> None:
    """Copy a file to a place whose directory may not exist yet."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def make_link(place: Path, target: str) -> None:
    """Make a symbolic link, in the place of what may be there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def size_in_bytes(size: str) -> int:
    """Return how many bytes a number with K, M or G is."""
    return int(size[:-1]) * UNITS[size[-1]]


def _fill(place: Path, size: int) -> None:
    """Make a directory with so many bytes in files of RANDOM_FILE, the same ones each time."""
    chance = Random(size)
    place.mkdir(parents=True)
    for number in range(size // RANDOM_FILE):
        (place / f"{number:05}").write_bytes(chance.randbytes(RANDOM_FILE))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
