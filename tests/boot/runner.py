# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run the boots of one scenario and judge each of them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from architectures import Architecture
from debian import Base
from disks import make_disk
from hostchecks import run_host_check
from machine import MEMORY, Machine, Start, boot, spell_cmdline
from protocol import Outcome, Report, read_report, untold
from values import Boot, Scenario
from watch import Ended

PASSED, FAILED, TIMEOUT, NOT_RUN = "passed", "failed", "timeout", "not run"
# What a machine says with `info kept-...` is passed to the later boots of the scenario as test.kept-...=
KEPT = "kept-"
# Room on the command line for that.
KEPT_ROOM = 80


@dataclass(frozen=True)
class BootResult:
    """What came out of one boot; trouble holds a line for everything that was not as wanted."""

    scenario: str
    boot: str
    suite: str
    verdict: str
    seconds: float = 0.0
    systemd: str = "?"
    kernel: str = "?"
    checks: int = 0
    trouble: tuple[str, ...] = ()
    directory: str = ""
    outcomes: tuple[Outcome, ...] = field(default=(), repr=False)
    info: dict[str, str] = field(default_factory=dict, repr=False)
    cut: bool = False
    architecture: str = ""

    def as_json(self) -> dict[str, object]:
        """Return the fields as plain values."""
        return asdict(self)


def run_scenario(
    scenario: Scenario,
    base: Base,
    images: Mapping[str, Path],
    machine: Machine,
    results: Path,
    tell: Callable[[BootResult], None],
) -> list[BootResult]:
    """Run all boots in order and return their results, one for each; tell is called after each.

    A boot that did not come to its end leaves the later ones not run: they build on its disks.
    Raises StepFailed when a disk cannot be made.
    """
    top = results / base.architecture.name / base.suite / scenario.name
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir(parents=True)
    disks = {disk.name: make_disk(disk, base, top, images) for disk in scenario.disks}
    done: list[BootResult] = []
    kept: dict[str, str] = {}
    for wanted in scenario.boots:
        if any(result.verdict in (TIMEOUT, NOT_RUN) for result in done):
            why = ("an earlier boot did not end",)
            result = BootResult(
                scenario.name, wanted.name, base.suite, NOT_RUN, trouble=why, architecture=base.architecture.name
            )
        else:
            directory = top / wanted.name
            directory.mkdir()
            # In use: other runs throw away the images that nobody has used for longest.
            os.utime(images[wanted.image])
            start = _start(scenario, wanted, base, images[wanted.image], disks, kept)
            ended = boot(machine, start, directory)
            result = _judge(scenario, wanted, base, ended, directory, disks, kept)
        done.append(result)
        tell(result)
    return done


def find_obstacle(scenario: Scenario, suite: str, architecture: Architecture) -> str:
    """Return why a scenario can't be run on a suite or an architecture, nothing where it can."""
    if not scenario.runs_on(suite):
        return scenario.because
    if scenario.base not in architecture.kernels:
        return f"there is no kernel for base = {scenario.base} on {architecture.name}"
    for wanted in scenario.boots:
        root, memory = scenario.images[wanted.image].root, wanted.memory or MEMORY
        length = len(spell_cmdline(architecture, root, memory, _spell_words(wanted))) + KEPT_ROOM * bool(wanted.cuts)
        if length > architecture.longest_cmdline:
            most = architecture.longest_cmdline
            return f"{wanted.name} has a command line of {length}, the kernel of {architecture.name} keeps {most}"
    return ""


def _spell_words(wanted: Boot) -> str:
    return f"{wanted.cmdline} test.checks={','.join(check.name for check in wanted.checks)}".strip()


def _start(
    scenario: Scenario, wanted: Boot, base: Base, image: Path, disks: Mapping[str, Path], kept: Mapping[str, str]
) -> Start:
    read_only = {disk.name: disk.read_only for disk in scenario.disks}
    late = {late.disk: late.after for late in wanted.late}
    words = [_spell_words(wanted), *(f"test.{key}={value}" for key, value in kept.items())]
    return Start(
        base.kernel,
        base.initramfs,
        image,
        " ".join(words),
        scenario.images[wanted.image].root,
        {name: (disks[name], read_only[name]) for name in (*wanted.disks, *late)},
        wanted.memory,
        wanted.cuts[0].at if wanted.cuts else "",
        wanted.cuts[0].least if wanted.cuts else 0.0,
        late,
    )


def _judge(
    scenario: Scenario,
    wanted: Boot,
    base: Base,
    ended: Ended,
    directory: Path,
    disks: Mapping[str, Path],
    kept: dict[str, str],
) -> BootResult:
    """Return the result of a boot; what later boots have to know of it goes to kept."""
    log = directory / "result.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    # A machine whose power is cut does not finish the line.
    report = read_report(text[: text.rfind("\n") + 1] if ended.cut else text)
    kept |= {key: value for key, value in report.info.items() if key.startswith(KEPT)}
    for name, text in report.attachments.items():
        # The machine chooses the names, so nothing but a plain one becomes a path.
        (directory / re.sub(r"[^a-z0-9.-]", "_", name)).write_text(text)
    outcomes = list(report.outcomes)
    outcomes += [run_host_check(check.name, report, disks) for check in wanted.host_checks]
    trouble = _trouble(wanted, report, outcomes, ended)
    verdict = TIMEOUT if ended.timed_out else FAILED if trouble else PASSED
    return BootResult(
        scenario.name,
        wanted.name,
        base.suite,
        verdict,
        round(ended.seconds, 1),
        report.info.get("systemd", "?"),
        report.info.get("kernel", "?"),
        len(outcomes),
        tuple(trouble),
        str(directory),
        tuple(outcomes),
        report.info,
        ended.cut,
        base.architecture.name,
    )


def _trouble(wanted: Boot, report: Report, outcomes: list[Outcome], ended: Ended) -> list[str]:
    """Return a line for everything that keeps a boot from having passed."""
    lines = []
    if ended.timed_out:
        lines.append("the machine had to be stopped")
    if wanted.expect == "cut":
        lines += [] if ended.cut else ["the machine ended before its power was cut"]
    else:
        lines += _ends(wanted, report)
    if ended.status > 0:
        lines.append(f"QEMU exited with status {ended.status}, see qemu.log")
    lines += [f"stray line on the result port: {line}" for line in report.stray]
    # The power may be cut in the middle of a check.
    names = [check.name for check in wanted.checks if wanted.expect != "cut"]
    # Also if the check had to fail: silence is not the failure that was wanted.
    lines += [f"nothing was said of {name}" for name in untold(report, names)]
    must_fail = {check.name for check in (*wanted.checks, *wanted.host_checks) if check.must_fail}
    for outcome in outcomes:
        if outcome.name in must_fail and outcome.ok:
            lines.append(f"ok {outcome.name} - but it had to fail")
        elif outcome.name not in must_fail and not outcome.ok:
            lines.append(f"not ok {outcome.name} - {outcome.detail}")
    return lines


def _ends(wanted: Boot, report: Report) -> list[str]:
    """Return what was wrong with how far a boot came, and with its way out."""
    lines = []
    if wanted.expect in ("rescue", "emergency") and wanted.expect not in report.info:
        lines.append(f"the boot did not end in {wanted.expect} mode")
    if wanted.expect != "emergency" and "emergency" in report.info:
        lines.append("the boot ended in emergency mode")
    elif wanted.expect == "multi-user" and report.info.get("multi-user") != "active":
        lines.append(f"multi-user.target is {report.info.get('multi-user', 'unknown')}")
    if not report.checks_done:
        lines.append("the checks did not come to their end")
    if not report.shutdown_done:
        lines.append("the shutdown did not come to its end")
    return lines
