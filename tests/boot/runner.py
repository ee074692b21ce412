"""Run the boots of one scenario and judge each of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from debian import Base
from hostchecks import run_host_check
from machine import Machine, boot
from protocol import Outcome, Report, read_report, untold
from scenario import Boot, Disk, Scenario
from steps import run_step

PASSED, FAILED, TIMEOUT, NOT_RUN = "passed", "failed", "timeout", "not run"


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

    def as_json(self) -> dict[str, object]:
        """Return the fields as plain values."""
        return asdict(self)


def run_scenario(
    scenario: Scenario,
    base: Base,
    image: Path,
    machine: Machine,
    results: Path,
    tell: Callable[[BootResult], None],
) -> list[BootResult]:
    """Run all boots in order and return their results, one for each; tell is called after each.

    A boot that did not come to its end leaves the later ones not run: they build on its disks.
    Raises StepFailed when a disk cannot be made.
    """
    top = results / base.suite / scenario.name
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir(parents=True)
    disks = {disk.name: _make_disk(disk, top) for disk in scenario.disks}
    done: list[BootResult] = []
    for wanted in scenario.boots:
        if any(result.verdict in (TIMEOUT, NOT_RUN) for result in done):
            why = ("an earlier boot did not end",)
            result = BootResult(scenario.name, wanted.name, base.suite, NOT_RUN, trouble=why)
        else:
            result = _run_boot(scenario, wanted, base, image, machine, top / wanted.name, disks)
        done.append(result)
        tell(result)
    return done


def _make_disk(disk: Disk, top: Path) -> Path:
    path = top / f"{disk.name}.img"
    log = top / "disks.log"
    run_step("make a disk", ["truncate", "--size", disk.size, path], log)
    run_step("make a file system", [f"mkfs.{disk.filesystem}", "-q", "-F", "-L", disk.label, path], log)
    return path


def _run_boot(
    scenario: Scenario,
    wanted: Boot,
    base: Base,
    image: Path,
    machine: Machine,
    directory: Path,
    disks: dict[str, Path],
) -> BootResult:
    directory.mkdir()
    attached = {name: disks[name] for name in wanted.disks}
    names = [check.name for check in wanted.checks]
    cmdline = f"{wanted.cmdline} test.checks={','.join(names)}".strip()
    ended = boot(machine, base.kernel, base.initramfs, image, cmdline, attached, directory)
    log = directory / "result.log"
    report = read_report(log.read_text(errors="replace") if log.exists() else "")
    for name, text in report.attachments.items():
        # The machine chooses the names, so nothing but a plain one becomes a path.
        (directory / re.sub(r"[^a-z0-9.-]", "_", name)).write_text(text)
    outcomes = list(report.outcomes)
    outcomes += [run_host_check(check.name, report, attached) for check in wanted.host_checks]
    trouble = _trouble(wanted, report, outcomes, ended.timed_out)
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
    )


def _trouble(wanted: Boot, report: Report, outcomes: list[Outcome], timed_out: bool) -> list[str]:
    """Return a line for everything that keeps a boot from having passed."""
    lines = []
    if timed_out:
        lines.append("the machine had to be stopped")
    if "emergency" in report.info:
        lines.append("the boot ended in emergency mode")
    if not report.checks_done:
        lines.append("the checks did not come to their end")
    if not report.shutdown_done:
        lines.append("the shutdown did not come to its end")
    lines += [f"stray line on the result port: {line}" for line in report.stray]
    names = [check.name for check in wanted.checks]
    # Also where the check had to fail: silence is no failure of the kind that was wanted.
    lines += [f"nothing was said of {name}" for name in untold(report, names)]
    must_fail = {check.name for check in (*wanted.checks, *wanted.host_checks) if check.must_fail}
    for outcome in outcomes:
        if outcome.name in must_fail and outcome.ok:
            lines.append(f"ok {outcome.name} - but it had to fail")
        elif outcome.name not in must_fail and not outcome.ok:
            lines.append(f"not ok {outcome.name} - {outcome.detail}")
    return lines
