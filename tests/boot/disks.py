# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Make the disks of a scenario, each as its section describes it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from bundle import make_bundle
from debian import Base
from pack import run_in_tree, size_in_bytes
from values import Disk

# The command line of each mkfs up to the label and the file.
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-L"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-L"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-L"],
    "f2fs": ["mkfs.f2fs", "-q", "-f", "-l"],
    "vfat": ["mkfs.vfat", "-n"],
}
PARTITION_START = 1 << 20
SECTOR = 512
# The copy of the table at the end of a GPT disk, and some room.
PARTITION_TAIL = 1 << 20
SPOILT = b"\xff"
COPIED_AT_ONCE = 1 << 20


def make_disk(disk: Disk, base: Base, top: Path, images: Mapping[str, Path]) -> Path:
    """Return a new disk image in the directory top; the images are those of the scenario.

    Raises StepFailed.
    """
    path = top / f"{disk.name}.img"
    log = top / "disks.log"
    size = size_in_bytes(disk.size)
    _sized(path, size)
    content = path
    if disk.partlabel:
        content = top / f"{disk.name}.partition"
        size -= PARTITION_START + PARTITION_TAIL
    if disk.filesystem != "none":
        _sized(content, size_in_bytes(disk.filesystem_size or disk.size) if disk.filesystem_size else size)
        words = [*MAKE[disk.filesystem], disk.label, f"/mnt/{content.name}"]
        if disk.bundle:
            directory = make_bundle(images[disk.bundle], base, top, log)
            words[1:1] = ["-d", f"/mnt/{directory.name}"]
        run_in_tree("make a file system", base.tools, top, words, log)
        if disk.bundle:
            shutil.rmtree(directory)
        _sized(content, size)
    if disk.partlabel:
        table = f"label: gpt\nstart={PARTITION_START // SECTOR}, size={size // SECTOR}, name={disk.partlabel}\n"
        script = 'printf %s "$1" | sfdisk --quiet "$2"'
        run_in_tree("make a partition", base.tools, top, ["sh", "-c", script, "sh", table, f"/mnt/{path.name}"], log)
        if content.exists():
            _copy_into(content, path, PARTITION_START)
            content.unlink()
    if disk.overwrite is not None:
        offset, length = disk.overwrite
        with path.open("r+b") as handle:
            handle.seek(offset)
            handle.write(SPOILT * length)
    return path


def _sized(path: Path, size: int) -> None:
    """Make a file or change its length; what is new in it is a hole."""
    with path.open("ab") as handle:
        os.truncate(handle.fileno(), size)


def _copy_into(source: Path, target: Path, offset: int) -> None:
    """Copy a file to a place in another, holes left out."""
    with source.open("rb") as reader, target.open("r+b") as writer:
        while data := reader.read(COPIED_AT_ONCE):
            if data.strip(b"\0"):
                writer.seek(offset)
                writer.write(data)
            offset += len(data)
