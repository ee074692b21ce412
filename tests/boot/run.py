#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boot small Debian machines with the product in them and check what it does there.

Exit status: 0 when every chosen scenario passed, 1 when one did not, 2 when nothing could be tested.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from architectures import ARCHITECTURES, Architecture, host_architecture
from cache import cache_root
from debian import build_base
from image import build_image, snapshot
from kernel import TOOLS as KERNEL_TOOLS
from machine import choose_machine
from repeat import spelt_out
from runner import NOT_RUN, PASSED, BootResult, find_obstacle, run_scenario
from scenario import ScenarioError, read_scenarios
from steps import StepFailed, missing_tools
from tally import tallies
from values import Scenario

HERE = Path(__file__).resolve().parent
TOOLS = (
    "mmdebstrap", "mksquashfs", "busybox", "cpio", "depmod", "dpkg-deb", "make", "mkfs.ext4",
    "dumpe2fs", "e2fsck", "setpriv", "truncate",
)  # fmt: skip
# Neither booted nor failed: the scenario is about something that the suite or the machine does not have.
NOT_HERE = "not here"
# Each has two processors, and half of the time one of them waits. More want more memory than a host may have.
JOBS = min(os.cpu_count() or 1, 8)
COLUMNS = "{:<28} {:<10} {:<8} {:<10} {:>8}  {}"


@dataclass(frozen=True)
class Options:
    """The command line, checked."""

    scenarios: tuple[Scenario, ...]
    suites: tuple[str, ...]
    architectures: tuple[Architecture, ...]
    icount: bool
    results: Path
    json: Path | None
    jobs: int
    timeout: float | None
    mirror: str | None
    product: Path


def main(argv: Sequence[str]) -> int:
    """Run what the command line asks for and return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        known = read_scenarios(arguments.scenarios)
    except ScenarioError as error:
        return _give_up(str(error))
    if arguments.list:
        for scenario in known.values():
            print(f"{scenario.name:<28} {'quick' if scenario.quick else '':<6} {scenario.description}")
        return 0
    unknown = [name for name in arguments.scenario if name not in known]
    if unknown:
        return _give_up(f"no such scenario: {', '.join(unknown)}; --list names them")
    if os.geteuid() != 0:
        return _give_up("the images are built as root, and this is not root")
    try:
        names = dict.fromkeys(arguments.architecture or [host_architecture().name])
        architectures = [ARCHITECTURES[name] for name in names]
    except StepFailed as error:
        return _give_up(str(error))
    if missing := missing_tools([*TOOLS, *(item.qemu for item in architectures)]):
        return _give_up(f"not installed: {', '.join(missing)}; tests/needs boots, or tests/needs machines, does it")
    usual = [name for name, scenario in known.items() if scenario.quick or not arguments.quick]
    chosen = dict.fromkeys(arguments.scenario or usual)
    if any(known[name].base == "tiny" for name in chosen) and (missing := missing_tools(KERNEL_TOOLS)):
        return _give_up(f"not installed, and a kernel is to be built: {', '.join(missing)}; tests/needs boots does it")
    options = Options(
        tuple(spelt_out(known[name], arguments.repeat, arguments.seed) for name in chosen),
        tuple(dict.fromkeys(arguments.suite or ["trixie"])),
        tuple(architectures),
        arguments.icount,
        (arguments.keep or cache_root() / "results").absolute(),
        arguments.json,
        arguments.jobs,
        arguments.timeout,
        arguments.mirror,
        arguments.product.absolute(),
    )
    started = time.monotonic()
    try:
        results = _run(options)
    except StepFailed as error:
        return _give_up(str(error))
    return _conclude(results, options, time.monotonic() - started)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py", description="Boot machines with the product in them.")
    add = parser.add_argument
    add("scenario", nargs="*", metavar="SCENARIO", help="what to run (default: all)")
    add("--suite", action="append", help="Debian suite, may be repeated (default: trixie)")
    add(
        "--architecture",
        action="append",
        choices=list(ARCHITECTURES),
        help="of the machine, may be repeated (default: that of the host)",
    )
    add("--icount", action="store_true", help="time goes by instructions: for other architectures, and a busy host")
    add("--quick", action="store_true", help="of all scenarios those that stand for the others")
    add("--list", action="store_true", help="list the scenarios and exit")
    add("--json", type=Path, metavar="FILE", help="write the results there too (always: results.json where --keep is)")
    add("--repeat", type=int, metavar="N", help="for boots with repeat: so many times (default: as the scenario says)")
    add("--seed", type=int, default=0, metavar="N", help="other moments for the random power cuts (default: 0)")
    add("--jobs", type=int, default=JOBS, metavar="N", help=f"scenarios at the same time (default: {JOBS})")
    add("--keep", type=Path, metavar="DIR", help="keep logs and disks there (default: in the cache)")
    add("--timeout", type=float, metavar="SECONDS", help="limit for one boot (default: by accelerator)")
    add("--mirror", metavar="URL", help="Debian mirror (default: that of the host)")
    add("--scenarios", type=Path, default=HERE / "scenarios", metavar="DIR", help="read the scenarios there")
    add("--product", type=Path, default=HERE.parents[1], metavar="DIR", help="source tree with the Makefile")
    return parser


def _run(options: Options) -> list[BootResult]:
    """Build the images of each scenario and run it; return the results of all boots in order.

    Raises StepFailed.
    """
    root = cache_root()
    jobs = [job for job in _combinations(options) if not find_obstacle(*job)]
    say = _Sayer(sum(len(item.boots) for item, _, _ in jobs))
    if not jobs:
        raise StepFailed("step 'choose scenarios': none of them is for these suites and architectures")
    with snapshot(options.product) as product:
        machines = {}
        for item, suite, architecture in jobs:
            if architecture.name not in machines:
                first = build_base(suite, root, options.mirror, item.base, architecture)
                machine = choose_machine(first, options.timeout, icount=options.icount)
                machines[architecture.name] = machine
                how = f"{machine.accelerator}{', clock by instructions' if machine.icount else ''}"
                limit = f"{machine.timeout:.0f} s at most each"
                say(f"booting {architecture.name} with {how}, {options.jobs} at a time, {limit}")

        def run(job: tuple[Scenario, str, Architecture]) -> list[BootResult]:
            item, suite, architecture = job
            base = build_base(suite, root, options.mirror, item.base, architecture)
            # Not all of them ahead: the cache keeps the latest only, and a matrix has more.
            images = {name: build_image(base, product, image, root) for name, image in item.images.items()}
            return run_scenario(item, base, images, machines[architecture.name], options.results, say.boot)

        with ThreadPoolExecutor(max(1, options.jobs)) as pool:
            return [result for results in pool.map(run, jobs) for result in results]


def _combinations(options: Options) -> list[tuple[Scenario, str, Architecture]]:
    return [
        (scenario, suite, architecture)
        for architecture in options.architectures
        for suite in options.suites
        for scenario in options.scenarios
    ]


class _Sayer:
    """Prints whole lines, from whichever thread; boots are counted, up to `total`."""

    def __init__(self, total: int) -> None:
        self._lock = threading.Lock()
        self._total = total
        self._done = itertools.count(1)

    def __call__(self, text: str) -> None:
        with self._lock:
            print(text, flush=True)

    def boot(self, result: BootResult) -> None:
        """Print the line of one boot and what was wrong with it."""
        lines = [
            f"{result.verdict:<8} {result.scenario}/{result.boot} ({result.suite}, {result.architecture}, "
            f"systemd {result.systemd}, {result.checks} checks, {result.seconds:.1f} s) "
            f"[{next(self._done)}/{self._total}]"
        ]
        lines += [f"         {line}" for line in result.trouble]
        self("\n".join(lines))


def _conclude(results: list[BootResult], options: Options, seconds: float) -> int:
    """Print the table, write the JSON files, and return the exit status."""
    chosen = _combinations(options)
    not_here = {
        (item.name, suite, machine.name): find_obstacle(item, suite, machine) for item, suite, machine in chosen
    }
    found = [result.as_json() for result in results]
    found += [
        {"scenario": name, "suite": suite, "architecture": machine, "verdict": NOT_HERE, "trouble": [because]}
        for (name, suite, machine), because in not_here.items()
        if because
    ]
    text = json.dumps(found, indent=2) + "\n"
    for path in (options.results / "results.json", options.json):
        if path is not None:
            path.write_text(text)
    print()
    print(COLUMNS.format("scenario", "suite", "machine", "systemd", "seconds", "result"))
    passed = True
    for item, suite, machine in chosen:
        place = (item.name, suite, machine.name)
        if not_here[place]:
            print(COLUMNS.format(*place, "", "", f"{NOT_HERE}: {not_here[place]}"))
            continue
        boots = [r for r in results if (r.scenario, r.suite, r.architecture) == place]
        bad = [r.verdict for r in boots if r.verdict != PASSED]
        # A scenario counts only with all of its boots, each of them run and passed.
        good = not bad and len(boots) == len(item.boots)
        passed = passed and good
        systemd = next((r.systemd for r in boots if r.systemd != "?"), "?")
        took = f"{sum(r.seconds for r in boots):.1f}"
        verdict = PASSED if good else bad[0] if bad else NOT_RUN
        print(COLUMNS.format(*place, systemd, took, verdict))
    for line in tallies(results):
        print(line)
    count = sum(result.verdict == PASSED for result in results)
    print(f"\n{len(results)} boots, {count} passed, in {seconds / 60:.1f} minutes with what had to be built")
    print(f"logs, and all of this as JSON: {options.results}")
    return 0 if passed else 1


def _give_up(text: str) -> int:
    print(f"run.py: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
