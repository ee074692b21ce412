# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What status concludes from what it sees: is each directory as it was asked for? Pure."""

from dataclasses import dataclass

from overlay_generator.names import mount_unit, prepare_unit
from overlayctl.status.machine import DirectoryStatus, MachineStatus
from overlayctl.status.space import FULL
from overlayctl.status.volatile import is_memory

AS_ASKED, DEGRADED, NOT_ACTIVE = 0, 1, 2
WORDS = {AS_ASKED: "as asked", DEGRADED: "degraded", NOT_ACTIVE: "not active"}


@dataclass(frozen=True)
class Verdict:
    """`level` is AS_ASKED, DEGRADED or NOT_ACTIVE, also the exit status; `reasons` are sentences."""

    level: int
    reasons: "tuple[str, ...]" = ()


def judge(directory: DirectoryStatus, named: bool = False) -> Verdict:
    """The verdict on one directory; `named`: the operator asked for it by its name, and wants an overlay there."""
    if directory.overlay is None:
        return _judge_inactive(directory, named)
    reasons = []
    if directory.fallen_back:
        lost = "in memory in place of its disk, what is written is lost: "
        prefix = lost if is_memory(directory.backing) else ""
        reasons.append(f"{prefix}{directory.fallen_back}")
    if directory.volatile:
        reasons.append(f"what is written is lost at the next boot: {directory.volatile}")
    if directory.stopped:
        reasons.append(f"{directory.stopped}: see the kernel's messages on that disk (journalctl -k)")
    elif directory.read_only:
        reasons.append("the overlay is read-only: see the kernel's messages on overlayfs (journalctl -k -g overlayfs)")
    if directory.space:
        if directory.space.percent >= FULL:
            reasons.append(f"its upper layer is {directory.space.percent}% full")
        if directory.space.inodes_percent >= FULL:
            reasons.append(f"{directory.space.inodes_percent}% of its inodes are used")
    reasons += [line for line in directory.behind.split("\n") if line]
    if directory.image_current is False:
        reasons.append("the upper layer was last made fit for another image than the one below it; boot again")
    for unit in directory.units:
        if unit.active == "failed":
            reasons.append(f"{unit.name} has failed: see systemctl status {unit.name}")
    return Verdict(DEGRADED if reasons else AS_ASKED, tuple(reasons))


def judge_all(machine: MachineStatus, named: bool = False) -> Verdict:
    """The verdict on the whole machine: its worst directory, and mistakes in what was asked for."""
    verdicts = [judge(directory, named) for directory in machine.directories]
    level = max((verdict.level for verdict in verdicts), default=AS_ASKED)
    return Verdict(max(level, DEGRADED if machine.problems else AS_ASKED), machine.problems)


def _judge_inactive(directory: DirectoryStatus, named: bool) -> Verdict:
    if directory.skipped:
        # A directory that the owner wants left alone is as asked, unless the operator asked about an overlay there. One
        # that nobody can write to is not what the owner wants, except with a mask.
        useless = directory.read_only and " is masked by " not in directory.skipped.reason
        level = NOT_ACTIVE if named or useless or directory.skipped.level == "error" else AS_ASKED
        return Verdict(level, (directory.skipped.reason, *(["it is read-only"] if useless else [])))
    if directory.wanted is None:
        return Verdict(NOT_ACTIVE, ("no overlay is asked for there: see overlayfs.mounts in overlay-generator(8)",))
    reasons = []
    for unit in directory.units:
        if unit.active == "failed":
            reasons.append(f"{unit.name} has failed: see systemctl status {unit.name}")
        elif not unit.condition and unit.name in (mount_unit(directory.where), prepare_unit(directory.where)):
            reasons.append(f"{unit.name} was skipped, as its conditions were not met: see systemctl status {unit.name}")
    if not reasons and directory.covered:
        reasons.append(f"{directory.covered.fstype} {directory.covered.source} is mounted there, and covers it")
    if not reasons:
        reasons.append("nothing is mounted there: it is asked for since the last boot, or its unit was stopped")
    return Verdict(NOT_ACTIVE, tuple(reasons))
