#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boot from what disks hold after power cuts, on each file system that this kernel has, and say what is wrong. As root.

A boot is recorded with every write and flush that its disk gets; crashstates.py makes the states of it that a disk may
hold, each of which is booted with the new image, with the old one, and cut off once more. Nothing of this machine is
touched but loop devices. Broken copies of the product have to fail, and a file that nobody synced has to get lost now
and then.

Exit status: 0 when all came out right, 1 when not, 2 when nothing could be tried.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import pickle
import shutil
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "generator"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from crashboot import Rig
from crashcases import CONTROLS, SCENARIOS, Scenario
from crashrun import PACES, Run, Tally
from mounting import detach, go_private, mount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KINDS = ("ext4", "xfs", "btrfs", "f2fs")
_TOOLS = {"ext4": ("mkfs.ext4", "e2fsck"), "xfs": ("mkfs.xfs",), "btrfs": ("mkfs.btrfs",), "f2fs": ("mkfs.f2fs",)}
_SHOWN = 10  # faults of a file system


def find_missing() -> str:
    """Why nothing can be tried here, or ""."""
    if os.geteuid() != 0:
        return "it wants root"
    known = Path("/proc/filesystems").read_text().split()
    for name in ("overlay", "fuse", "erofs"):
        if name not in known:
            return f"this kernel has no {name}"
    for path in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(path):
            return f"there is no {path}"
    return "" if shutil.which("mkfs.erofs") else "mkfs.erofs is not installed"


def find_kinds(wanted: list[str]) -> tuple[list[str], list[str]]:
    """The file systems of `wanted` that can be tried, and why the others can't."""
    known = Path("/proc/filesystems").read_text().split()
    usable, reasons = [], []
    for kind in wanted:
        lacking = [tool for tool in _TOOLS[kind] if not shutil.which(tool)]
        if kind not in known:
            reasons.append(f"{kind}: this kernel has it not")
        elif lacking:
            reasons.append(f"{kind}: {lacking[0]} is not installed")
        else:
            usable.append(kind)
    return usable, reasons


def try_kind(kind: str, scenarios: list[Scenario], states: int, seconds: float, seed: int, most: int) -> Tally:
    """Go through `scenarios` on a file system, again with other seeds, until `states` were tried or time is over."""
    total = Tally()
    until = time.monotonic() + seconds
    with _make_rig(kind) as rig:
        for number, (scenario, pace) in enumerate(itertools.cycle(itertools.product(scenarios, PACES))):
            if total.states >= states or time.monotonic() > until:
                break
            if pace == "commits" and not scenario.boots:
                continue
            tally = Run(rig, scenario, pace, "", seed + number).try_states(min(most, states - total.states), until)
            if scenario.known:
                tally.faults.clear()
            total.add(tally)
    return total


def try_control(kind: str, fault: str, scenario: Scenario, pace: str, near: str, seconds: float, seed: int) -> Tally:
    """The same for a broken copy, until something is wrong."""
    total = Tally()
    until = time.monotonic() + seconds
    with _make_rig(kind) as rig:
        while not total.faults and time.monotonic() < until:
            total.add(Run(rig, scenario, pace, fault, seed).try_states(40, until, near))
            seed += 1
    return total


@contextlib.contextmanager
def _make_rig(kind: str) -> Iterator[Rig]:
    """A rig in memory; everything that is mounted in it is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="crash-") as name:
        mount("tmpfs", name, "tmpfs", "mode=0700")
        try:
            rig = Rig(Path(name) / "rig", kind)
            rig.make_images()
            yield rig
        finally:
            detach(name)


def isolate() -> None:
    """A mount namespace of this process's own, with a /run of its own."""
    go_private()
    mount("tmpfs", "/run", "tmpfs", "mode=0755")


def fork(work: Callable[[], Tally]) -> tuple[int, int]:
    """Run `work` in a process in a namespace of its own; its id and where its tally can be read."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            isolate()
            result = work()
            with os.fdopen(writer, "wb") as stream:
                pickle.dump(result, stream)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    return pid, reader


def collect(job: tuple[int, int]) -> Tally | None:
    """The tally of a process that fork() made, None if the harness itself has failed."""
    with os.fdopen(job[1], "rb") as stream:
        data = stream.read()
    if os.waitpid(job[0], 0)[1]:
        return None
    tally = pickle.loads(data)
    assert isinstance(tally, Tally)
    return tally


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fs", action="append", choices=KINDS, help="a file system, all without")
    parser.add_argument("--scenario", action="append", choices=[scenario.name for scenario in SCENARIOS])
    parser.add_argument("--states", type=int, default=1000, help="of each file system (1000)")
    parser.add_argument("--each", type=int, default=60, help="of each recording at most (60)")
    parser.add_argument("--minutes", type=float, default=60, help="for each file system at most (60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-controls", action="store_true", help="leave the broken copies of the product out")
    options = parser.parse_args()
    missing = find_missing()
    kinds, reasons = find_kinds(options.fs or list(KINDS))
    for reason in reasons:
        print(f"not tried: {reason}")
    if missing or not kinds:
        print(f"nothing was tried: {missing or 'no file system is left'}")
        return 2
    chosen = [scenario for scenario in SCENARIOS if scenario.name in (options.scenario or [scenario.name])]
    wrong = 0
    seconds, seed = options.minutes * 60, options.seed
    for kind in kinds:
        began = time.monotonic()
        tally = collect(fork(partial(try_kind, kind, chosen, options.states, seconds, seed, options.each)))
        if tally is None:
            print(f"{kind}: the harness itself failed")
            wrong += 1
            continue
        spent = time.monotonic() - began
        print(
            f"{kind}: {tally.states} states, {tally.boots} boots, {len(tally.faults)} violations, {spent:.0f} s; "
            f"a file that was not synced got lost in {tally.loose}",
            flush=True,
        )
        for fault in tally.faults[:_SHOWN]:
            print(f"  {fault}", flush=True)
        wrong += len(tally.faults)
        wrong += not options.no_controls and not _try_controls(kind, seed)
    return 1 if wrong else 0


def _try_controls(kind: str, seed: int) -> bool:
    """True if each broken copy of the product was found out."""
    right = True
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    for fault, name, pace, near in CONTROLS:
        tally = collect(fork(partial(try_control, kind, fault, by_name[name], pace, near, 240, seed)))
        found = tally is not None and bool(tally.faults)
        after = f"after {tally.states} states: {tally.faults[0]}" if tally and found else "NOT FOUND OUT"
        print(f"{kind}: control {fault}: {after}", flush=True)
        right = right and found
    return right


if __name__ == "__main__":
    sys.exit(main())
