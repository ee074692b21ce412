# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a scenario is: a root image or several, disks, and the boots in their order, all of it as values."""

from __future__ import annotations

from dataclasses import dataclass

FILESYSTEMS = ("ext4", "xfs", "btrfs", "f2fs", "vfat", "none")
ROOTS = ("squashfs", "erofs", "ext4")
BASES = ("small", "full", "early", "tiny", "selinux", "podman", "apparmor", "rauc")
# How a boot has to come out: all of it up, in the rescue or emergency shell, or cut off by the host.
EXPECTED = ("multi-user", "rescue", "emergency", "cut")
# From where the seconds to a cut count: the first word on what is on the disk, or the start of the prepare service.
CUT_AT = ("writes", "prepare")
FIRST_IMAGE = "a"


@dataclass(frozen=True)
class Disk:
    """A disk made before the first boot of its scenario and kept until the last.

    filesystem_size is that of the disk where empty; partlabel makes it the only partition of a GPT; overwrite is
    offset and length of what is spoilt afterwards. bundle names the image that it has an update to, see bundle.py.
    """

    name: str
    size: str
    filesystem: str
    label: str
    filesystem_size: str = ""
    partlabel: str = ""
    overwrite: tuple[int, int] | None = None
    read_only: bool = False
    bundle: str = ""


@dataclass(frozen=True)
class File:
    """Something put into an image or taken out of it; kind is text, link, directory, removed or random.

    The value of random is a size: a directory with so much in files that cannot be compressed.
    """

    path: str
    kind: str
    value: str = ""
    mode: int = 0o644


@dataclass(frozen=True)
class Image:
    """A root file system: its type, its fstab and what is different from the usual image.

    uuid is that of the file system, random where empty; squashfs has none. static: no Python, and rendered units in
    place of the generator. whole: with the units of a usual Debian that no scenario is about. policy: with the module
    of packaging/selinux in SELinux's policy.
    """

    fstab: str
    root: str = "squashfs"
    files: tuple[File, ...] = ()
    uuid: str = ""
    static: bool = False
    whole: bool = False
    policy: bool = False


@dataclass(frozen=True)
class Check:
    """A check as NAME or NAME:ARGUMENT; wanted ok, or with must_fail wanted not ok."""

    name: str
    must_fail: bool = False


@dataclass(frozen=True)
class Cut:
    """When the power goes: so many seconds, at least and at most, after one of CUT_AT."""

    at: str
    least: float
    most: float


@dataclass(frozen=True)
class Late:
    """A disk that is plugged in while the machine runs: seconds after its start, or when the machine asks if None."""

    disk: str
    after: float | None = None


@dataclass(frozen=True)
class Boot:
    """One start of the machine: what it is told, what is attached, what is checked inside and afterwards.

    memory is in MiB, 0 for the usual. With several images or cuts the repetitions take them in turn.
    """

    name: str
    cmdline: str
    checks: tuple[Check, ...]
    host_checks: tuple[Check, ...]
    disks: tuple[str, ...]
    images: tuple[str, ...] = (FIRST_IMAGE,)
    memory: int = 0
    expect: str = "multi-user"
    cuts: tuple[Cut, ...] = ()
    late: tuple[Late, ...] = ()
    repeat: int = 1

    @property
    def image(self) -> str:
        """Return the name of the image that is booted."""
        return self.images[0]


@dataclass(frozen=True)
class Scenario:
    """Images by name, disks, and boots in their order; suites is empty if it runs on each, else because says why."""

    name: str
    description: str
    images: dict[str, Image]
    disks: tuple[Disk, ...]
    boots: tuple[Boot, ...]
    base: str = "small"
    suites: tuple[str, ...] = ()
    quick: bool = False
    because: str = ""

    def runs_on(self, suite: str) -> bool:
        """Return whether the scenario is for this suite."""
        return not self.suites or suite in self.suites
