# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An upper layer that outlives the boot: each step of its preparation by itself."""

import errno
import os
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import fitness, persistent
from overlay_prepare.folder import Folder
from overlay_prepare.report import Unusable
from overlay_prepare.request import Request
from persistentdevice import Device, pretend
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    pretend(tmp_path, monkeypatch)
    found = Device(tmp_path)
    found.boot()
    found.use()
    return found


@pytest.mark.parametrize(("uuids", "uuid", "release", "followed"), [
    (None, "aa", "6.1.0", True), (["aa"], None, "6.1.0", True), (["aa"], "aa", "6.1.0", True),
    (["aa"], "bb", "6.1.0", False), ([], "", "6.1.0", False), ([], "", "5.10.0-1", False), ([], "", "5.9.9", True),
    ([], "", "4.19", True), ([], "bb", "5.4", False), (["x"] * 64, "bb", "6.1", False), (["x"] * 65, "bb", "6.1", True),
    ([], "", "nonsense", True), ([], "", "6", True),
])  # fmt: skip
def test_what_a_reference_may_lead_into(
    uuids: "list[str] | None", uuid: "str | None", release: str, followed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posix.uname", lambda: os.uname_result(("Linux", "x", release, "x", "x86_64")))
    assert persistent._may_be_followed(uuids, uuid) is followed


@pytest.mark.parametrize(("cause", "tried"), [(errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EIO, True)])
@pytest.mark.parametrize("fallback", ["", "size=1%"])
def test_a_work_directory_is_replaced_where_that_needs_no_room(
    cause: int, tried: bool, fallback: str, device: Device, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    checked: list[bool] = []

    def check_work(backing: Folder) -> None:
        checked.append(backing.find_kind("work") == "d")

    monkeypatch.setattr(fitness, "check_work", check_work)
    fill(device.backing, "work/of the old one")
    error = Unusable("work can't be used")
    error.__cause__ = OSError(cause, os.strerror(cause))
    request = Request(str(device.where), str(device.backing), str(device.backing), fallback=fallback)
    if fallback and not tried:
        with pytest.raises(Unusable, match="work can't be used"):
            persistent._replace_work(request, hold(device.backing), error)
    else:
        persistent._replace_work(request, hold(device.backing), error)
    said = capsys.readouterr().err
    assert checked == ([True] if tried else [])
    assert (device.backing / "work/of the old one").exists() is not tried
    if tried:
        assert said == f"<4>{device.where}: work can't be used; a new one takes its place\n"
        assert (device.backing / "work").stat().st_mode & 0o777 == 0o700
    else:
        assert said == ("" if fallback else f"<3>{device.where}: work can't be used\n")


def test_a_disk_that_can_not_be_tried_was_fit_before(
    device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fitness, "probe", fail)
    request = Request(str(device.where), str(device.backing), str(device.backing))
    persistent._probe(request, hold(device.backing))
    assert "the disk could not be tried, and was fit before: Input/output error" in capsys.readouterr().err
    (device.backing / "image").unlink()
    with pytest.raises(OSError, match="Input/output error"):
        persistent._probe(request, hold(device.backing))


@pytest.mark.parametrize(("policy", "previous", "image", "expected"), [
    ("prune", "IMAGE_VERSION=1\n", "IMAGE_VERSION=2\n", "prune"), ("keep", "IMAGE_VERSION=1\n", "x=2\n", "keep"),
    ("prune", "", "IMAGE_VERSION=2\n", "keep"), ("reset", "IMAGE_VERSION=1\n", "on=overlay\n", "keep"),
])  # fmt: skip
def test_a_policy_needs_to_know_that_it_is_another_image(
    policy: str, previous: str, image: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    request = Request("/var", "/b/var", "/b", policy=policy)
    assert persistent._choose_policy(request, previous, image) == expected
    said = capsys.readouterr().err
    assert ("can't be told, so Policy=reset drops nothing; add IMAGE_VERSION=" in said) is (policy == "reset")
    assert said.startswith("<5>") or not said


def test_only_what_is_no_directory_is_put_aside_at_first(device: Device) -> None:
    told: list[str] = []
    fill(
        device.backing, "direct/one=x", "direct/two/", "direct/three.refused=x", *(f"direct/{n}=x" for n in range(150))
    )
    persistent._expect_directories(hold(device.backing, told))
    left = os.listdir(device.backing / "direct")
    assert "two" in left
    assert "three.refused" in left
    assert len([name for name in left if name.endswith(".refused")]) == 101
    assert len(told) == 100


@pytest.mark.parametrize("booted", [False, True])
def test_litter_goes_once_in_a_boot(booted: bool, device: Device, tmp_path: Path) -> None:
    request = Request(str(device.where), str(device.backing), str(device.backing))
    for name in persistent._LITTER:
        fill(device.backing, f"{name}=x")
    if booted:
        fill(tmp_path / "state", f"{request.name}.json")
    persistent._sweep(request, hold(device.backing))
    left = {name for name in persistent._LITTER if (device.backing / name).exists()}
    assert left == (set(persistent._LITTER) if booted else set())
