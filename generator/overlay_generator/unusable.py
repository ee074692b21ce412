# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lines of fstab that systemd has a unit of and can't use: systemd-fstab-generator stops in the middle of the unit, or
PID 1 refuses it when it reads it. Tried with 247, 252, 257 and 262. Pure.

Nothing is mounted there, and as the name of the unit is taken no other generator may use it.
"""

from overlay_generator.fstab import (
    TAGS,
    ends_bare,
    find_values,
    has_option,
    is_automount,
    is_bind,
    is_joined,
    is_network,
    read_tag,
    read_value,
)
from overlay_generator.model import FstabEntry
from overlay_generator.names import mangle_unit, mount_unit, normalise

# Bytes that a name of a file, and so of a unit, may have.
_LONGEST_NAME = 255
# Since this version a device with a dot in its path has a unit, and a name that is too long is shortened (seen in 252,
# not in 247).
_FORGIVING = 249
# Since this version x-systemd.wants= is known (seen in 257, not in 252).
_WANTS = 257


def find_fault(entry: FstabEntry, version: int) -> str:
    """Why systemd `version` can't use `entry`, and what to do about it; "" if it can. 0 is a version not known."""
    if not entry.where:
        return ""
    return _find_option(entry, version) or _find_path(entry, version) or _find_end(entry)


def find_deadly(entry: FstabEntry, version: int) -> str:
    """The option of `entry` that systemd-fstab-generator aborts at: it fails an assertion where a time has no value
    (parse_sec_fix_0() in 247 to 262). "" if there is none, or it stops in an earlier part of the unit.
    """
    if entry.where and (_find_option(entry, version) or _find_dots(entry, version, only_devices=True)):
        return ""
    names = ["x-systemd.device-timeout"]
    if entry.where:
        names += ["x-systemd.mount-timeout", *(["x-systemd.idle-timeout"] if is_automount(entry) else [])]
    return next((name for name in names if name in entry.options and ends_bare(entry, name)), "")


def _find_option(entry: FstabEntry, version: int) -> str:
    """An option that should name a unit, and can't: the unit of the line ends before What= and Where=."""
    for option in ("requires", "after", "before", "wants"):
        if option == "wants" and version < _WANTS:
            continue
        for value in find_values(entry, f"x-systemd.{option}"):
            if not value:
                return f"x-systemd.{option}= has no value; name a unit there, or take it out"
            name = mangle_unit(value, ".mount")
            if len(name.encode("utf-8", "surrogateescape")) > _LONGEST_NAME:
                return f"x-systemd.{option}= is too long for a unit's name; shorten it"
    return ""


def _find_path(entry: FstabEntry, version: int) -> str:
    """What is mounted, where systemd takes no such path."""
    if not read_value(entry.what):
        return "its device starts with the end of a line (an escape); write it without"
    return _find_dots(entry, version) or _find_length(entry, version)


def _find_dots(entry: FstabEntry, version: int, only_devices: bool = False) -> str:
    parts = _split(entry.what)
    # For a device the generator itself needs the name of a unit.
    device = not entry.what.startswith("/") or f"/{entry.what.lstrip('/')}".startswith("/dev/")
    refused = ".." in parts and (device or not (only_devices or _is_remote(entry)))
    if refused or (device and "." in parts and 0 < version < _FORGIVING):
        return f"{entry.what} has . or .. in it; write the path without"
    return ""


def _find_length(entry: FstabEntry, version: int) -> str:
    if not entry.what.startswith("/") or _is_remote(entry):
        return ""
    longest = max(len(part.encode("utf-8", "surrogateescape")) for part in _split(entry.what))
    old = 0 < version < _FORGIVING and len(mount_unit(normalise(entry.what))) > _LONGEST_NAME
    if old or longest > _LONGEST_NAME:
        return f"{entry.what[:40]}... is too long for a unit's name; give it a shorter one"
    return ""


def _split(what: str) -> "list[str]":
    """The names in the path of `what`, or the one that udev makes of a tag; none of anything else."""
    tag, value = read_tag(what)
    if tag:
        return [value]
    return what.split("/") if what.startswith("/") else []


def _is_remote(entry: FstabEntry) -> bool:
    """True if PID 1 asks for no mounts of its path, which is on a server (src/core/mount.c)."""
    return is_network(entry, read_value(entry.fstype)) and not is_bind(entry) and not has_option(entry, "loop")


def _find_end(entry: FstabEntry) -> str:
    """A backslash at the end of a line of the unit, which takes the next line for more of the same."""
    given = {"type": entry.fstype if entry.options not in ("", "defaults") else ""}
    if not entry.what.startswith(TAGS):
        # In the path of a tag it is escaped.
        given["device"] = entry.what
    for name, field in given.items():
        if is_joined(field):
            return f"the {name} ends in a backslash, which takes in what follows; write it without"
    return ""
