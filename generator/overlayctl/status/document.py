# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The status as JSON: the names that overlayctl(1) promises."""

import json
from dataclasses import asdict
from typing import Any

from overlay_generator import __version__
from overlayctl.status import health
from overlayctl.status.machine import DirectoryStatus, MachineStatus
from overlayctl.status.volatile import MEMORY, is_memory

# The version of packaging/schemas/status.json: it goes up when a name is removed or gets another meaning.
SCHEMA = 1


def spell(machine: MachineStatus, named: bool) -> str:
    """One JSON object and a line break."""
    verdict = health.judge_all(machine, named)
    fields = {
        "schema": SCHEMA,
        "version": __version__,
        "status": verdict.level,
        "directories": [describe(directory, named) for directory in machine.directories],
        "problems": list(machine.problems),
        "notes": list(machine.notes),
        "memory": asdict(machine.memory) if machine.memory else None,
    }
    # ASCII: the bytes of a name that is not UTF-8 are escapes then, and come back in a program that reads it.
    return json.dumps(fields, indent=2) + "\n"


def describe(directory: DirectoryStatus, named: bool = False) -> "dict[str, Any]":
    """The fields of one directory; what is not known or not there is null, "" or []."""
    verdict = health.judge(directory, named)
    wanted, overlay = directory.wanted, directory.overlay
    return {
        "where": directory.where,
        "status": verdict.level,
        "reasons": list(verdict.reasons),
        "wanted": wanted is not None,
        "active": overlay is not None,
        "writable": overlay is not None and not directory.read_only,
        "persistent": is_persistent(directory),
        "left_alone": directory.skipped.reason if directory.skipped else "",
        "fallen_back": directory.fallen_back,
        "behind": directory.behind.split("\n") if directory.behind else [],
        "backing": _describe_backing(directory),
        "policy": wanted.settings.policy if wanted else "",
        "passthrough": [word.text for word in wanted.settings.passthrough] if wanted else [],
        "image": {"noted": directory.image.split("\n") if directory.image else [], "current": directory.image_current},
        "space": _describe_space(directory),
        "hidden": [{"where": m.where, "source": m.source, "fstype": m.fstype} for m in directory.hidden],
        "holders": [asdict(holder) for holder in directory.holders],
        "units": [asdict(unit) for unit in directory.units],
        "staged": _describe_staged(directory),
        "dropped": directory.dropped,
        "rollback": wanted.settings.rollback if wanted else "",
        "commit": wanted.settings.commit if wanted else "",
        "frozen": asdict(directory.frozen) if directory.frozen else None,
        "undone": directory.undone,
        "next_boot": {"same": not directory.differences, "differences": list(directory.differences)},
    }


def is_persistent(directory: DirectoryStatus) -> bool:
    """True if what is written there now is still there after a boot."""
    backing = directory.backing if directory.overlay else None
    return not is_memory(backing) and not directory.volatile


def _describe_backing(directory: DirectoryStatus) -> "dict[str, str] | None":
    if directory.backing is None:
        return None
    device, backing = directory.device, directory.backing
    return {
        "path": directory.backing_path,
        "mount": backing.where,
        "fstype": backing.fstype,
        "source": backing.source,
        "label": device.label if device else "",
        "uuid": device.uuid if device else "",
        "partition": device.partition if device else "",
        "model": device.model if device else "",
        "volatile": directory.volatile,
        "asked_by": directory.wanted.backing.source if directory.wanted else "",
    }


def _describe_space(directory: DirectoryStatus) -> "dict[str, Any] | None":
    space = directory.space
    if space is None:
        return None
    in_memory = bool(directory.backing and directory.backing.fstype in MEMORY)
    return {
        "size": space.size,
        "used": space.used,
        "free": space.free,
        "percent": space.percent,
        "inodes": space.inodes,
        "inodes_used": space.inodes_used,
        "inodes_percent": space.inodes_percent,
        "memory": space.used if in_memory else 0,
    }


def _describe_staged(directory: DirectoryStatus) -> "dict[str, Any] | None":
    staged = directory.staged
    return {"whole": staged.whole, "paths": list(staged.paths), "keep": list(staged.keep)} if staged else None
