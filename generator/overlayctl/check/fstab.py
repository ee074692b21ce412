# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lines of fstab that hold upper layers, and those around the overlays. Pure."""

import re

from overlay_generator.endless import find_endless
from overlay_generator.fstab import (
    can_be_upper,
    find_type,
    find_values,
    formats_nothing,
    has_option,
    is_automount,
    is_bind,
    is_device,
    is_network,
    is_required,
)
from overlay_generator.model import FstabEntry
from overlay_generator.names import BACKING_ROOT, ancestors, backing_path
from overlay_prepare.bootcheck import MEMORY_DISKS
from overlayctl.check.finding import Finding, make

_ABOVE_BACKING = ("/run/buildroot", BACKING_ROOT)
_TIME = re.compile(r"(\d+(?:\.\d*)?) *([a-z]*)")
_SECONDS = {"": 1, "s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60}
# Seconds from the start of systemd, before udevd runs. A device that is unlocked or assembled comes later.
_ENOUGH, _ENOUGH_UNLOCKED = 30, 90
# overlayctl status recognises them by more than their names.
_IN_MEMORY = re.compile(rf"/dev/(?:{'|'.join(MEMORY_DISKS)})\d+")
_NO_DEVICE = re.compile(r"ubi\d*[:_!]")


def check(entries: "tuple[FstabEntry, ...]", wheres: "tuple[str, ...]") -> "list[Finding]":
    """What is wrong with `entries` where the directories `wheres` are overlaid."""
    findings: list[Finding] = []
    holding = {path: where for where in wheres for path in (backing_path(where), *_ABOVE_BACKING)}
    first: dict[str, FstabEntry] = {}
    for entry in entries:
        if entry.where in first and first[entry.where].source == entry.source:
            line = first[entry.where].line
            findings.append(make("mounted-twice", entry.source, entry.line, where=entry.where, first=line))
            continue
        first.setdefault(entry.where, entry)
        if formats_nothing(entry):
            findings.append(make("makefs-ignored", entry.source, entry.line, where=entry.where, what=entry.what))
        if entry.fault:
            continue  # the plan reports it
        if entry.where in holding:
            findings += _check_upper(entry, holding[entry.where])
            findings += _check_limit(entries, entry.where, holding[entry.where])
        elif _looks_like_backing(entry.where):
            findings.append(_make_unused(entry, wheres))
        else:
            findings += _check_nested(entry, wheres)
    return findings


def _check_upper(entry: FstabEntry, overlaid: str) -> "list[Finding]":
    # The plan reports an unfit type.
    rules = []
    if has_option(entry, "ro"):
        rules.append("upper-read-only")
    if is_network(entry):
        rules.append("upper-network")
    if is_automount(entry):
        rules.append("upper-automount")
    if find_values(entry, "context"):
        rules.append("upper-context")
    if not find_type(entry) and not is_bind(entry):
        rules.append("upper-type-unknown")
    given = find_values(entry, "x-systemd.device-timeout")
    unlocked = entry.what.startswith("/dev/mapper/")
    if not is_required(entry) and is_device(entry.what) and not given and not unlocked:
        rules.append("no-timeout")
    if _IN_MEMORY.fullmatch(entry.what):
        rules.append("upper-in-memory")
    words = {"where": entry.where, "overlaid": overlaid, "what": entry.what}
    findings = [make(rule, entry.source, entry.line, **words) for rule in rules]
    if given and _NO_DEVICE.match(entry.what):
        findings.append(make("timeout-ignored", entry.source, entry.line, where=entry.where, what=entry.what))
    enough = _ENOUGH_UNLOCKED if unlocked else _ENOUGH
    if given and is_device(entry.what) and (_seconds(given[-1]) or enough) < enough:
        until = " until it is unlocked" if unlocked else ""
        words = {"where": entry.where, "given": given[-1], "better": f"{enough}s", "until": until}
        findings.append(make("timeout-short", entry.source, entry.line, **words))
    return findings


def _check_limit(entries: "tuple[FstabEntry, ...]", mount: str, overlaid: str) -> "list[Finding]":
    entry = find_endless(entries, mount)
    if not entry:
        return []
    given = find_values(entry, "x-systemd.device-timeout")[-1]
    return [make("timeout-endless", entry.source, entry.line, where=entry.where, overlaid=overlaid, given=given)]


def _seconds(text: str) -> float:
    """The seconds of a time span (systemd.time(7)) in whole units; 0, which means no limit, for any other."""
    parts = _TIME.findall(text)
    if not re.fullmatch(rf"(?:{_TIME.pattern} *)+", text) or any(unit not in _SECONDS for _, unit in parts):
        return 0
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _check_nested(entry: FstabEntry, wheres: "tuple[str, ...]") -> "list[Finding]":
    nearest = next((above for above in ancestors(entry.where) if above in wheres), "")
    if not nearest:
        return []
    return [make("nested-mount", entry.source, entry.line, where=entry.where, overlaid=nearest)]


def _make_unused(entry: FstabEntry, wheres: "tuple[str, ...]") -> Finding:
    expected = ", ".join(backing_path(where) for where in wheres)
    overlaid = ", ".join(wheres)
    return make("upper-unused", entry.source, entry.line, where=entry.where, overlaid=overlaid, expected=expected)


def _looks_like_backing(where: str) -> bool:
    return where.startswith(("/run/", "/var/run/")) and "buildroot" in where


def upper_types(entries: "tuple[FstabEntry, ...]", wheres: "tuple[str, ...]") -> "dict[str, FstabEntry]":
    """The known types of file systems that hold upper layers, with the first entry of each."""
    holding = {path for where in wheres for path in (backing_path(where), *_ABOVE_BACKING)}
    types: dict[str, FstabEntry] = {}
    for entry in entries:
        if entry.where in holding and find_type(entry) and can_be_upper(find_type(entry)):
            types.setdefault(find_type(entry), entry)
    return types
