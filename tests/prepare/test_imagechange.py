# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How others learn that the image has changed: versions, the file in /run, and systemd's own mark."""

import os
import posix
import subprocess
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import imagechange, report
from overlay_prepare.imagechange import describe_step, forget_updated, judge_step, leave
from overlay_prepare.request import Request
from persistentdevice import Device, pretend
from tree import fill


@pytest.mark.parametrize(
    ("old", "new", "step_back"),
    [
        ("1", "2", "no"),
        ("2", "1", "yes"),
        ("7", "7", "no"),
        ("1.9", "1.10", "no"),
        ("1.10", "1.9", "yes"),
        ("1.0", "1.0.1", "no"),
        ("1.0.1", "1.0", "yes"),
        ("1.0~rc1", "1.0", "no"),
        ("1.0", "1.0~rc1", "yes"),
        ("v2", "v10", "no"),
        ("2026-01-10", "2026-01-02", "yes"),
        ("a", "a1", "no"),
        ("\u0663", "2", "yes"),
        ("1.1.1k", "1.1.1j", "yes"),
        ("1.1.1j", "1.1.1k", "no"),
        ("1.0", "1.0~rc", "yes"),
        ("01", "1", "no"),
        ("0", "a", "yes"),
        ("a", "0", "no"),
        ("\u00b2a", "\u00b2b", "no"),
        ("9" * 5000, "9" * 4999, "yes"),
        ("9" * 5000, "1" + "0" * 5000, "no"),
        ("", "1", "unknown"),
        ("1", "", "unknown"),
    ],
)
def test_a_step_back_is_told_by_the_version(old: str, new: str, step_back: str) -> None:
    assert judge_step(old, new) == step_back


def read(path: Path) -> "dict[str, str]":
    """The file as a shell reads it."""
    names = ("FROM_ID", "TO_ID", "FROM_VERSION", "TO_VERSION", "STEP_BACK")
    shown = " ".join(f'"${name}"' for name in names)
    done = subprocess.run(
        ["sh", "-euc", f'. "$1"; printf "%s\\n" {shown}', "sh", path], capture_output=True, text=True, check=True
    )
    return dict(zip(names, done.stdout.splitlines()))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(imagechange, "STATE", str(tmp_path))
    return tmp_path


def test_the_step_is_left_for_a_shell(state: Path) -> None:
    new = "IMAGE_ID='x'\nIMAGE_VERSION=\"1\"\non=overlay\n"
    leave("var", describe_step("IMAGE_ID=x\nIMAGE_VERSION=2\nsquashfs=0:aa\n", new))
    found = read(state / "var.changed")
    assert found == {"FROM_ID": "x", "TO_ID": "x", "FROM_VERSION": "2", "TO_VERSION": "1", "STEP_BACK": "yes"}
    leave("var", describe_step("squashfs=0:aa\n", "BUILD_ID=7\n"))
    found = read(state / "var.changed")
    assert (found["FROM_VERSION"], found["TO_VERSION"], found["STEP_BACK"]) == ("", "7", "unknown")


def test_the_note_of_the_disk_carries_out_nothing(state: Path) -> None:
    """Whoever can write the disk can write the name of the old image, which a script of root's reads."""
    old = 'IMAGE_ID=$(touch owned)\nIMAGE_VERSION=1"; touch owned; `id`\\\n'
    leave("var", describe_step(old, "IMAGE_VERSION=2\n"))
    found = read(state / "var.changed")
    assert found["FROM_ID"] == "__touch_owned_"
    assert found["FROM_VERSION"].startswith("1_")
    assert sorted(os.listdir(state)) == ["var.changed"]


def test_the_mark_of_systemd_goes_from_the_upper_layer_alone(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    (tmp_path / "upper/.updated").write_text("x")
    forget_updated("/srv", hold(tmp_path))
    assert (tmp_path / "upper/.updated").exists()
    forget_updated("/var", hold(tmp_path))
    forget_updated("/var", hold(tmp_path))
    assert os.listdir(tmp_path / "upper") == []
    (tmp_path / "upper/.updated").mkdir()
    forget_updated("/var", hold(tmp_path))
    assert os.listdir(tmp_path / "upper") == [".updated"]


@pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes need root")
def test_a_change_is_told_in_its_own_boot_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch)
    monkeypatch.setattr(imagechange, "STATE", report.STATE)
    device = Device(tmp_path)
    told = Path(report.STATE) / "var.changed"
    device.boot()
    assert not told.exists()
    device.update()
    device.boot()
    assert read(told)["STEP_BACK"] == "no"
    device.boot()
    assert not told.exists()
    Device.identity = "IMAGE_VERSION=1\n"
    device.boot()
    assert read(told)["STEP_BACK"] == "yes"


def test_a_mark_of_a_layer_in_between_is_hidden_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = str(tmp_path / "var")
    monkeypatch.setattr(imagechange, "UPDATABLE", (where,))
    for below, image, kind in ((True, False, "o"), (False, True, "o"), (False, False, "")):
        top = tmp_path / f"{below}{image}"
        fill(top, "upper/.updated", "below/", "backing/")
        fill(tmp_path / "var")
        if below:
            fill(top, "below/.updated")
        (tmp_path / "var/.updated").unlink(missing_ok=True)
        if image:
            fill(tmp_path / "var", ".updated")
        imagechange.forget_updated(where, hold(top), hold(top / "below"))
        assert hold(top / "upper").find_kind(".updated") == kind
        assert not kind or (top / "upper/.updated").lstat().st_rdev == 0, "any other device is no whiteout"


def test_a_mark_that_can_not_be_removed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, "upper/.updated")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(posix, "unlink", refuse)
    forget_updated("/var", hold(tmp_path))
    why = f"{tmp_path}/upper/.updated: No space left on device"
    text = f"<4>/var: services that run once for each image may not run for this one: {why}\n"
    assert capsys.readouterr().err == text


def test_a_directory_of_that_name_is_left_and_other_places_have_no_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = str(tmp_path / "var")
    fill(tmp_path, "upper/.updated/x", "var/.updated")
    imagechange.forget_updated(where, hold(tmp_path))
    monkeypatch.setattr(imagechange, "UPDATABLE", (where,))
    imagechange.forget_updated(where, hold(tmp_path))
    assert (tmp_path / "upper/.updated/x").exists()
    fill(tmp_path / "other", "var/.updated")
    imagechange.forget_updated(where, hold(tmp_path / "other"))
    assert not (tmp_path / "other/upper").exists()


def test_word_of_a_change_that_can_not_be_left_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(imagechange, "leave", fail)
    imagechange.announce(Request("/var", "/b/var", "/b"), "IMAGE_VERSION=1\n", "IMAGE_VERSION=2\n", 2)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "<4>/var: migrations don't learn of another image: No space left on device",
        "<5>/var: another image; 2 references to the old one were taken out of the upper layer",
    ]


def test_versions_of_any_length() -> None:
    assert imagechange.judge_step("9" * 5000, "1" + "0" * 5000) == "no"
    assert imagechange.judge_step("1" + "0" * 5000, "9" * 5000) == "yes"
    assert imagechange.judge_step("007", "7") == "no"
    assert imagechange.judge_step("7", "007") == "no"
    assert imagechange.read_version("IMAGE_VERSION='1.0~rc1 $(x)'\n") == "1.0~rc1___x_"
    assert imagechange.read_version("BUILD_ID=5\n") == "5"
    assert imagechange.read_version("IMAGE_VERSION=\nBUILD_ID=5\n") == "5"
    assert len(imagechange.read_version("IMAGE_VERSION=" + "x" * 300)) == 200
