# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A step back to what an update has frozen, and what becomes of the newer upper layer."""

import os
import posix
import shutil
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import frozen, reset, stamp, stepback
from persistentdevice import NEW, OLD, pretend
from rollbackdevice import RollbackDevice, make
from tree import fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RollbackDevice:
    pretend(tmp_path, monkeypatch)
    made = make(tmp_path)
    made.use_b()
    return made


def empty_trash(device: RollbackDevice) -> "list[str]":
    """What is in the backing directory without what was put aside."""
    reset.empty_trash(hold(device.backing))
    return sorted(os.listdir(device.backing))


@pytest.mark.parametrize("policy", ["keep", "prune", "reset"])
def test_the_older_layer_is_back_to_the_byte_and_the_newer_one_kept(
    policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch)
    device = make(tmp_path, policy)
    device.use_b()
    newer, since = read_tree(device.upper), device.read("frozen/since")
    fill(device.backing, "work/work/#1=half", "good=TIME=1", "commit=")
    backing = hold(device.backing)
    step_back(device)
    assert device.exact() == device.a
    assert read_tree(device.backing / "undone") == newer
    assert device.read("undone.since") == since != ""
    assert os.listdir(device.backing / "work") == []
    assert stamp.read_previous(backing) == OLD
    assert frozen.can_step_back(backing, OLD)
    found = empty_trash(device)
    assert not {"frozen", "good", "commit"} & set(found)


def step_back(device: RollbackDevice) -> None:
    backing = hold(device.backing)
    folder = frozen.open_frozen(backing)
    assert folder
    stepback.step_back(backing, folder)


def test_a_layer_that_was_frozen_without_a_second_tree_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch)
    device = make(tmp_path)
    shutil.rmtree(device.upper / "o")
    device.a = device.exact()
    device.use_b()
    assert not (device.backing / "frozen/kept").exists()
    step_back(device)
    assert device.exact() == device.a
    assert (device.backing / "undone/own").read_text() == "b"


def test_each_part_of_it_is_on_the_disk_before_the_next(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes later stands for it: the layer for its notes, the notes for what is undone, all for `frozen`."""
    done: list[str] = []
    rename = posix.rename

    def note(source: str, target: str, **options: int) -> None:
        rename(source, target, **options)
        done.append(target)

    monkeypatch.setattr(posix, "rename", note)
    monkeypatch.setattr(posix, "sync", lambda: done.append("sync"))
    step_back(device)
    parts = " ".join(done).split(" sync ")
    assert parts == [
        "undoing former upper", "uuids names contents image rollback", "undone undone.since", "0",
    ]  # fmt: skip
    assert device.exact() == device.a


def test_of_a_disk_that_misses_some_of_it_the_rest_goes_back(device: RollbackDevice) -> None:
    shutil.rmtree(device.backing / "work")
    (device.backing / "frozen/since").unlink()
    step_back(device)
    assert device.exact()[0] == device.a[0]
    assert (device.backing / "undone/own").read_text() == "b"
    assert not (device.backing / "undone.since").exists()
    assert not (device.backing / "work").exists()


def test_what_is_no_note_makes_way(device: RollbackDevice) -> None:
    (device.backing / "names").unlink()
    fill(device.backing, "names/in/it", "undone.since/in/it")
    step_back(device)
    assert device.exact() == device.a
    assert device.read("undone.since").startswith("TIME=")
    assert (device.backing / "names.refused/in/it").exists()
    assert (device.backing / "undone.since.refused/in/it").exists()


def test_notes_that_the_older_layer_did_not_have_go(device: RollbackDevice) -> None:
    backing = hold(device.backing)
    folder = frozen.open_frozen(backing)
    assert folder
    fields = frozen.read_fields(folder, frozen.SINCE)
    assert fields["NOTES"].split() == ["uuids", "names", "contents"]
    (device.backing / "frozen/since").write_text("TIME=1\nNOTES=uuids\n")
    for name in ("names", "uuids"):
        (device.backing / "frozen" / name).unlink()
        (device.backing / name).write_text("of the newer one")
    stepback.step_back(backing, folder)
    assert not (device.backing / "names").exists(), "it would be the newer layer's"
    assert device.read("uuids") == "of the newer one", "it was there, and is already back"
    assert device.read("image") == OLD


def test_an_empty_newer_layer_is_not_kept(device: RollbackDevice) -> None:
    backing = hold(device.backing)
    reset.Bin(backing).put(backing, "upper")
    device.upper.mkdir()
    folder = frozen.open_frozen(backing)
    assert folder
    stepback.step_back(backing, folder)
    assert device.exact()[0] == device.a[0]
    assert not (device.backing / "undone").exists()


def test_of_two_newer_ones_the_older_goes(device: RollbackDevice) -> None:
    device.start(OLD)
    first = device.read("undone.since")
    device.start(NEW)
    fill(device.upper, "second=b")
    (device.backing / "frozen/since").write_text("TIME=7\n")
    device.start(OLD)
    assert "second" in read_tree(device.backing / "undone")
    assert "own" not in read_tree(device.backing / "undone")
    assert device.read("undone.since") == "TIME=7\n" != first
    assert "undone" in empty_trash(device)


def test_one_that_was_half_undone_before_is_kept_as_well(device: RollbackDevice) -> None:
    """Another program's boot has come between."""
    fill(device.backing, "frozen/undoing/half=b")
    newer = read_tree(device.upper)
    backing = hold(device.backing)
    folder = frozen.open_frozen(backing)
    assert folder
    stepback.step_back(backing, folder)
    assert read_tree(device.backing / "undone") == newer
    assert [path.name for path in device.backing.glob("trash/*/*/half")] == ["half"]


@pytest.mark.parametrize("with_layer", [True, False])
def test_a_second_tree_goes_with_what_is_kept(with_layer: bool, device: RollbackDevice) -> None:
    """making may be left of a boot that was cut off, former where another program's boot has come after that."""
    folder = device.backing / "frozen"
    assert (folder / "kept").is_dir(), "what the image adds in o was opened in a second tree"
    fill(folder, "making/third=a", "former/fourth=a")
    if not with_layer:
        shutil.rmtree(folder / "upper")
    backing = hold(device.backing)
    held = frozen.open_frozen(backing)
    assert held
    stepback.step_back(backing, held)
    assert device.exact()[0] == device.a[0]
    assert not folder.exists()


@pytest.mark.parametrize("former", [True, False])
def test_the_beginning_of_one_is_undone(former: bool, device: RollbackDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = read_tree(device.upper)
    folder = device.backing / "frozen"
    below = read_tree(folder / "upper")
    device.upper.rename(folder / "undoing")
    if former:
        (folder / "upper").rename(folder / "former")
    backing = hold(device.backing)
    synced: list[int] = []
    monkeypatch.setattr(posix, "fsync", synced.append)
    stepback.take_back(backing, hold(device.backing / "frozen"))
    assert read_tree(device.upper) == newer
    assert read_tree(folder / "upper") == below
    assert sorted(path.name for path in folder.iterdir()) == [
        "contents", "image", "kept", "names", "since", "upper", "uuids",
    ]  # fmt: skip
    assert synced == [backing.fd]


def test_an_image_that_can_not_be_noted_is_told(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frozen, "mark_capable", fail)
    backing = hold(device.backing)
    folder = frozen.open_frozen(backing)
    assert folder
    stepback.step_back(backing, folder)
    assert "the next update will not be frozen: No space left on device" in capsys.readouterr().err
    assert device.exact() == device.a


def test_as_soon_as_the_older_layer_is_back_nothing_is_frozen(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A boot that finds it so after a power cut must not do it once more."""

    def cut() -> None:
        raise KeyboardInterrupt

    backing = hold(device.backing)
    folder = frozen.open_frozen(backing)
    assert folder
    assert folder.find_kind("kept") == folder.find_kind("upper") == "d"
    monkeypatch.setattr("posix.sync", cut)
    with pytest.raises(KeyboardInterrupt):
        stepback.step_back(backing, folder)
    assert device.exact()[0] == device.a[0]
    assert folder.find_kind("image"), "its notes are still to come"
    assert not folder.find_kind("kept")
    assert not folder.find_kind("upper")
