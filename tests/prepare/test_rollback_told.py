# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rollback=yes: what is told of it, when newer data are there to stay, and what is done on the way."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import commit, rollback, stamp, tree
from overlay_prepare.request import Request
from persistentdevice import NEW, OLD, Device, pretend
from rollbackdevice import RollbackDevice, make
from tree import fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
UNKNOWN = "on=overlay\n"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RollbackDevice:
    pretend(tmp_path, monkeypatch)
    return make(tmp_path)


def test_a_step_back_is_told_and_the_newer_data_are_named(
    device: RollbackDevice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device.use_b()
    newer = read_tree(device.upper)
    capsys.readouterr()
    device.start(OLD)
    assert read_tree(device.backing / "undone") == newer
    assert f"with its data; those written since are in {device.backing}/undone" in capsys.readouterr().err
    text = (tmp_path / "state/var.rollback").read_text()
    assert text == 'EVENT="stepped-back"\nFROM_VERSION="2"\nTO_VERSION="1"\n'


def test_a_step_back_over_which_nothing_was_written_leaves_what_is_undone(
    device: RollbackDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    device.use_b()
    device.start(OLD)
    device.start(NEW)
    capsys.readouterr()
    device.start(OLD)
    assert (device.backing / "undone/own").read_text() == "b", "that of the step back before"
    assert "with its data; nothing was written since\n" in capsys.readouterr().err
    assert device.exact() == device.a


@pytest.mark.parametrize(("previous", "told"), [(NEW, True), (OLD, False)])
def test_a_step_back_whose_end_was_cut_off_is_told_once(
    previous: str, told: bool, device: RollbackDevice, tmp_path: Path
) -> None:
    """Cut off after the older layer was in its place, and before its notes were, or after."""
    device.use_b()
    backing = hold(device.backing)
    stamp.write(backing, previous)
    frozen_at = device.backing / "frozen"
    device.upper.rename(frozen_at / "undoing")
    (frozen_at / "kept").rename(device.upper)
    shutil.rmtree(frozen_at / "upper")
    (frozen_at / "image").unlink()
    stamp.write(hold(frozen_at), OLD)
    if not told:
        (frozen_at / "image").unlink()
    (tmp_path / "state/var.rollback").unlink(missing_ok=True)
    request = Request(str(device.where), str(device.backing), str(device.backing), "ext4", rollback="yes")
    assert rollback.settle(request, backing, OLD, False)
    assert stamp.is_current(backing, OLD)
    assert (device.backing / "undone/own").read_text() == "b"
    assert (tmp_path / "state/var.rollback").exists() is told


@pytest.mark.parametrize(("commit_word", "good", "since", "due"), [
    ("good", NEW, 5, True), ("good", OLD, 5, False), ("good", "", 5, False),
    ("manual", NEW, 5, False), ("next-update", NEW, 5, False),
    ("100", NEW, 900, True), ("100", NEW, 901, False), ("100", NEW, 2000, False), ("nonsense", NEW, 5, False),
])  # fmt: skip
def test_when_the_newer_data_are_there_to_stay(
    commit_word: str, good: str, since: int, due: bool, device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    (device.backing / "good").write_text(f"TIME={since}\n{good}")
    request = Request("/var", "/b", "/b", rollback="yes", commit=commit_word)
    backing = hold(device.backing)
    assert rollback._is_committed(request, backing, NEW) is due
    assert not rollback._is_committed(request, backing, "")
    (device.backing / "commit").touch()
    assert rollback._is_committed(request, backing, "")


def test_on_a_disk_that_is_nearly_full_what_can_be_made_again_goes_first(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.use_b()
    fill(device.backing, "trash/0/x", "contents.new", "dropped.old", "spare/0")
    (device.backing / "commit").touch()
    monkeypatch.setattr(rollback, "is_low", lambda _backing: True)
    gone: list[str] = []
    remove = tree.remove

    def note(folder: object, name: str) -> bool:
        gone.append(name)
        return remove(folder, name)  # type: ignore[arg-type]

    monkeypatch.setattr(rollback, "remove", note)
    device.start()
    assert gone == ["trash", "contents.new", "dropped.old", "spare"]


def test_an_image_without_it_leaves_no_empty_directory(device: RollbackDevice) -> None:
    assert (device.backing / "frozen/upper").is_dir()
    device.boot()
    assert not (device.backing / "frozen").exists()
    assert device.shown("mine") == "mine"


def test_with_one_layer_in_the_way_a_directory_is_passed_through_after_a_fold(device: RollbackDevice) -> None:
    device.use_b()
    fill(device.backing / "frozen/upper", "lib/docker/older=a")
    device.start(direct=("lib/docker",))
    assert not (device.backing / "frozen/image").exists()
    assert [path.name for path in device.backing.glob("direct/*/older")] == ["older"]


def test_word_of_it_that_can_not_be_left_costs_nothing(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rollback, "write", fail)
    device.start(NEW)
    assert f"{device.where}: No space left on device" in capsys.readouterr().err
    assert (device.backing / "frozen/image").exists()


def test_what_was_done_is_left_for_programs(device: RollbackDevice, tmp_path: Path) -> None:
    def event() -> str:
        return (tmp_path / "state/var.rollback").read_text().splitlines()[0]

    device.start(NEW)
    assert event() == 'EVENT="frozen"'
    (device.backing / "commit").touch()
    device.start()
    assert event() == 'EVENT="folded"'
    Device.identity = UNKNOWN
    device.start()
    assert event() == 'EVENT="refused"'


def test_an_image_that_nobody_knows_is_not_marked_as_good(device: RollbackDevice) -> None:
    device.start(NEW)
    (device.backing / "image").write_text("")
    commit.mark(hold(device.backing))
    assert not (device.backing / "good").exists()
    (device.backing / "good").write_text(f"TIME=5\n{OLD}")
    commit.mark(hold(device.backing))
    assert (device.backing / "good").read_text() == f"TIME=5\n{OLD}", "what was good stays so"


def test_a_disk_that_can_not_be_marked_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def do_for_each(act: object, fail: "Callable[[str, OSError], object]") -> int:
        assert act is commit.mark
        fail("/b", OSError(5, "Input/output error", "/b/good"))
        return 1

    monkeypatch.setattr(commit, "do_for_each", do_for_each)
    assert commit.mark_all() == 1
    assert capsys.readouterr().err == "<3>/b: this boot can't be marked as good: /b/good: Input/output error\n"
