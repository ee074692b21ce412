# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The gate of boot assessment: what a directory has to be for a boot to be called good."""

import os
from pathlib import Path

import pytest

from hold import hold
from journald import Journald
from overlay_generator import boot, gather
from overlay_generator.model import Mounted, OverlayMount, Plan, Settings, Skipped
from overlay_prepare import bootcheck, events, identity, stamp
from overlay_prepare.bootcheck import check_all, find_unmet
from plans import disk, overlay

ALL = ("writable", "current-image", "persistent")


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OverlayMount:
    """A good directory on a disk, fit for its image."""
    found = disk("/var", nofail=True)
    found.where, found.backing.mount, found.backing.path = str(tmp_path / "var"), str(tmp_path), str(tmp_path / "b")
    found.settings = Settings(require=ALL)
    for name in ("var", "b", "state"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(bootcheck, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(identity, "identify", lambda _where: "IMAGE_VERSION=1\n")
    stamp.write(hold(found.backing.path), "IMAGE_VERSION=1\n")
    return found


def table(mount: OverlayMount, fstype: str = "ext4") -> "list[Mounted]":
    return [Mounted(mount.backing.mount, fstype, "rw"), Mounted(mount.where, "overlay", "rw")]


def test_a_good_boot(mount: OverlayMount) -> None:
    assert find_unmet(mount, table(mount)) == []


def test_each_requirement_has_its_reason(mount: OverlayMount, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_unmet(mount, table(mount)[:1]) == ["the overlay is not mounted"]
    assert find_unmet(mount, table(mount, "tmpfs")) == ["it is in memory"]
    stamp.write(hold(mount.backing.path), "IMAGE_VERSION=2\n")
    assert find_unmet(mount, table(mount)) == ["the upper layer is not fit for the image below it"]
    stamp.write(hold(mount.backing.path), "IMAGE_VERSION=1\n")
    (Path(mount.backing.mount) / f"state/{mount.name}.failed").write_text("why\n")
    assert find_unmet(mount, table(mount)) == ["what is written is not kept"]
    info = os.statvfs(mount.where)
    read_only = os.statvfs_result((*info[:8], 1, info[9]))
    monkeypatch.setattr("posix.statvfs", lambda _path: read_only)
    assert "the overlay is read-only" in find_unmet(mount, table(mount))


@pytest.mark.parametrize(
    ("place", "reasons"),
    [
        ("virtual/block/zram0", ["it is in memory: zram0"]),
        ("virtual/block/ram3", ["it is in memory: ram3"]),
        ("pseudo/block/nullb0/nullb0p1", ["it is in memory: nullb0"]),
        ("virtual/block/rambo", []),
        ("pci0000:00/nvme/nvme0/nvme0n1/nvme0n1p2", []),
        ("", []),
    ],
)
def test_a_disk_that_is_memory_is_not_persistent(
    place: str, reasons: "list[str]", mount: OverlayMount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As overlayctl status has it."""
    device = os.stat(mount.backing.path).st_dev
    (tmp_path / "sys/dev/block").mkdir(parents=True)
    if place:
        (tmp_path / f"sys/dev/block/{os.major(device)}:{os.minor(device)}").symlink_to(f"../../devices/{place}")
    monkeypatch.setattr(bootcheck, "_SYSFS", str(tmp_path / "sys"))
    assert find_unmet(mount, table(mount)) == reasons
    mount.settings = Settings()
    assert find_unmet(mount, table(mount)) == []


def test_by_default_a_dead_disk_is_no_reason_to_change_the_image(mount: OverlayMount) -> None:
    """Otherwise a device would go back and forth between its images for ever."""
    mount.settings = Settings()
    assert find_unmet(mount, table(mount, "tmpfs")) == []
    (Path(mount.backing.mount) / f"state/{mount.name}.failed").write_text("why\n")
    assert find_unmet(mount, table(mount)) == []


def test_memory_as_planned_is_good() -> None:
    assert find_unmet(overlay("/"), [Mounted("/", "overlay", "rw")]) == []


def plan(monkeypatch: pytest.MonkeyPatch, found: "Plan | None", mounted: str = "") -> None:
    monkeypatch.setattr(boot, "make_plan", lambda _root, _environ: found)
    monkeypatch.setattr(gather, "read_file", lambda _path: mounted.encode())


def test_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plan(monkeypatch, None)
    assert check_all() == 0
    assert capsys.readouterr().err == "<5>no overlay is asked for\n"
    plan(monkeypatch, Plan((), (Skipped("/var", "by fstab"),)))
    assert check_all() == 0
    refused = Skipped("/home", "it is not a directory", "error")
    plan(monkeypatch, Plan((), (refused,)))
    assert check_all() == 1
    text = "<3>/home is not overlaid: it is not a directory; this boot is not called good\n"
    assert capsys.readouterr().err == text
    refused.require = ("persistent",)
    assert check_all() == 0
    plan(monkeypatch, Plan((overlay("/var"),)))
    assert check_all() == 1
    assert "/var: the overlay is not mounted; this boot is not called good" in capsys.readouterr().err


def test_what_can_t_be_looked_at_is_not_good(
    monkeypatch: pytest.MonkeyPatch, mount: OverlayMount, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_arguments: object) -> str:
        raise PermissionError(13, "Permission denied", "/x")

    monkeypatch.setattr(identity, "identify", refuse)
    line = f"1 1 8:1 / {mount.backing.mount} rw - ext4 /dev/x rw\n2 1 0:9 / {mount.where} rw - overlay overlay rw\n"
    plan(monkeypatch, Plan((mount,)), line)
    assert check_all() == 1
    capsys.readouterr()
    monkeypatch.setattr(boot, "make_plan", refuse)
    assert check_all() == 1
    assert capsys.readouterr().err == "<3>the overlays can't be checked: /x: Permission denied\n"


def test_a_boot_that_is_not_good_is_an_event_and_not_on_the_console(
    monkeypatch: pytest.MonkeyPatch, journald: Journald, in_unit: Path
) -> None:
    """The boot loader's menu counts it; whoever logs in reads why."""
    in_unit.with_name("console").touch()
    plan(monkeypatch, Plan((overlay("/var"),)))
    assert check_all() == 1
    (found,) = journald.read()
    assert (found["MESSAGE_ID"], found["PRIORITY"], found["OVERLAY_WHERE"]) == (events.BOOT_NOT_GOOD, "3", "/var")
    assert found["OVERLAY_REASON"] == "the overlay is not mounted"
    assert in_unit.with_name("console").read_text() == ""


def test_where_a_time_after_2038_hides_the_device_no_disk_is_looked_for(
    mount: OverlayMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootcheck, "find_device", lambda _path: -1)
    assert find_unmet(mount, table(mount)) == []


@pytest.mark.parametrize(("mounted", "unmet"), [
    ([], ["the overlay is not mounted", "it is in memory"]),
    ([("ext4", "backing"), ("ext4", "where")], ["the overlay is not mounted"]),
    ([("ext4", "backing"), ("overlay", "elsewhere")], ["the overlay is not mounted"]),
    ([("ext4", "elsewhere"), ("overlay", "where")], ["it is in memory"]),
    # The topmost counts.
    ([("tmpfs", "backing"), ("ext4", "backing"), ("overlay", "where")], []),
    ([("ext4", "backing"), ("tmpfs", "backing"), ("overlay", "where")], ["it is in memory"]),
])  # fmt: skip
def test_what_is_mounted_where(mounted: "list[tuple[str, str]]", unmet: "list[str]", mount: OverlayMount) -> None:
    places = {"backing": mount.backing.mount, "where": mount.where, "elsewhere": "/elsewhere"}
    assert find_unmet(mount, [Mounted(places[place], fstype, "rw") for fstype, place in mounted]) == unmet


@pytest.mark.parametrize("word", ALL)
def test_only_what_is_required_is_looked_at(word: str, mount: OverlayMount, monkeypatch: pytest.MonkeyPatch) -> None:
    mount.settings = Settings(require=(word,))
    stamp.write(hold(mount.backing.path), "IMAGE_VERSION=2\n")
    monkeypatch.setattr(bootcheck, "find_kind", lambda _path: "f")
    expected = {
        "writable": "the overlay is not mounted",
        "current-image": "the upper layer is not fit for the image below it",
        "persistent": "what is written is not kept",
    }
    assert find_unmet(mount, table(mount)[:1]) == [expected[word]]
    assert find_unmet(mount, []) == ([] if word == "current-image" else [
        "the overlay is not mounted" if word == "writable" else "it is in memory"
    ])  # fmt: skip
