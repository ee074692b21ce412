# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""check --hardening on a running machine: mounts, and what lies in the upper layers; trees have cases."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from overlay_generator.model import FstabEntry, Plan, Settings, Word
from overlayctl import mounts
from overlayctl.check import hardening, upper
from overlayctl.check.finding import Finding
from overlayctl.layers.directory import Directory
from plans import disk
from product import REPOSITORY
from tree import dig, fill

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="devices, capabilities and layers need root")
CAPABILITY = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"  # vfs_cap_data, revision 2: cap_net_raw+ep


class Layers:
    """Those of an overlay on /etc."""

    def __init__(self, top: Path) -> None:
        self.backing = top / "backing"
        self.upper, self.lower = self.backing / "upper", self.backing / "lower"
        fill(self.upper)
        fill(self.lower, "bin/sh=image", "bin/su=image", "passwd=root", "app/conf=1", "ssh/sshd_config=a")
        (self.lower / "bin/sh").chmod(0o755)
        (self.lower / "bin/su").chmod(0o4755)

    def copy_up(self, path: str, text: "str | None" = None) -> Path:
        """A file of the image in the upper layer, with `text` in it if that is given."""
        target = self.upper / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.lower / path, target)
        if text is not None:
            target.write_text(text)
        return target

    def find(self) -> "list[tuple[str, str, str]]":
        tops = [Directory.open_top(os.fsencode(path)) for path in (self.upper, self.lower)]
        return list(upper.find("/etc", *tops))

    def check(self) -> "list[Finding]":
        return hardening.check_upper("/etc", str(self.backing))


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


def test_a_usual_upper_layer_has_nothing(layers: Layers) -> None:
    layers.copy_up("app/conf", "2")
    layers.copy_up("bin/su")  # copied up, and as it was
    fill(layers.upper, "app/script=#!/bin/sh", "app/link>/bin/sh", "app/dir/")
    (layers.upper / "app/script").chmod(0o755)
    (layers.upper / "app/dir").chmod(0o2775)
    os.mkfifo(layers.upper / "app/fifo")
    assert layers.find() == []


@root_only
def test_each_kind_is_found(layers: Layers) -> None:
    fill(layers.upper, "suid=x", "sgid=x", "cap=x", "systemd/system/evil.service=x", "gone!", "cron.d/link>/x")
    (layers.upper / "suid").chmod(0o4755)
    (layers.upper / "sgid").chmod(0o2711)
    (layers.upper / "cap").chmod(0o755)
    os.setxattr(layers.upper / "cap", "security.capability", CAPABILITY)
    os.mknod(layers.upper / "null", 0o020666, os.makedev(1, 3))
    os.mknod(layers.upper / "disk", 0o060666, os.makedev(8, 0))
    layers.copy_up("bin/sh", "mine!")
    layers.copy_up("passwd", "root:x")
    assert layers.find() == [
        ("upper-program", "/etc/bin/sh", ""),
        ("upper-capability", "/etc/cap", ""),
        ("upper-started", "/etc/cron.d/link", "cron, and the image has no such file"),
        ("upper-device", "/etc/disk", "block 8:0"),
        ("upper-device", "/etc/null", "character 1:3"),
        ("upper-started", "/etc/passwd", "every login"),
        ("upper-setuid", "/etc/sgid", "setgid"),
        ("upper-setuid", "/etc/suid", "setuid"),
        ("upper-started", "/etc/systemd/system/evil.service", "systemd, and the image has no such file"),
    ]


def test_a_setuid_program_of_the_image_is_none_but_a_changed_program(layers: Layers) -> None:
    layers.copy_up("bin/su", "changed").chmod(0o4755)
    assert layers.find() == [("upper-program", "/etc/bin/su", "")]
    (layers.lower / "bin/su").chmod(0o755)
    assert ("upper-setuid", "/etc/bin/su", "setuid") in layers.find()


STARTERS = [
    ("/etc/ld.so.preload", "every program"), ("/var/spool/cron/crontabs/root", "cron"), ("/etc/cron.daily/x", "cron"),
    ("/home/a/.ssh/authorized_keys", "sshd"), ("/root/.ssh/authorized_keys2", "sshd"), ("/etc/authorized_keys", ""),
    ("/etc/sudoers.d/x", "sudo"), ("/var/lib/app/passwd", ""), ("/etc/systemd/network/x", "systemd"),
    ("/etc/hosts", ""),
]  # fmt: skip


@pytest.mark.parametrize(("path", "who"), STARTERS)
def test_who_runs_it(path: str, who: str) -> None:
    assert upper.find_starter(path) == who


def test_a_finding_is_a_sentence_and_there_are_not_too_many(layers: Layers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardening, "_MOST", 2)
    fill(layers.upper, *(f"cron.d/{number}=x" for number in range(5)), "cron.d/\x1b[2J=x")
    if os.geteuid() != 0:
        assert [(finding.rule, finding.level) for finding in layers.check()] == [("upper-unread", "note")]
        return
    found = layers.check()
    assert [finding.rule for finding in found] == ["upper-started", "upper-started", "upper-more"]
    assert found[-1].text == "has 4 more of upper-started"
    assert "\x1b" not in "".join(f"{finding.source}{finding.text}" for finding in found)


@root_only
def test_what_can_not_be_read_is_told(layers: Layers, tmp_path: Path) -> None:
    assert hardening.check_upper("/etc", str(tmp_path / "nowhere"))[0].rule == "upper-unread"
    layers.upper.rmdir()
    layers.upper.write_text("a file")
    assert [finding.rule for finding in layers.check()] == ["upper-unread"]


@root_only
def test_a_tree_deeper_than_any_path(layers: Layers) -> None:
    dig(layers.upper, 1500, "d")
    fill(layers.upper, "z=x")
    (layers.upper / "z").chmod(0o4755)
    try:
        assert layers.find() == [("upper-setuid", "/etc/z", "setuid")]
    finally:
        subprocess.run(["rm", "-rf", layers.upper], check=True)


@root_only
def test_nothing_outside_of_the_layers_is_told_in_a_race(layers: Layers, tmp_path: Path) -> None:
    """Files, directories, links and FIFOs that are exchanged in a loop."""
    outside = fill(tmp_path / "outside", "secret=x", "secrets/f=x")
    for path in ("secret", "secrets/f"):
        (outside / path).chmod(0o4755)
    (tmp_path / "count").write_bytes(bytes(8))
    command = [sys.executable, REPOSITORY / "tests/support/swapper.py", layers.upper, outside, tmp_path / "count"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        while int.from_bytes((tmp_path / "count").read_bytes(), "little") < 3000:
            assert [found for found in layers.find() if found[0] != "upper-unread"] == []
    finally:
        process.kill()
        process.wait()


def _plan(passthrough: "tuple[str, ...]" = ()) -> Plan:
    mount = disk()
    mount.settings = Settings(passthrough=tuple(Word(path, "a.conf", 1) for path in passthrough))
    return Plan((mount,))


MOUNTED = """\
22 1 0:20 / / ro - squashfs /dev/root ro
31 22 8:1 / /run/buildroot/mounts/var {backing} - ext4 /dev/sda1 rw
32 22 0:30 / /var {overlay} - overlay overlay rw,upperdir=/run/buildroot/mounts/var/upper
"""
RUNNING = [
    ("rw", "rw", ["backing-flags", "overlay-flags"]),
    ("rw,nosuid,nodev", "rw", ["overlay-flags"]),
    ("rw,nosuid", "rw,nosuid,nodev,relatime", ["backing-flags"]),
    ("rw,nosuid,nodev", "rw,nosuid,nodev", []),
]


@pytest.mark.parametrize(("backing", "overlay", "rules"), RUNNING)
def test_what_is_mounted_counts(
    backing: str, overlay: str, rules: "list[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not fstab alone, whose line may have been remounted since."""
    table = mounts.parse(MOUNTED.format(backing=backing, overlay=overlay))
    monkeypatch.setattr(mounts, "read", lambda: table)
    monkeypatch.setattr(hardening, "check_upper", lambda *_arguments: [])
    monkeypatch.setattr(hardening, "_SYSFS", "/nowhere")
    found = hardening.check(_plan(), (), running=True)
    assert [finding.rule for finding in found] == rules
    line = FstabEntry("UUID=1", "/run/buildroot/mounts/var", "ext4", "nosuid,nodev,noexec", "/etc/fstab", 1)
    found = hardening.check(_plan(), (line,), running=True)
    assert [finding.rule for finding in found] == rules


def test_where_containers_are_passed_through_the_flags_come_with_a_word() -> None:
    found = hardening.check(_plan(passthrough=("/var/lib/docker",)), (), running=False)
    assert [finding.rule for finding in found] == ["overlay-flags"]
    assert found[0].advice.endswith("see first what its containers need")


DISKS: "dict[str, tuple[str, dict[str, str], bool]]" = {
    "stick": ("devices/pci0000:00/usb1/1-1/host0/block/sda/sda1", {}, True),
    "card": ("devices/platform/mmc/mmc_host/mmc0/mmc0:1/block/mmcblk0/mmcblk0p1", {"mmc0:1/type": "SD"}, True),
    "emmc": ("devices/platform/mmc/mmc_host/mmc0/mmc0:1/block/mmcblk0/mmcblk0p1", {"mmc0:1/type": "MMC"}, False),
    "bay": ("devices/pci0000:00/ata1/block/sda/sda1", {"sda/removable": "1"}, True),
    "disk": ("devices/pci0000:00/ata1/block/sda/sda1", {"sda/removable": "0"}, False),
}


@pytest.mark.parametrize("name", DISKS)
def test_a_disk_that_can_be_taken_out(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, files, removable = DISKS[name]
    device = tmp_path / path
    device.mkdir(parents=True)
    for file, text in files.items():
        directory, name = file.split("/")
        (next(above for above in device.parents if above.name == directory) / name).write_text(f"{text}\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/8:1").symlink_to(device)
    monkeypatch.setattr(hardening, "_SYSFS", str(tmp_path / "dev"))
    assert hardening._is_removable("8:1") is removable
    assert hardening._is_removable("0:30") is False


@pytest.mark.parametrize(
    ("options", "missing"),
    [("nosuid,nodev", []), ("nosuid,nodev,suid", ["nosuid"]), ("suid,nosuid,dev", ["nodev"]), ("x-a=b\\,nosuid", None)],
)
def test_the_last_of_two_options_counts(options: str, missing: "list[str] | None") -> None:
    line = FstabEntry("UUID=1", "/run/buildroot/mounts/var", "ext4", options, "/etc/fstab", 1)
    assert hardening._missing_in(line) == (["nosuid", "nodev"] if missing is None else missing)
