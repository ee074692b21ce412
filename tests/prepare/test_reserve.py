# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Inodes that are set aside for mounting the overlay itself, on a disk that says how many are free."""

import os
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import reserve
from overlay_prepare.report import Unusable
from overlay_prepare.reserve import is_low, keep_room
from tree import fill


class Disk:
    """`free` inodes of 1000; each of `worth` gives some when it goes. 0 of `inodes`: it does not count them."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.top, self.free, self.inodes, self.bytes = top, 0, 1000, 1 << 30
        self.worth: dict[str, int] = {}
        monkeypatch.setattr("posix.statvfs", lambda _fd: self.stat())

    def stat(self) -> os.statvfs_result:
        free = self.free + sum(worth for name, worth in self.worth.items() if not (self.top / name).exists())
        blocks = self.bytes // 4096
        return os.statvfs_result((4096, 4096, 1 << 20, blocks + 100, blocks, self.inodes, free, free, 0, 255))

    def keep(self) -> "list[str]":
        keep_room(hold(self.top))
        return sorted(os.listdir(self.top))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(fill(tmp_path / "backing", "upper/mine"), monkeypatch)


def test_some_are_set_aside_once(disk: Disk) -> None:
    disk.free = 32
    assert disk.keep() == ["spare", "upper"]
    assert sorted(os.listdir(disk.top / "spare")) == ["0", "1", "2", "3"]
    before = (disk.top / "spare/0").stat().st_ctime_ns
    assert disk.keep() == ["spare", "upper"]
    assert (disk.top / "spare/0").stat().st_ctime_ns == before


def test_where_they_would_be_missed_none_are(disk: Disk) -> None:
    disk.free = 31
    assert disk.keep() == ["upper"]


def test_a_file_system_that_does_not_count_them_needs_none(disk: Disk) -> None:
    disk.inodes = 0
    assert disk.keep() == ["upper"]
    assert not is_low(hold(disk.top))


@pytest.mark.parametrize(("free", "left"), [
    (0, ["upper"]), (2, ["names", "upper"]), (3, ["dropped", "names", "upper"]),
    (4, ["contents", "contents.new", "dropped", "dropped.old", "names", "spare", "trash", "upper"]),
])  # fmt: skip
def test_what_can_be_made_again_goes_until_there_are_enough(free: int, left: "list[str]", disk: Disk) -> None:
    fill(disk.top, "spare/", "trash/0/", "contents.new", "dropped.old", "contents", "dropped", "names")
    disk.free = free
    disk.worth = {"contents": 1, "dropped": 1, "names": 2}
    assert disk.keep() == left


def test_the_first_that_is_enough_is_all_that_goes(disk: Disk) -> None:
    fill(disk.top, "spare/0", "trash/0/", "names")
    disk.free, disk.worth = 1, {"spare": 3}
    assert disk.keep() == ["names", "trash", "upper"]


def test_one_less_does_and_two_less_do_not(disk: Disk) -> None:
    disk.free = 3
    assert disk.keep() == ["upper"]
    disk.free = 2
    with pytest.raises(Unusable, match=r"no inode is left on it; remove files from .*/upper$"):
        disk.keep()


@pytest.mark.parametrize(("free", "size", "low"), [
    (16, 1 << 18, False), (15, 1 << 18, True), (16, (1 << 18) - 4096, True), (0, 0, True),
])  # fmt: skip
def test_when_next_to_nothing_fits(free: int, size: int, low: bool, disk: Disk) -> None:
    disk.free, disk.bytes = free, size
    assert is_low(hold(disk.top)) is low


def test_the_constants_are_what_the_kernel_needs() -> None:
    """Three besides those of its layers, and one for what prepare itself writes meanwhile (Linux 6.18)."""
    assert reserve._NEEDED == 4
