# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write the two initramfs archives: one that finds the root file system, one that only proves a boot."""

from __future__ import annotations

import gzip
import lzma
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from steps import StepFailed, output_of, run_step

GUEST = Path(__file__).resolve().parent / "guest"
ELF_INTERPRETER = b"/ld-linux"


def write_initramfs(target: Path, groups: Mapping[str, Sequence[Path]], log: Path, busybox: Path | None = None) -> None:
    """Write an archive whose init loads modules in the given order, mounts the root and goes there.

    The group `first` is for every root; others have the names of file systems, of which the root has one; the modules
    in the rest are loaded by the hook of an image, see guest/initramfs-init. busybox is the machine's, by default the
    host's.

    Raises StepFailed.
    """
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        for group, modules in groups.items():
            (tree / "modules" / group).mkdir(parents=True)
            for number, module in enumerate(modules):
                # Numbered, so that the order needs no list and no modprobe.
                plain = module.name.partition(".")[0]
                (tree / "modules" / group / f"{number:02}-{plain}.ko").write_bytes(_unpacked(module))
        _archive(target, tree, GUEST / "initramfs-init", log, busybox)


def write_probe(target: Path, log: Path, busybox: Path | None = None) -> None:
    """Write an archive whose init says a word on the console and powers off.

    Raises StepFailed.
    """
    with tempfile.TemporaryDirectory() as name:
        _archive(target, Path(name), GUEST / "probe-init", log, busybox)


def _archive(target: Path, tree: Path, init: Path, log: Path, busybox: Path | None) -> None:
    for name in ("bin", "dev", "proc", "sys", "root"):
        (tree / name).mkdir()
    shutil.copyfile(init, tree / "init")
    (tree / "init").chmod(0o755)
    shutil.copyfile(busybox or _static_busybox(), tree / "bin/busybox")
    (tree / "bin/busybox").chmod(0o755)
    (tree / "bin/sh").symlink_to("busybox")
    script = 'cd "$1" && find . -print | sort | cpio --quiet --create --format=newc --owner=0:0 > "$2"'
    run_step("pack the initramfs", ["sh", "-c", script, "sh", tree, target], log)


def _static_busybox() -> Path:
    found = shutil.which("busybox")
    if found is None:
        raise StepFailed("step 'pack the initramfs': busybox is not installed")
    if ELF_INTERPRETER in Path(found).read_bytes()[:4096]:
        raise StepFailed("step 'pack the initramfs': busybox is linked dynamically, install busybox-static")
    return Path(found)


def _unpacked(module: Path) -> bytes:
    """Return a module as insmod wants it: busybox may not know the compression that the kernel uses."""
    data = module.read_bytes()
    if module.suffix == ".xz":
        return lzma.decompress(data)
    if module.suffix == ".gz":
        return gzip.decompress(data)
    if module.suffix == ".zst":
        with tempfile.TemporaryDirectory() as name:
            plain = Path(name) / "module.ko"
            output_of("unpack a module", ["zstd", "--quiet", "-d", module, "-o", plain])
            return plain.read_bytes()
    return data
