#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Measure what a writable /var costs at boot, ours and others' ways side by side, and write docs/boot-cost.md.

All ways are booted in turn, round after round, and compared within a round. The time in the machines goes by executed
instructions, so it does not depend on what else the host does. Only what processors do at the same time is measured by
the host's clock, in boots of its own. Exit status: 0, or 2 when nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from architectures import host_architecture
from cache import cache_root
from costpage import write_page
from costways import GENERATORS, NO_GENERATOR, WAYS, Way, way_image
from debian import Base, build_base
from image import Product, build_image, snapshot
from machine import ICOUNT, Machine, Start, boot, choose_machine
from protocol import read_report
from run import HERE, TOOLS
from steps import StepFailed, missing_tools

DOCS = HERE.parents[1] / "docs"
TIMEOUT = 900.0
Round = dict[str, dict[str, float]]


def main(argv: Sequence[str]) -> int:
    """Measure, write the page, return the exit status."""
    parser = argparse.ArgumentParser(prog="cost.py", description="Compare ways to a writable /var at boot.")
    add = parser.add_argument
    add(
        "--rounds",
        type=int,
        default=5,
        metavar="N",
        help="boots of each way (default: 5; 0: keep those of the last time)",
    )
    add("--side-by-side", type=int, default=10, metavar="N", help="rounds on two processors (default: 10; 0: likewise)")
    add("--jobs", type=int, default=1, metavar="N", help="machines at the same time (default: 1)")
    add("--suite", default="trixie", help="Debian suite (default: trixie)")
    add("--real", action="store_true", help="go by the host's clock: on a quiet machine only")
    add("--product", type=Path, default=HERE.parents[1], metavar="DIR", help="source tree with the Makefile")
    add("--docs", type=Path, default=DOCS, metavar="DIR", help="where to write boot-cost.md, .svg and .json")
    add("--again", action="store_true", help="measure nothing, write the page from boot-cost.json")
    arguments = parser.parse_args(argv)
    data = arguments.docs / "boot-cost.json"
    if not arguments.again:
        if os.geteuid() != 0:
            return _give_up("the images are built as root, and this is not root")
        if missing := missing_tools([*TOOLS, host_architecture().qemu]):
            return _give_up(f"not installed: {', '.join(missing)}")
        arguments.docs.mkdir(exist_ok=True)
        try:
            _measure(arguments, data)
        except StepFailed as error:
            return _give_up(str(error))
    write_page(json.loads(data.read_text()), arguments.docs)
    print(f"written: {arguments.docs / 'boot-cost.md'}")
    return 0


def _measure(arguments: argparse.Namespace, data: Path) -> None:
    """Measure what is asked for, and write it into the file after each round, so that stopping it loses nothing.

    Raises StepFailed.
    """
    found: dict[str, Any] = json.loads(data.read_text()) if data.exists() else {}
    kept = not arguments.rounds or (not arguments.side_by_side and found)
    if kept and found.get("suite") != arguments.suite:
        raise StepFailed(f"step 'keep the last rounds': {data} has none of {arguments.suite}; measure both kinds")
    root = cache_root()
    with snapshot(arguments.product.absolute()) as product:
        base = build_base(arguments.suite, root)
        usual = choose_machine(base, TIMEOUT)
        steady = Machine(base.architecture, "tcg,thread=single", "max", TIMEOUT, processors=1, icount=ICOUNT)
        machine = usual if arguments.real else steady

        def measure(part: dict[str, Any], ways: Sequence[Way], count: int, jobs: int, machine: Machine) -> None:
            rounds: list[Round] = []
            for each in _rounds(ways, count, jobs, base, product, machine, root):
                rounds.append(each)
                part |= {"accelerator": machine.accelerator, "processors": machine.processors, "rounds": rounds}
                data.write_text(json.dumps(found, indent=1) + "\n")

        if arguments.rounds:
            found |= {"suite": base.suite, "clock": f"-icount {machine.icount}" if machine.icount else "the host's"}
            measure(found, WAYS, arguments.rounds, arguments.jobs, machine)
        if arguments.side_by_side:
            ways = [way for way in WAYS if way.name in (NO_GENERATOR, *GENERATORS)]
            # One machine at a time, as its processors have to run at the same time.
            measure(found.setdefault("side by side", {}), ways, arguments.side_by_side, 1, usual)


def _rounds(
    ways: Sequence[Way], count: int, jobs: int, base: Base, product: Product, machine: Machine, root: Path
) -> Iterator[Round]:
    """Yield the times of each way in seconds, round after round.

    Raises StepFailed.
    """
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        for number in range(count):
            # Another way is the first in each round.
            turn = number % len(ways)
            ordered = [*ways[turn:], *ways[:turn]]
            tasks = {way.name: pool.submit(_boot, way, base, product, machine, root) for way in ordered}
            times = {name: task.result() for name, task in tasks.items()}
            shown = {name: times[name]["multi-user"] for name in sorted(times)}
            print(f"round {number + 1} of {count}: to multi-user {shown}", flush=True)
            yield times


def _boot(way: Way, base: Base, product: Product, machine: Machine, root: Path) -> dict[str, float]:
    """Return when a machine reached what, in seconds since the start of systemd.

    Raises StepFailed when it did not get there.
    """
    image = build_image(base, product, way_image(way), root)
    with tempfile.TemporaryDirectory() as name:
        results = Path(name)
        words = [way.cmdline, f"test.checks=boot-times:{way.writable_by}", "test.root-in-memory"]
        start = Start(base.kernel, base.initramfs, image, " ".join(words), memory=way.memory, cut_at="times")
        times = boot_times(machine, start, results, way.name)
    return {**times, "generators": times["GeneratorsFinish"] - times["GeneratorsStart"]}


def boot_times(machine: Machine, start: Start, results: Path, way: str) -> dict[str, float]:
    """Boot a machine that measures itself (boot-times of guest/check); when it reached what, in seconds.

    Raises StepFailed when it did not get there.
    """
    boot(machine, start, results)
    log = results / "result.log"
    report = read_report(log.read_text(errors="replace") if log.exists() else "")
    if "time-end" not in report.info:
        console = (results / "console.log").read_text(errors="replace")
        said = [outcome.detail for outcome in report.outcomes] or console.splitlines()[-3:]
        raise StepFailed(f"step 'boot {way}': {' / '.join(said)}")
    return {key.removeprefix("time-"): float(value) / 1e6 for key, value in report.info.items() if "time-" in key}


def _give_up(text: str) -> int:
    print(f"cost.py: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
