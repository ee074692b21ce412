# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a second upper layer fits beside the first, by what was written lately."""

import errno
import os
import posix
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import room
from overlay_prepare.folder import Folder
from overlay_prepare.room import find_lack
from tree import dig, fill

DAY = 86400


class Disk:
    """Files of whole blocks, and as much space as a test says, in blocks of 4096 bytes."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.top, self.monkeypatch = top, monkeypatch

    def write(self, path: str, blocks: int, days: float) -> None:
        at = self.top / "upper" / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(b"x" * 4096 * blocks)
        os.utime(at, (1e9 - days * DAY, 1e9 - days * DAY))

    def lack(self, free: int, size: int = 1000, inodes: int = 1000, used: int = 0) -> str:
        info = os.statvfs_result((4096, 4096, size, free + 5, free, inodes and inodes + used, inodes, inodes, 0, 255))
        self.monkeypatch.setattr("posix.statvfs", lambda _fd: info)
        return find_lack(hold(self.top))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    fill(tmp_path / "b", "upper/")
    return Disk(tmp_path / "b", monkeypatch)


def test_only_the_last_seven_days_before_the_last_write_count(disk: Disk) -> None:
    disk.write("last", 60, 0)
    disk.write("in/six", 30, 7)
    disk.write("in/seven", 300, 7 + 1 / DAY)
    assert disk.lack(140) == ""  # 90 blocks, and a twentieth of 1000 stays free
    assert disk.lack(139) == "what was written in the last seven days has about 0 MiB, and 0 MiB are free"


def test_half_of_the_disk_is_always_enough(disk: Disk) -> None:
    disk.write("file", 90, 0)
    assert disk.lack(50, size=100) == ""
    assert disk.lack(49, size=100) != ""


def test_the_figures_are_in_mebibytes(disk: Disk) -> None:
    disk.write("file", 600, 0)
    assert disk.lack(513, size=4000) == "what was written in the last seven days has about 2 MiB, and 2 MiB are free"


def test_few_inodes_are_too_few_however_much_space_there_is(disk: Disk) -> None:
    assert disk.lack(990, inodes=63) == "63 inodes are left"
    assert disk.lack(990, inodes=64) == ""
    assert disk.lack(990, inodes=0) == "", "a file system that does not count them"


def test_of_many_files_some_stand_for_all(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MOST_LOOKED_AT", 4)
    for number in range(8):
        disk.write(f"{number}", 1, 0)
    # By the inodes in use there are 400 files of one block.
    assert disk.lack(449, used=400) != ""
    assert disk.lack(450, used=400) == ""
    assert disk.lack(54, used=2) == "", "never fewer than were seen"
    assert disk.lack(53, used=2) != ""
    assert disk.lack(54, inodes=0) == ""


def test_1500_files_are_looked_at(disk: Disk) -> None:
    fill(disk.top, *(f"upper/{number}=" for number in range(1500)))
    files, whole = room._look(hold(disk.top))
    assert (len(files), whole) == (1500, True)
    fill(disk.top, "upper/more=")
    files, whole = room._look(hold(disk.top))
    assert (len(files), whole) == (1500, False)


def test_with_all_files_seen_no_guess_is_made(disk: Disk) -> None:
    disk.write("one", 10, 0)
    assert disk.lack(60, used=900) == ""


def test_many_directories_are_not_gone_through(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MOST_LOOKED_AT", 3)
    for number in range(9):
        (disk.top / f"upper/{number}").mkdir()
    seen: list[str] = []

    def is_too_long(path: str) -> bool:
        seen.append(path)
        return False

    monkeypatch.setattr(room, "is_too_long", is_too_long)
    assert room._look(hold(disk.top)) == ([], False)
    assert len(seen) == 4


def test_chains_of_directories_take_no_longer_than_a_few(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can make them: 140,000 directories in chains took longer than any boot may."""
    fill(disk.top, "upper/file=", "upper/b/" + "a/" * 60 + "deep=", "upper/c/" + "a/" * 60 + "deep=")
    opened = 0
    descend = Folder.descend

    def count(folder: Folder, path: str) -> "Folder | None":
        nonlocal opened
        opened += path.count("/") + 1
        return descend(folder, path)

    monkeypatch.setattr(Folder, "descend", count)
    monkeypatch.setattr(room, "_MOST_STEPS", 500)
    files, whole = room._look(hold(disk.top))
    assert (len(files), whole) == (1, False)
    assert opened <= 500
    monkeypatch.setattr(room, "_MOST_STEPS", 5000)
    files, whole = room._look(hold(disk.top))
    assert (len(files), whole) == (3, True)


def test_links_to_directories_are_none_of_its_directories(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MOST_LOOKED_AT", 3)
    fill(disk.top, "outside/file", *(f"upper/{number}>../outside" for number in range(9)))
    assert room._look(hold(disk.top)) == ([], True)


def test_a_file_whose_times_the_c_library_can_not_tell_is_left_out(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 2038, with 32 bits."""
    stat = posix.stat

    def fail(name: str, **options: int) -> os.stat_result:
        if name == "late":
            raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW))
        return stat(name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(posix, "stat", fail)
    disk.write("late", 1, 0)
    disk.write("other", 2, 0)
    files, whole = room._look(hold(disk.top))
    assert ([length for _, length in files], whole) == ([8192], True)


def test_links_and_what_is_too_deep_are_left_out(disk: Disk) -> None:
    disk.write("file", 1, 0)
    fill(disk.top, "upper/link>file", "outside=" + "x" * 90000, "upper/out>../outside")
    os.mkfifo(disk.top / "upper/fifo")
    dig(disk.top / "upper", 60, entry="deep")
    try:
        files, whole = room._look(hold(disk.top))
        assert ([length for _, length in files], whole) == ([4096], True)
    finally:
        os.system(f"rm -rf '{disk.top}/upper'")  # what shutil can't
