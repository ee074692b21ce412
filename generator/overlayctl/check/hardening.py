# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check --hardening: what a stranger who has had the disk, or a user of this machine, could make of an overlay.

The lines of fstab and the flags of the overlays, of a tree as well. On a running machine also what is mounted, and
what lies in the upper layers.
"""

import os
from collections.abc import Iterable

from overlay_generator.fstab import find_type, is_set
from overlay_generator.model import FstabEntry, OverlayMount, Plan
from overlayctl import mounts
from overlayctl.check import upper
from overlayctl.check.finding import Finding, make
from overlayctl.errors import Failure
from overlayctl.layers.directory import Directory
from overlayctl.output import printable

# What is wanted, and the option that undoes it: the last of the two counts (mount(8)).
_MUST = {"nosuid": "suid", "nodev": "dev"}
_LABELS = ("LABEL=", "PARTLABEL=", "/dev/disk/by-label/", "/dev/disk/by-partlabel/")
_SYSFS = "/sys/dev/block"
_MOST = 50  # findings of one rule for one overlay; how many more there are is told
_MOUNTED = "/proc/self/mountinfo"


def check(plan: Plan, entries: "tuple[FstabEntry, ...]", running: bool) -> "list[Finding]":
    """All that `plan`, `entries` of fstab and, if it is `running`, this machine leave open."""
    findings: list[Finding] = []
    table = mounts.read() if running else mounts.Table()
    for mount in plan.mounts:
        entry = _find_entry(mount, entries)
        holding = table.holding(mount.backing.path) if table.overlay(mount.where) else None
        if entry:
            findings += _check_entry(entry, mount)
        if holding and holding.fstype != "tmpfs":
            # fstab's line is not all: somebody else may have mounted it, or remounted it since.
            missing = _missing(holding.flags)
            if missing and (entry is None or not _missing_in(entry)):
                findings.append(make("backing-flags", _MOUNTED, where=holding.where, flags=",".join(missing)))
            if _is_removable(holding.device):
                findings.append(make("backing-removable", where=holding.where, what=holding.source))
        overlay = table.overlay(mount.where)
        missing = _missing(overlay.flags if overlay else mount.settings.flags)
        if missing:
            note = ", and see first what its containers need" if mount.settings.passthrough else ""
            flags, value = " and ".join(missing), " ".join(missing)
            findings.append(make("overlay-flags", where=mount.where, flags=flags, value=value, note=note))
        if overlay:
            findings += check_upper(mount.where, mounts.backing_of(overlay))
    return findings


def check_upper(where: str, backing: str) -> "list[Finding]":
    """What lies in the upper layer of the overlay on `where`."""
    if os.geteuid() != 0:
        return [make("upper-unread", where, what="only root may look into it; try it as root")]
    findings: list[Finding] = []
    counts: dict[str, int] = {}
    try:
        top = Directory.open_top(os.fsencode(f"{backing}/upper"))
        lower = Directory.open_top(os.fsencode(f"{backing}/lower"))
        for rule, path, what in upper.find(where, top, lower):
            counts[rule] = counts.get(rule, 0) + 1
            if counts[rule] <= _MOST:
                findings.append(make(rule, printable(path), what=what))
    except (OSError, Failure) as error:
        findings.append(make("upper-unread", where, what=getattr(error, "strerror", None) or str(error)))
    return findings + [
        make("upper-more", where, count=count - _MOST, name=rule) for rule, count in counts.items() if count > _MOST
    ]


def _find_entry(mount: OverlayMount, entries: "tuple[FstabEntry, ...]") -> "FstabEntry | None":
    """The line of fstab that holds its upper layer."""
    at = mount.backing.mount
    return next((entry for entry in entries if entry.where == at and entry.where.startswith("/run/")), None)


def _check_entry(entry: FstabEntry, mount: OverlayMount) -> "list[Finding]":
    findings = []
    if find_type(entry) != "tmpfs":
        missing = _missing_in(entry)
        if missing:
            findings.append(make("backing-flags", entry.source, entry.line, where=entry.where, flags=",".join(missing)))
        if not is_set(entry, "noexec", "exec") and not mount.settings.passthrough:
            findings.append(make("backing-noexec", entry.source, entry.line, where=entry.where))
    if entry.what.startswith(_LABELS):
        findings.append(make("backing-label", entry.source, entry.line, what=entry.what, where=entry.where))
    return findings


def _missing(flags: "Iterable[str]") -> "list[str]":
    return [flag for flag in _MUST if flag not in set(flags)]


def _missing_in(entry: FstabEntry) -> "list[str]":
    return [flag for flag, other in _MUST.items() if not is_set(entry, flag, other)]


def _is_removable(device: str) -> bool:
    """True if the block device `device`, major:minor, or the disk that it is a part of, can be taken out: it says so
    itself (sysfs's removable) or hangs on USB or is a card.
    """
    path = os.path.realpath(f"{_SYSFS}/{device}")
    if "/usb" in path or "/mmc_host/" in path:
        # An eMMC is soldered to its board: its card has the type MMC.
        return "/usb" in path or _read(f"{path.partition('/block/')[0]}/type") == "SD"
    return any(_read(f"{place}/removable") == "1" for place in (path, os.path.dirname(path)))


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.read(64).strip()
    except OSError:
        return ""  # not every device has it
