# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who owns what in two images: a classic mistake in A/B updates is a user with another number in the next one."""

import os
import stat
from typing import Any, NamedTuple

from overlay_generator.fstab import unescape
from overlay_generator.gather import read_configuration
from overlay_generator.inside import find
from overlay_generator.model import Settings
from overlayctl import mounts
from overlayctl.layers.acl import USER, list_named
from overlayctl.preview.finding import OWNER, Finding
from overlayctl.preview.images import Entry
from overlayctl.preview.place import Place

_USERS, _GROUPS = "passwd", "group"
# The second: images whose /etc starts empty (nss-altfiles).
_ETC = "/etc"
_DIRECTORIES = (_ETC, "/usr/lib")
_MOST = 16 << 20  # bytes


class Names(NamedTuple):
    """Names of users and groups by their numbers."""

    users: "dict[int, str]"
    groups: "dict[int, str]"


def read_owners(new: str, old: "str | None", place: Place) -> "Owners":
    """What to look for, with the roots of the images at `new` and `old` (None: this machine's, or not known)."""
    if old is None and not place.live:
        return Owners(Names({}, {}), Names({}, {}))
    instead = _find_kept(new) if place.live else {}
    return Owners(_read_names(old or "", {}), _read_names(new, instead))


def _read_names(root: str, instead: "dict[str, bytes]") -> Names:
    """The names in the image at `root`; `instead` are files that take the place of its own in /etc, by name."""
    users, groups = (_read(root, name, instead) for name in (_USERS, _GROUPS))
    return Names(users, groups)


class _Count:
    def __init__(self, path: bytes, info: os.stat_result) -> None:
        self.path = path
        self.info = info
        self.count = self.size = 0


class Owners:
    """Counts the entries whose owner means somebody else from the new image on."""

    def __init__(self, old: Names, new: Names) -> None:
        self.users = _find_moved(old.users, new.users)
        self.groups = _find_moved(old.groups, new.groups)
        self._found: dict[tuple[str, int], _Count] = {}

    @property
    def wanted(self) -> bool:
        """True if any number means somebody else."""
        return bool(self.users or self.groups)

    def see(self, path: bytes, entry: Entry) -> None:
        """Look at one entry that stays: its owner, and whom its ACLs name. Raises OSError."""
        info = entry[1]
        users, groups = {info.st_uid}, {info.st_gid}
        for tag, number in list_named(entry[0]):
            (users if tag == USER else groups).add(number)
        for number in users & self.users.keys():
            self._count("user", number, path, info)
        for number in groups & self.groups.keys():
            self._count("group", number, path, info)

    def find(self) -> "list[Finding]":
        """A finding for each such number, with the first path."""
        found = []
        for (word, number), first in self._found.items():
            before, after = (self.users if word == "user" else self.groups)[number]
            now = after or "nobody"
            text = f"{word} {number} is {before} here, and {now} in the new image"
            found.append(Finding(OWNER, first.path, first.info, None, None, first.size, (word,), text, first.count))
        return found

    def take(self) -> "list[tuple[object, ...]]":
        """What was counted, as values for add() of another process; it is forgotten here."""
        found = self._found
        self._found = {}
        # As stat_result itself wants to be made again, with all of its fields.
        return [(*key, one.path, one.info.__reduce__()[1], one.count, one.size) for key, one in found.items()]

    def add(self, taken: "list[Any]") -> None:
        """Count what was taken elsewhere, later in the walk."""
        for word, number, path, info, count, size in taken:
            first = self._found.setdefault((word, number), _Count(path, os.stat_result(*info)))
            first.count += count
            first.size += size

    def _count(self, word: str, number: int, path: bytes, info: os.stat_result) -> None:
        first = self._found.setdefault((word, number), _Count(path, info))
        first.count += 1
        first.size += info.st_size


def _find_kept(root: str) -> "dict[str, bytes]":
    """What hides the new image's files in /etc where that is an overlay of this machine, by name."""
    found: dict[str, bytes] = {}
    mount = mounts.read().overlay(_ETC)
    settings = read_configuration(root)[0].get(_ETC, Settings())
    if mount is None or settings.policy in ("prune", "reset"):
        return found
    layers = [mount.find_option(name) for name in ("upperdir", "lowerdir")]
    for name in (_USERS, _GROUPS):
        own, image = (_read_file(f"{unescape(layer)}/{name}") for layer in layers)
        # A file that is the same as in the previous image follows the new one.
        if own is not None and not (settings.policy == "refresh" and own == image):
            found[name] = own
    return found


def _read_file(path: str) -> "bytes | None":
    """The content of a regular file, its first 16 MiB; None where there is none."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:
            return stream.read(_MOST)
    except OSError:
        return None


def _find_moved(old: "dict[int, str]", new: "dict[int, str]") -> "dict[int, tuple[str, str]]":
    """The numbers that had a name which the new image gives to another number, or that it gives to another name."""
    names = set(new.values())
    return {
        number: (name, new.get(number, ""))
        for number, name in old.items()
        if (number in new and new[number] != name) or (number not in new and name in names)
    }


def _read(root: str, name: str, instead: "dict[str, bytes]") -> "dict[int, str]":
    found: dict[int, str] = {}
    for directory in _DIRECTORIES:
        if directory == _ETC and name in instead:
            data: bytes | None = instead[name]
        else:
            try:
                data = _read_file(find(root, f"{directory}/{name}") if root else f"{directory}/{name}")
            except OSError:
                data = None  # an image of a single program has none
        for line in (data or b"").decode("utf-8", "replace").split("\n"):
            fields = line.split(":")
            if len(fields) > 2 and fields[2].isascii() and fields[2].isdigit() and fields[0]:
                found.setdefault(int(fields[2]), fields[0])
    return found
