# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices that fstab waits for without any limit, for an upper layer that the boot can go on without. Pure.

Without the overlay nothing waits for such a line. With it local-fs.target would, for ever.
"""

from overlay_generator.fstab import find_values, is_device, is_required, read_value
from overlay_generator.model import FstabEntry
from overlay_generator.names import ancestors, escape_path, normalise

_TAGS = ("LABEL=", "UUID=", "PARTLABEL=", "PARTUUID=")
# What udev leaves as it is in the name of a link, beside letters and digits (encode_devnode_name(), 247 to 262).
_LITERAL = "#+-.:=@_"


def is_endless(span: str) -> bool:
    """True if systemd takes the time `span` for no limit at all: parse_sec_fix_0(), 247 to 262."""
    return span.strip() == "infinity" or (span.strip()[:1] == "0" and not any(digit in span for digit in "123456789"))


def find_endless(entries: "tuple[FstabEntry, ...]", mount: str) -> str:
    """The unit of the device without a limit that the line for `mount` needs, also by way of others; "" if none."""
    by_where = {entry.where: entry for entry in reversed(entries)}
    entry = by_where.get(mount)
    # A required one is waited for with and without the overlay.
    while entry and not is_required(entry):
        what = read_value(entry.what)
        if is_device(what):
            given = find_values(entry, "x-systemd.device-timeout")
            return name_device(what) if given and is_endless(given[-1]) else ""
        # Each is looked at once, so that a circle of them comes to an end.
        del by_where[entry.where]
        entry = next((by_where[path] for path in (what, *ancestors(what)) if path in by_where), None)
    return ""


def name_device(what: str) -> str:
    """The unit of the device `what`, as systemd-fstab-generator names it."""
    for tag in _TAGS:
        if what.startswith(tag):
            value = what[len(tag) :]
            if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]:
                value = value[1:-1]
            what = f"/dev/disk/by-{tag[:-1].lower()}/{''.join(map(_encode, value))}"
            break
    return f"{escape_path(normalise(what))}.device"


def _encode(character: str) -> str:
    if character.isascii() and not (character.isalnum() or character in _LITERAL):
        return f"\\x{ord(character):02x}"
    return character
