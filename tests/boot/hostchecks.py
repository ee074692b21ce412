# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks made on the host once a machine is off: its shutdown log and its disks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from protocol import Outcome, Report
from steps import StepFailed, output_of

# What umount(8), PID 1 and systemd-shutdown say when something does not stop or come off.
TROUBLE = re.compile(r"\bFailed\b|target is busy|[Tt]imed out|not clean|Unable to finalize|still mounted")
# Seen, and not about file systems: udevd of systemd 262 hands its open files to a PID 1 that no longer listens; the
# processors of an emulated machine wait for each other on a busy host.
NOT_ABOUT_US = re.compile(r"systemd-udevd\[\d+\]: Failed to push event serialization fd|\] clocksource: Watchdog ")
# systemd-shutdown takes down what the units left behind; ours must leave nothing.
LEFT_BEHIND = re.compile(r"(?:systemd-shutdown|\(sd-\w+\))\[\d+\]: .*mount.*'(?:/var|/run/buildroot)")
# The part of TROUBLE that is about file systems: with a full disk or a read-only /var others complain too.
NOT_UNMOUNTED = re.compile(r"Failed (?:to )?unmount|target is busy|Unable to finalize|still mounted")
LET_GO = re.compile(r"EXT4-fs \([\w-]+\): unmounting filesystem|XFS \([\w-]+\): Unmounting Filesystem")
SHOWN = 3


def shutdown_clean(report: Report, _disks: Mapping[str, Path], _argument: str) -> str:
    """Return what was wrong with the shutdown, nothing when it was clean."""
    return _shutdown(report, TROUBLE)


def unmounted(report: Report, _disks: Mapping[str, Path], _argument: str) -> str:
    """Return what could not be unmounted at the shutdown, nothing when all was."""
    return _shutdown(report, NOT_UNMOUNTED)


def _shutdown(report: Report, trouble: re.Pattern[str]) -> str:
    log = report.attachments.get("shutdown.log", "").splitlines()
    if not report.shutdown_done or len(log) < SHOWN:
        return "no log of the shutdown arrived"
    log = [line for line in log if not NOT_ABOUT_US.search(line)]
    bad = [line for line in log if trouble.search(line) or LEFT_BEHIND.search(line)]
    mounts = report.attachments.get("shutdown-mountinfo", "")
    points = [line.split()[4] for line in mounts.splitlines() if len(line.split()) > 4]
    ours = [point for point in points if point.startswith(("/var", "/run/buildroot"))]
    bad += [f"still mounted at the end: {point}" for point in ours]
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    return "; ".join(bad[:SHOWN]) + more


def ext4_clean(_report: Report, disks: Mapping[str, Path], argument: str) -> str:
    """Return what is wrong with the ext4 file system of a disk, nothing when it was unmounted properly."""
    try:
        header = output_of("read the superblock", ["dumpe2fs", "-h", disks[argument]])
        # 4 is "errors left uncorrected", which the output explains.
        check = output_of("check the file system", ["e2fsck", "-fn", disks[argument]], accept=(0, 4, 8, 12))
    except StepFailed as error:
        return str(error)
    fields = dict(line.split(":", 1) for line in header.splitlines() if ":" in line)
    bad = []
    if fields.get("Filesystem state", "").strip() != "clean":
        bad.append(f"state is '{fields.get('Filesystem state', '').strip()}'")
    if "needs_recovery" in fields.get("Filesystem features", ""):
        bad.append("the journal needs recovery")
    if int(fields.get("Mount count", "0")) < 1:
        bad.append("it was never mounted")
    if "WARNING" in check or "error" in check.lower():
        bad.append("e2fsck: " + " / ".join(check.splitlines()))
    return "; ".join(bad)


def released_in_time(report: Report, _disks: Mapping[str, Path], argument: str) -> str:
    """Return what shows that a file system outlived the units, nothing when the kernel let go of it in time.

    A process in another mount namespace can hold a file system that PID 1 has unmounted without an error.
    Kernels before 6.1 do not say when they let go, so nothing is judged there.
    """
    kernel = [int(number) for number in re.findall(r"\d+", report.info.get("kernel", "0"))[:2]]
    if kernel < [6, 1]:
        return ""
    lines = report.attachments.get("shutdown.log", "").splitlines()
    killing = next((n for n, line in enumerate(lines) if "Sending SIGTERM to remaining" in line), None)
    if killing is None:
        return "the log does not say when the remaining processes were ended"
    let_go = [n for n, line in enumerate(lines) if LET_GO.search(line)]
    if not let_go:
        return f"the kernel never said that it let go of {argument}"
    if let_go[-1] > killing:
        return f"only after the remaining processes were ended: {lines[let_go[-1]]}"
    return ""


HostCheck = Callable[[Report, Mapping[str, Path], str], str]
HOST_CHECKS: dict[str, HostCheck] = {
    "shutdown-clean": shutdown_clean,
    "unmounted": unmounted,
    "ext4-clean": ext4_clean,
    "released-in-time": released_in_time,
}


def run_host_check(name: str, report: Report, disks: Mapping[str, Path]) -> Outcome:
    """Return the outcome of one check, given as NAME or NAME:DISK."""
    kind, _, argument = name.partition(":")
    detail = HOST_CHECKS[kind](report, disks, argument)
    return Outcome(name, not detail, detail)
