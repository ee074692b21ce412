#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compare boots of this tree with those of an older one, in pairs: how early /var is writable and the boot is over.

All trees are booted in turn with the upper layer in memory, on a disk, and in memory as the disk is missing. Time in
the machines goes by executed instructions, so it does not depend on what else the host does. Exit status: 0, or 2 when
nothing could be measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from architectures import host_architecture
from cache import cache_root
from cost import TIMEOUT, boot_times
from debian import Base, build_base
from disks import make_disk
from image import Product, build_image, snapshot
from machine import ICOUNT, Machine, Start
from run import HERE, TOOLS
from steps import StepFailed, missing_tools
from values import Disk, Image

LINE = "LABEL=data /run/buildroot/mounts/var ext4 defaults,nofail,x-systemd.device-timeout={limit}s 0 2\n"
# The fstab of each way, and whether the disk is there.
WAYS = {
    "in memory": ("", False),
    "on a disk": (LINE.format(limit=60), True),
    "its disk is missing": (LINE.format(limit=2), False),
}
UNTIL = {"writable": "/var is writable", "multi-user": "multi-user.target"}
# The first boot on a disk makes the layers, as the second one does not: both trees have an empty disk each time.
DISK = Disk("data", "64M", "ext4", "data")


def main(argv: Sequence[str]) -> int:
    """Measure, print the ratios, return the exit status."""
    parser = argparse.ArgumentParser(prog="costpair.py", description="Compare boots of this tree with those of others.")
    add = parser.add_argument
    add(
        "tree",
        nargs="+",
        type=Path,
        metavar="TREE",
        help="source tree to divide by, such as a worktree of an old commit",
    )
    add("--rounds", type=int, default=3, metavar="N", help="boots of each tree and way (default: 3)")
    add("--way", action="append", choices=list(WAYS), help="this one alone, may be repeated (default: all)")
    add("--suite", default="trixie", help="Debian suite (default: trixie)")
    arguments = parser.parse_args(argv)
    if os.geteuid() != 0:
        return _give_up("the images are built as root, and this is not root")
    if missing := missing_tools([*TOOLS, host_architecture().qemu]):
        return _give_up(f"not installed: {', '.join(missing)}")
    try:
        base = build_base(arguments.suite, cache_root())
        machine = Machine(base.architecture, "tcg,thread=single", "max", TIMEOUT, processors=1, icount=ICOUNT)
        with ExitStack() as stack:
            trees = {
                str(tree): stack.enter_context(snapshot(tree.absolute())) for tree in (HERE.parents[1], *arguments.tree)
            }
            for way in arguments.way or WAYS:
                _compare(way, trees, arguments.rounds, base, machine)
    except StepFailed as error:
        return _give_up(str(error))
    return 0


def _compare(way: str, trees: dict[str, Product], rounds: int, base: Base, machine: Machine) -> None:
    """Boot all trees in turn, and print the ratios of the first to each other one.

    Raises StepFailed.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    names = list(trees)
    for number in range(rounds):
        turn = number % len(names)
        for name in [*names[turn:], *names[:turn]]:
            times = _boot(way, trees[name], base, machine)
            found[name].append(times)
            print(f"{way}, round {number + 1} of {rounds}: {name}: {times}", flush=True)
    first, *others = names
    for other in others:
        for key, title in UNTIL.items():
            ratios = [mine[key] / theirs[key] for mine, theirs in zip(found[first], found[other], strict=True)]
            spread = f"{min(ratios):.4f} to {max(ratios):.4f}"
            print(f"{way}: until {title}: {median(ratios):.4f} of {other} ({spread})", flush=True)


def _boot(way: str, product: Product, base: Base, machine: Machine) -> dict[str, float]:
    """Return when a machine reached what, in seconds since systemd began to run its generators.

    Raises StepFailed when it did not get there.
    """
    fstab, has_disk = WAYS[way]
    image = build_image(base, product, Image(fstab, whole=True), cache_root())
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        disks = {DISK.name: (make_disk(DISK, base, results, {}), False)} if has_disk else {}
        words = "overlayfs.mounts=/var test.checks=boot-times:var.mount test.root-in-memory"
        start = Start(base.kernel, base.initramfs, image, words, disks=disks, cut_at="times")
        times = boot_times(machine, start, results, way)
    # As in docs/boot-cost.md: what systemd does before its generators varies by more than a second.
    return {key: times[key] - times["GeneratorsStart"] for key in UNTIL}


def _give_up(text: str) -> int:
    print(f"costpair.py: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
