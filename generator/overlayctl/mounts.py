# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is mounted, by proc_pid_mountinfo(5): which overlay is ours, and what a mount covers. Pure except for read()."""

import os
from dataclasses import dataclass, field

from overlay_generator.fstab import unescape
from overlay_generator.look import STOPPED
from overlay_generator.names import VOLATILE_ROOT, backing_path, is_below

_SELF = "/proc/self/mountinfo"


@dataclass(frozen=True)
class Mount:
    """One mount. `device` is major:minor, `flags` are the mount's, `options` the superblock's; `root` is the directory
    of the file system that is mounted.
    """

    number: int
    parent: int
    device: str
    where: str
    flags: "tuple[str, ...]"
    fstype: str
    source: str
    options: "tuple[str, ...]"
    root: str = "/"

    def find_inside(self, path: str) -> str:
        """Where in the file system the absolute `path` is, which this mount holds."""
        # normpath() keeps two slashes at the start.
        return "/" + os.path.normpath(f"{self.root}/{path[len(self.where.rstrip('/')) :]}").lstrip("/")

    @property
    def read_only(self) -> bool:
        """True if nothing can be written through this mount."""
        return "ro" in self.flags or self.stopped

    @property
    def stopped(self) -> bool:
        """True if the file system takes no writes at all, also from an overlay that has its upper layer there."""
        return not STOPPED.isdisjoint(self.options)

    def find_option(self, name: str) -> str:
        """The value of the option `name`, "" if it has none."""
        return next((o.partition("=")[2] for o in self.options if o.partition("=")[0] == name), "")


@dataclass(frozen=True)
class Table:
    """All mounts of a mount namespace, in the order of the kernel: a later one at a place covers the earlier."""

    mounts: "tuple[Mount, ...]" = field(default=())

    def top(self, where: str) -> "Mount | None":
        """The mount that is seen at `where`, None if nothing is mounted there."""
        found = self.holding(where)
        return found if found and found.where == where else None

    def holding(self, path: str) -> "Mount | None":
        """The mount that the normalised absolute `path` leads to: one that is covered by others is not reached."""
        numbers = {mount.number for mount in self.mounts}
        current: Mount | None = None
        inside = [m for m in self.mounts if m.where == path or is_below(path, m.where)]
        while True:
            # The root's parent is in another mount namespace.
            on = [m for m in inside if (m.parent == current.number if current else m.parent not in numbers)]
            if not on:
                return current
            # The first that is met on the way down, and the last that was mounted there.
            current = min(reversed(on), key=lambda mount: len(mount.where))
            # Each only once: mounts whose parents form a circle would never end.
            inside = [mount for mount in inside if mount is not current]

    def overlay(self, where: str) -> "Mount | None":
        """The overlay of ours at `where`; None if there is none, or something else is mounted on top of it."""
        mount = self.top(where)
        return mount if mount and backing_of(mount) in _backings(where) else None

    def overlays(self) -> "list[str]":
        """The directories with an overlay of ours, sorted."""
        return sorted({m.where for m in self.mounts if self.overlay(m.where) is m})

    def hidden_by(self, top: Mount) -> "list[Mount]":
        """The mounts at or below the place of `top` that it covers."""
        parents = {mount.number: mount.parent for mount in self.mounts}

        def stands_on(number: int) -> bool:
            seen = set()
            while number in parents and number not in seen:
                if number == top.number:
                    return True
                seen.add(number)
                number = parents[number]
            return False

        inside = (m for m in self.mounts if m.where == top.where or is_below(m.where, top.where))
        return [mount for mount in inside if not stands_on(mount.number)]


def parse(text: str) -> Table:
    """The mounts in `text`, lines that make no sense left out."""
    mounts = []
    for line in text.split("\n"):
        head, separator, tail = line.partition(" - ")
        fields, rest = head.split(" "), tail.split(" ")
        if not separator or len(fields) < 6 or len(rest) < 3 or not (fields[0].isdecimal() and fields[1].isdecimal()):
            continue
        flags, options = tuple(fields[5].split(",")), tuple(rest[2].split(","))
        where, source = unescape(fields[4]), unescape(rest[1])
        ids, root = (int(fields[0]), int(fields[1]), fields[2]), unescape(fields[3])
        mounts.append(Mount(*ids, where, flags, rest[0], source, options, root))
    return Table(tuple(mounts))


def read(path: str = _SELF) -> Table:
    """The mounts that this process sees. Raises OSError."""
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        return parse(stream.read())


def backing_of(mount: Mount) -> str:
    """The backing directory of an overlay, which its upper layer is in; "" if `mount` is not ours."""
    upper = mount.find_option("upperdir") if mount.fstype == "overlay" else ""
    backing, _, name = upper.rpartition("/")
    return backing if name == "upper" else ""


def _backings(where: str) -> "tuple[str, str]":
    return backing_path(where), backing_path(where, VOLATILE_ROOT)
