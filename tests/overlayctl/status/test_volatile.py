# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk that is memory after all is reported as such: trees of sysfs as data."""

from pathlib import Path

import pytest

from overlayctl.mounts import Mount, Table, parse
from overlayctl.status import volatile

MOUNTINFO = """\
1 0 254:1 / / ro - squashfs /dev/vda1 ro
2 1 0:20 / /run rw - tmpfs run rw
3 1 8:1 / /mnt/data rw - ext4 /dev/sda1 rw
4 1 0:30 / /var rw - overlay overlay rw,lowerdir=/l,upperdir={top}/run/upper,workdir=/w
5 1 0:31 / /srv rw - overlay overlay rw,lowerdir=/l,upperdir={top}/gone/upper,workdir=/w
6 1 0:32 / {top}/run rw - ramfs none rw
7 1 7:8 / /nested rw - ext4 /dev/loop8 rw
"""
# Major and minor of a device, its place in sysfs, files of that and their texts; > is a link.
SYSFS = [
    ("8:1", "pci/block/sda/sda1", {"partition": "1"}),
    ("8:0", "pci/block/sda", {"device/model": "a disk\n"}),
    ("252:0", "virtual/block/zram0", {"disksize": "1"}),
    ("1:3", "virtual/block/ram3", {}),
    ("250:0", "virtual/block/nullb0", {}),
    ("8:16", "pseudo/block/sdb", {"device/model": "scsi_debug      \n"}),
    ("259:1", "pseudo/block/sdb/sdb1", {"partition": "1"}),
    ("7:0", "virtual/block/loop0", {"loop/backing_file": "{top}/run/disk image\n"}),
    ("7:1", "virtual/block/loop1", {"loop/backing_file": "/mnt/data/disk (deleted)\n"}),
    ("7:2", "virtual/block/loop2", {"loop/backing_file": "/gone/disk\n"}),
    ("7:3", "virtual/block/loop3", {}),
    ("7:4", "virtual/block/loop4", {"loop/backing_file": "{top}\n"}),
    ("259:0", "virtual/block/loop0/loop0p1", {"partition": "1"}),
    ("7:8", "virtual/block/loop8", {"loop/backing_file": "{top}/run/disk image\n"}),
    ("253:0", "virtual/block/dm-0", {"slaves/zram0": ">virtual/block/zram0"}),
    ("253:1", "virtual/block/dm-1", {"slaves/dm-0": ">virtual/block/dm-0", "slaves/sda1": ">pci/block/sda/sda1"}),
    ("253:2", "virtual/block/dm-2", {"slaves/sda1": ">pci/block/sda/sda1"}),
    ("253:3", "virtual/block/dm-3", {"slaves/dm-3": ">virtual/block/dm-3"}),
    (
        "9:0",
        "virtual/block/md0",
        {"md/level": "raid1\n", "slaves/ram3": ">virtual/block/ram3", "slaves/sda1": ">pci/block/sda/sda1"},
    ),
    (
        "9:1",
        "virtual/block/md1",
        {"md/level": "raid0\n", "slaves/ram3": ">virtual/block/ram3", "slaves/sda1": ">pci/block/sda/sda1"},
    ),
    ("9:2", "virtual/block/md2", {"md/level": "raid1\n", "slaves/ram3": ">virtual/block/ram3"}),
]


@pytest.fixture
def machine(tmp_path: Path) -> "tuple[Table, Path]":
    """Its mounts, and its sysfs."""
    sysfs = tmp_path / "sys"
    for number, place, files in SYSFS:
        folder = sysfs / "devices" / place
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            if text.startswith(">"):
                (folder / name).symlink_to(sysfs / "devices" / text[1:])
            else:
                (folder / name).write_text(text.format(top=tmp_path))
        (sysfs / "dev/block").mkdir(parents=True, exist_ok=True)
        (sysfs / "dev/block" / number).symlink_to(folder)
    (tmp_path / "run/upper").mkdir(parents=True)
    (tmp_path / "run/disk image").write_text("")
    return parse(MOUNTINFO.format(top=tmp_path)), sysfs


FOUND = [
    ("8:1", ""),
    ("8:0", ""),
    ("252:0", "/dev/zram0 is a disk in memory (zram)"),
    ("1:3", "/dev/ram3 is a disk in memory (brd)"),
    ("250:0", "/dev/nullb0 is a disk in memory (null_blk)"),
    ("259:1", "/dev/sdb is a disk in memory (scsi_debug)"),
    ("7:0", "/dev/loop0 is the file {top}/run/disk image, which is in memory (ramfs at {top}/run)"),
    ("259:0", "/dev/loop0 is the file {top}/run/disk image, which is in memory (ramfs at {top}/run)"),
    ("7:1", "/dev/loop1 is the file /mnt/data/disk, which was deleted"),
    ("7:3", ""),
    ("253:0", "/dev/dm-0 lies on /dev/zram0, which is a disk in memory (zram)"),
    ("253:1", "/dev/dm-1 lies on /dev/dm-0, which lies on /dev/zram0, which is a disk in memory (zram)"),
    ("253:2", ""),
    ("253:3", ""),
    ("9:0", ""),
    ("9:1", "/dev/md1 lies on /dev/ram3, which is a disk in memory (brd)"),
    ("9:2", "/dev/md2 lies on /dev/ram3, which is a disk in memory (brd)"),
    ("200:7", ""),
    ("0:99", ""),
]


def on(device: str, fstype: str = "ext4", source: str = "/dev/x") -> Mount:
    return Mount(9, 1, device, "/run/buildroot/mounts/var", ("rw",), fstype, source, ("rw",))


@pytest.mark.parametrize(("device", "text"), FOUND)
def test_what_a_disk_is(device: str, text: str, machine: "tuple[Table, Path]", tmp_path: Path) -> None:
    table, sysfs = machine
    assert volatile.find(on(device), table, str(sysfs)) == text.format(top=tmp_path)


def test_memory_itself_is_what_the_owner_may_have_asked_for(machine: "tuple[Table, Path]") -> None:
    assert volatile.find(on("0:20", "tmpfs", "tmpfs"), machine[0], str(machine[1])) == ""


def test_a_file_on_an_overlay_lies_where_its_upper_layer_does(machine: "tuple[Table, Path]", tmp_path: Path) -> None:
    table, sysfs = machine
    # A bind of a directory that an overlay in memory has made writable.
    var, srv = table.top("/var"), table.top("/srv")
    assert var
    assert srv
    expected = f"the upper layer of /var is in memory (ramfs at {tmp_path}/run)"
    assert volatile.find(var, table, str(sysfs)) == expected
    with pytest.raises(volatile.Unknown, match="/gone/upper"):
        volatile.find(srv, table, str(sysfs))


def test_a_file_that_is_not_seen_is_not_guessed_at(machine: "tuple[Table, Path]") -> None:
    table, sysfs = machine
    with pytest.raises(volatile.Unknown, match="/gone/disk, the file of /dev/loop2, is not seen from here"):
        volatile.find(on("7:2"), table, str(sysfs))


def test_a_file_on_a_disk_of_files_in_memory(machine: "tuple[Table, Path]", tmp_path: Path) -> None:
    table, sysfs = machine
    (sysfs / "devices/virtual/block/loop4/loop/backing_file").write_text("/nested\n")
    nested = table.top("/nested")
    assert nested
    inner = f"/dev/loop8 is the file {tmp_path}/run/disk image, which is in memory (ramfs at {tmp_path}/run)"
    assert volatile.find(nested, table, str(sysfs)) == inner


def test_btrfs_is_found_by_its_source(machine: "tuple[Table, Path]", monkeypatch: pytest.MonkeyPatch) -> None:
    """Its device number is not that of a disk (btrfs_get_dev_args and get_anon_bdev() in the kernel)."""
    table, sysfs = machine
    (sysfs / "dev/block/1:3").rename(sysfs / "dev/block/7:77")
    monkeypatch.setattr(volatile, "_find_number", lambda source: "7:77" if source == "/dev/ram3" else "")
    assert volatile.find(on("0:44", "btrfs", "/dev/ram3"), table, str(sysfs)).startswith("/dev/ram3 is")
    assert volatile.find(on("0:44", "btrfs", "/dev/sda1"), table, str(sysfs)) == ""
