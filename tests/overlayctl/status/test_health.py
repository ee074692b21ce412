# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What status concludes, and how it reads systemctl. Cases are data."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import schemas
from overlay_generator.model import Backing, Directory, FstabEntry, OverlayMount, Skipped
from overlayctl.mounts import Mount
from overlayctl.status import document, health, nextboot, units
from overlayctl.status.machine import DirectoryStatus, MachineStatus
from overlayctl.status.space import Space, spell_size
from overlayctl.status.units import UnitState

BACKING = "/run/buildroot/mounts/var"
OVERLAY = Mount(2, 1, "0:40", "/var", ("rw",), "overlay", "overlay", (f"upperdir={BACKING}/upper",))
DISK = Mount(3, 1, "8:1", BACKING, ("rw",), "ext4", "/dev/sda1", ("rw",))
MEMORY = replace(DISK, fstype="tmpfs", source="tmpfs")
WANTED = OverlayMount(
    "/var", "var", Backing(BACKING, BACKING, False, False, True, "/etc/fstab:1"), Directory("directory")
)
SPACE = Space(1000, 100, 900, 100, 10, False)
FINE = UnitState("var.mount", "loaded", "active", "mounted", "success", True, 3.5)
FAILED = UnitState("var.mount", "loaded", "failed", "failed", "exit-code", True, 0.0)
LEFT_OUT = UnitState("var.mount", "loaded", "inactive", "dead", "success", False, 0.0)
GOOD = DirectoryStatus("/var", WANTED, None, OVERLAY, BACKING, DISK, space=SPACE, units=(FINE,))

VERDICTS = [
    (GOOD, 0, []),
    (replace(GOOD, backing=MEMORY), 0, []),
    (replace(GOOD, backing=MEMORY, fallen_back="it is gone"), 1, ["in memory in place of its disk", "it is gone"]),
    (replace(GOOD, fallen_back="mounted read-only"), 1, ["mounted read-only"]),
    (replace(GOOD, behind="/var: the list can't be made"), 1, ["/var: the list can't be made"]),
    (replace(GOOD, read_only=True), 1, ["the overlay is read-only"]),
    (replace(GOOD, space=replace(SPACE, used=951, free=49)), 1, ["96% full"]),
    (replace(GOOD, space=replace(SPACE, used=940, free=60)), 0, []),
    (replace(GOOD, space=replace(SPACE, inodes_used=95)), 1, ["95% of its inodes"]),
    (replace(GOOD, space=replace(SPACE, inodes=0, inodes_used=0)), 0, []),
    (replace(GOOD, space=None), 0, []),
    (replace(GOOD, image_current=False), 1, ["another image"]),
    (replace(GOOD, image_current=None), 0, []),
    (replace(GOOD, units=(FAILED,)), 1, ["var.mount has failed: see systemctl status var.mount"]),
    (replace(GOOD, differences=("it will be in memory",)), 0, []),
    (replace(GOOD, volatile="/dev/zram0 is memory"), 1, ["lost at the next boot: /dev/zram0 is memory"]),
    (replace(GOOD, wanted=None), 0, []),
    (replace(GOOD, overlay=None, units=(FAILED,)), 2, ["var.mount has failed"]),
    (replace(GOOD, overlay=None, units=(LEFT_OUT,)), 2, ["its conditions were not met"]),
    (replace(GOOD, overlay=None, units=(replace(LEFT_OUT, name="verify-var-overlay.service"),)), 2, ["nothing is"]),
    (replace(GOOD, overlay=None, units=()), 2, ["nothing is mounted there"]),
    (DirectoryStatus("/var"), 2, ["no overlay is asked for"]),
    (DirectoryStatus("/var", skipped=Skipped("/var", "because", "error")), 2, ["because"]),
    (DirectoryStatus("/var", skipped=Skipped("/var", "because")), 0, ["because"]),
    (DirectoryStatus("/var", skipped=Skipped("/var", "because", "quiet")), 0, ["because"]),
    (DirectoryStatus("/var", skipped=Skipped("/var", "because"), read_only=True), 2, ["because", "it is read-only"]),
    (DirectoryStatus("/var", skipped=Skipped("/var", "x is masked by y"), read_only=True), 0, ["x is masked by y"]),
]


@pytest.mark.parametrize(("directory", "level", "words"), VERDICTS)
def test_verdict(directory: DirectoryStatus, level: int, words: "list[str]") -> None:
    verdict = health.judge(directory)
    assert verdict.level == level
    text = " ".join(verdict.reasons)
    assert all(word in text for word in words)
    assert bool(words) == bool(text)


@pytest.mark.parametrize(("directory", "level", "words"), VERDICTS)
def test_each_as_json_is_what_the_schema_says(directory: DirectoryStatus, level: int, words: "list[str]") -> None:
    machine = MachineStatus((directory,), problems=("a wrong key",), notes=("not looked at",))
    found = json.loads(document.spell(machine, named=False))
    schemas.validate("status", found)
    assert found["directories"][0]["status"] == level
    assert bool(found["directories"][0]["reasons"]) == bool(words)


def test_left_alone_is_not_what_was_asked_about() -> None:
    directory = DirectoryStatus("/var", skipped=Skipped("/var", "because"))
    assert health.judge(directory, named=True).level == 2


def test_the_worst_counts() -> None:
    bad, none = replace(GOOD, read_only=True), DirectoryStatus("/opt")
    assert health.judge_all(MachineStatus(())).level == 0
    assert health.judge_all(MachineStatus((GOOD, bad))).level == 1
    assert health.judge_all(MachineStatus((none, bad, GOOD))).level == 2
    assert health.judge_all(MachineStatus((GOOD,), problems=("a wrong key",))).level == 1
    assert health.judge_all(MachineStatus((GOOD,), notes=("not looked at",))).level == 0


SHOWN = """\
Id=var.mount
LoadState=loaded
ActiveState=active
SubState=mounted
Result=success
ConditionResult=yes
ConditionTimestampMonotonic=3400000
ActiveEnterTimestampMonotonic=3500000

Id=odd=name.service
LoadState=not-found
ActiveState=inactive
ConditionResult=no
ConditionTimestampMonotonic=0

Id=left-out.mount
LoadState=loaded
ActiveState=inactive
ConditionResult=no
ConditionTimestampMonotonic=3400000
"""


def test_states_of_units_are_read() -> None:
    states = units.parse(SHOWN)
    assert states["var.mount"] == FINE
    odd = states["odd=name.service"]
    # Never checked is not the same as not met.
    assert (odd.load, odd.condition, odd.entered) == ("not-found", True, 0.0)
    assert not states["left-out.mount"].condition
    assert units.parse("") == {}
    assert units.parse("garbage\n\n=\n") == {}


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("echo 'Failed to connect to bus: no' >&2; exit 1", "systemctl: Failed to connect to bus: no"),
        (None, "systemctl is missing"),
    ],
)
def test_systemd_that_does_not_answer(
    program: "str | None", sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program:
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os.path, "isdir", lambda _path: True)
    with pytest.raises(units.Missing, match=sentence):
        units.read(["var.mount"])


def test_systemd_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_arguments: object, **_options: object) -> None:
        raise subprocess.TimeoutExpired("systemctl", 10)

    monkeypatch.setattr(os.path, "isdir", lambda _path: True)
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(units.Missing, match="systemd does not answer"):
        units.read(["var.mount"])


SIZES = [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (1536, "1.5 KiB"), (99 << 20, "99.0 MiB"), (5 << 40, "5.0 TiB")]
SIZES += [(250 << 30, "250 GiB"), (3000 << 40, "3000 TiB"), (1023 << 10, "1.0 MiB")]


@pytest.mark.parametrize(("number", "text"), SIZES)
def test_sizes_for_a_person(number: int, text: str) -> None:
    assert spell_size(number) == text


DISKS = [
    ("/dev/null", "1:3", False, ""),
    ("/dev/null", "8:1", False, "/dev/null is another disk than /dev/sda1, which is mounted now"),
    ("/dev/null", "0:33", True, "/dev/null is there now, and will be mounted"),
    ("/dev/none", "8:1", False, "there is no /dev/none on this machine now"),
    ("/dev/none", "0:33", True, ""),
    ("LABEL=data", "1:3", False, ""),
    ('LABEL="my data"', "1:3", False, ""),
    ("LABEL=dtaa", "1:3", False, "there is no LABEL=dtaa on this machine now"),
    ("UUID=1-2", "1:3", False, ""),
    ("tmpfs", "0:33", False, ""),
    ("server:/share", "0:33", False, ""),
]


@pytest.mark.parametrize(("what", "device", "fallen_back", "sentence"), DISKS)
def test_another_disk_at_the_next_boot(
    what: str, device: str, fallen_back: bool, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "by-label").mkdir()
    for name in ("data", "my\\x20data"):
        (tmp_path / "by-label" / name).symlink_to("/dev/null")
    entry = FstabEntry(what, BACKING, "ext4", "nofail", "/etc/fstab", 3)
    found = nextboot.compare_disk(entry, replace(DISK, device=device), fallen_back, str(tmp_path))
    assert [text.replace("/etc/fstab:3: ", "") for text in found] == ([sentence] if sentence else [])
    assert nextboot.compare_disk(None, DISK, False, str(tmp_path)) == []
