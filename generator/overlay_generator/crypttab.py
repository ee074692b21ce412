# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The encrypted volumes of a boot, from crypttab(5) and luks.* on the kernel command line, as systemd reads them: its
src/cryptsetup/cryptsetup-generator.c, 247 to 262. Pure.
"""

from overlay_generator.cmdline import parse_boolean
from overlay_generator.fstab import TAGS, find_values, has_option, is_noauto, is_optional
from overlay_generator.model import FstabEntry, Value

# What follows the colon of FILE:DEVICE begins so; any other colon is part of a file's name.
_DEVICES = ("/", *TAGS)


class Volume(Value):
    """An encrypted volume: `name` is that of the device, `key` and `header` are what has to be there for these: a file,
    or the device that the file is on. `waited`: cryptsetup.target comes after it.
    """

    __slots__ = ("device", "header", "key", "name", "network", "source", "waited")

    def __init__(self, name: str, device: str, key: str, options: str, source: str) -> None:
        asked = FstabEntry(device, "", "", options, source)
        self.name = name
        self.device = device
        self.key = _find_place(key)
        # Of an option that is there twice systemd takes the last one.
        self.header = _find_place("".join(find_values(asked, "header")[-1:]))
        self.network = has_option(asked, "_netdev")
        self.waited = not (self.network or is_optional(asked) or is_noauto(asked))
        self.source = source


class _Asked:
    """What luks.* says on the kernel command line; an UUID of "" stands for all volumes."""

    def __init__(self, words: "tuple[str, ...]") -> None:
        self.off = self.closed = False
        self.names: dict[str, str] = {}  # of those to be made, by their UUIDs
        self.keys: dict[str, str] = {}
        self.options: dict[str, str] = {}
        for word in words:
            key, equals, value = word.partition("=")
            wanted = parse_boolean(value) if equals else True
            if key == "luks" and wanted is not None:
                self.off = not wanted
            elif key == "luks.crypttab" and wanted is not None:
                self.closed = not wanted
            elif key == "luks.uuid" and value:
                uuid = value[5:] if value.startswith("luks-") else value
                self.names.setdefault(uuid, f"luks-{uuid}")
            elif key == "luks.name" and _is_of_one(value):
                uuid, _, self.names[uuid] = value.partition("=")
            elif key in ("luks.key", "luks.options"):
                uuid, _, rest = value.partition("=") if _is_of_one(value) else ("", "", value)
                (self.keys if key == "luks.key" else self.options)[uuid] = rest

    def knows(self, uuid: str) -> bool:
        return any(uuid in known for known in (self.names, self.keys, self.options))


def find_volumes(text: str, words: "tuple[str, ...]" = (), source: str = "") -> "dict[str, Volume]":
    """The volumes of crypttab's `text`, and those that `words` of the kernel command line, `source`, add, by name."""
    asked = _Asked(words)
    volumes: dict[str, Volume] = {}
    if asked.off:
        return volumes
    made = set()
    for number, fields in [] if asked.closed else _split_lines(text):
        name, device, key, options = [*fields, "", ""][:4]
        uuid = _find_uuid(name, device)
        # Where the command line names volumes, it makes no others.
        if asked.names and not asked.knows(uuid):
            continue
        made.add(uuid)
        options = asked.options.get(uuid, options) if uuid else options
        # Of two lines for one name the second is an error for systemd, which keeps the first.
        volumes.setdefault(name, Volume(name, device, key, options, f"/etc/crypttab:{number}"))
    for uuid, name in asked.names.items():
        if uuid not in made:
            key, options = (of.get(uuid, of.get("", "")) for of in (asked.keys, asked.options))
            volumes.setdefault(name, Volume(name, f"UUID={uuid}", key, options, f"{source} (luks.*=)"))
    return volumes


def _split_lines(text: str) -> "list[tuple[int, list[str]]]":
    """The fields of each line that has enough of them, with its number; a carriage return and a NUL end a line, too."""
    lines = []
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\n").split("\n"), 1):
        # sscanf(3) knows these blanks alone, str.split() more.
        fields = [field for field in line.replace("\t", " ").replace("\v", " ").replace("\f", " ").split(" ") if field]
        if len(fields) > 1 and not fields[0].startswith("#"):
            lines.append((number, fields))
    return lines


def _find_place(text: str) -> str:
    """What has to be there for the key or header `text`: of FILE:DEVICE the device."""
    _, colon, device = text.rpartition(":")
    return device if colon and device.startswith(_DEVICES) else text


def _find_uuid(name: str, device: str) -> str:
    for text, start in ((device, "UUID="), (device, "/dev/disk/by-uuid/"), (name, "luks-")):
        if text.startswith(start):
            return text[len(start) :]
    return ""


def _is_of_one(value: str) -> bool:
    """True if `value` begins with the UUID of the volume that it is for."""
    uuid, equals, _ = value.partition("=")
    return bool(equals and uuid) and all(character in "0123456789abcdefABCDEF-" for character in uuid)
