# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Devices that fstab waits for without any limit, for an upper layer that the boot can go on without. Pure.

Without the overlay nothing waits for such a line. With it local-fs.target would, for ever.
"""

from overlay_generator.fstab import find_mounts, find_values, is_device, is_required, read_tag, read_value
from overlay_generator.model import FstabEntry
from overlay_generator.names import ancestors, mangle_unit

# What udev leaves as it is in the name of a link, beside letters and digits (encode_devnode_name(), 247 to 262).
_LITERAL = "#+-.:=@_"


def is_endless(span: str) -> bool:
    """True if systemd takes the time `span` for no limit at all: parse_sec_fix_0(), 247 to 262."""
    return span.strip() == "infinity" or (span.strip()[:1] == "0" and not any(digit in span for digit in "123456789"))


def find_endless(entries: "tuple[FstabEntry, ...]", mount: str) -> "FstabEntry | None":
    """The line with a device and no limit that the line for `mount` needs, which may be that one; None if none is."""
    by_where = find_mounts(entries)
    entry = by_where.get(mount)
    # A required one is waited for with and without the overlay.
    while entry and not is_required(entry):
        what = read_value(entry.what)
        if is_device(what):
            given = find_values(entry, "x-systemd.device-timeout")
            return entry if given and is_endless(given[-1]) else None
        # Each is looked at once, so that a circle of them comes to an end.
        del by_where[entry.where]
        entry = next((by_where[path] for path in (what, *ancestors(what)) if path in by_where), None)
    return None


def name_device(what: str) -> str:
    """The unit of the device `what`, as systemd-fstab-generator names it."""
    what = read_value(what)
    tag, value = read_tag(what)
    if tag:
        what = f"/dev/disk/by-{tag.lower()}/{''.join(map(_encode, value))}"
    return mangle_unit(what, ".device")


def _encode(character: str) -> str:
    if character.isascii() and not (character.isalnum() or character in _LITERAL):
        return f"\\x{ord(character):02x}"
    return character
