# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How full the file system of an upper layer is, and what of it is memory (statvfs(3), psutil)."""

import os
from dataclasses import dataclass

FULL = 95  # per cent; from here on a device is reported to be in trouble


@dataclass(frozen=True)
class Space:
    """Bytes and inodes of a file system; `inodes` is 0 where it has no fixed number of them (btrfs)."""

    size: int
    used: int
    free: int
    inodes: int
    inodes_used: int
    read_only: bool

    @property
    def percent(self) -> int:
        """How much of what an ordinary user may take is taken, rounded up as df(1) does."""
        return _percent(self.used, self.used + self.free)

    @property
    def inodes_percent(self) -> int:
        """The same for inodes."""
        return _percent(self.inodes_used, self.inodes)


@dataclass(frozen=True)
class Memory:
    """Of this machine, in bytes."""

    total: int
    available: int


class Missing(Exception):
    """psutil is not there; the text says so."""

    def __init__(self) -> None:
        super().__init__(
            "psutil is missing (Debian: python3-psutil): memory, and processes with old files, are not shown"
        )


def measure(path: str) -> "Space | None":
    """The space of the file system at `path`, None if it can't be looked at."""
    try:
        info = os.statvfs(path)
    except OSError:
        return None
    unit = info.f_frsize or info.f_bsize
    return Space(
        size=info.f_blocks * unit,
        used=(info.f_blocks - info.f_bfree) * unit,
        free=info.f_bavail * unit,
        inodes=info.f_files,
        inodes_used=info.f_files - info.f_ffree,
        read_only=bool(info.f_flag & os.ST_RDONLY),
    )


def measure_memory() -> Memory:
    """The memory of this machine. Raises Missing."""
    try:
        import psutil  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise Missing from error
    memory = psutil.virtual_memory()
    return Memory(memory.total, memory.available)


def _percent(part: int, whole: int) -> int:
    return -(-part * 100 // whole) if whole > 0 else 0


def spell_size(number: int) -> str:
    """`number` of bytes for a person: 3 digits and a binary unit."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 999.5 or unit == "TiB":
            break
        value /= 1024
    return f"{number} B" if unit == "B" else f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"
