# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is made on top of an upper layer that was frozen: at once, again after a half, and what is told of it."""

import errno
import os
import posix
import shutil
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import freeze, frozen, imagechange, imagenames, policy, stamp, upper
from overlay_prepare.folder import Folder
from overlay_prepare.request import Request
from persistentdevice import NEW, OLD, Device, pretend
from rollbackdevice import RollbackDevice, make
from tree import ORIGIN, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RollbackDevice:
    pretend(tmp_path, monkeypatch)
    return make(tmp_path)


def update(device: RollbackDevice, *entries: str, image: str = NEW) -> None:
    """The upper layer is frozen, and an image that has `entries` as well is there."""
    freeze.freeze(hold(device.backing), OLD, image)
    shutil.rmtree(device.where)
    fill(device.where, "conf=2", "lib/app/one=2", "o/x=2", *entries)
    Device.identity = image


def finish(device: RollbackDevice, word: str = "keep", previous: str = OLD, image: str = NEW) -> None:
    backing = str(device.backing)
    request = Request(str(device.where), backing, backing, "ext4", policy=word, rollback="yes")
    freeze.finish(request, hold(backing), hold(device.backing / "frozen"), previous, image, word)


# What the image has as well, the policy, whether there are two trees, and what is told at the end.
CASES = [
    ((), "keep", False, ""), (("o/new=2",), "keep", True, ""), ((), "reset", True, ""),
    ((), "prune", True, "2 dropped by Policy=prune, see {}/dropped; a step back brings them again"),
    ((), "refresh", True, "1 dropped by Policy=refresh, see {}/dropped; a step back brings them again"),
]  # fmt: skip


@pytest.mark.parametrize(("entries", "word", "two", "told"), CASES)
def test_what_was_dropped_is_told_and_nothing_else(
    entries: "tuple[str, ...]", word: str, two: bool, told: str, device: RollbackDevice,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    update(device, *entries)
    capsys.readouterr()
    finish(device, word)
    line = f"<5>{device.where}: {told.format(device.backing)}\n"
    assert capsys.readouterr().err == (line if told else "")
    assert (device.backing / "dropped").exists() is bool(told)
    assert (device.backing / "frozen/kept").exists() is two
    assert not (device.backing / "frozen/making").exists()
    # Again, as after a power cut: nothing is dropped once more.
    finish(device, word)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("image", "title"), [
    (NEW, "IMAGE_VERSION=2"), ("IMAGE_ID=x\nVERSION=3\nBUILD_ID=7\nsquashfs=0:aa\n", "IMAGE_ID=x BUILD_ID=7"),
    ("squashfs=0:aa\n", "another image"),
])  # fmt: skip
def test_the_list_of_what_was_dropped_names_the_image(image: str, title: str, device: RollbackDevice) -> None:
    update(device, image=image)
    finish(device, "prune", image=image)
    assert device.read("dropped").startswith(f"# prune: {title}\n/")


def test_what_a_policy_could_not_do_is_told(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(policy, "apply", lambda *_: (0, "not all of it", True))
    update(device)
    capsys.readouterr()
    finish(device, "refresh")
    assert capsys.readouterr().err == f"<4>{device.where}: Policy=refresh: not all of it\n"


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSPC])
def test_a_second_tree_that_can_not_be_made_is_told_alone(
    number: int, device: RollbackDevice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("overlay_prepare.shadow.link_tree", refuse)
    update(device)
    before = read_tree(device.backing / "frozen/kept")
    capsys.readouterr()
    finish(device, "prune")
    text = f"Policy=prune drops nothing, and nothing is opened: {os.strerror(number)}"
    assert capsys.readouterr().err == f"<4>{device.where}: {text}\n"
    assert read_tree(device.backing / "frozen/upper") == before


def test_files_keep_in_the_second_tree_what_they_have_in_the_first(device: RollbackDevice) -> None:
    os.setxattr(device.upper / "lib/app/one", ORIGIN, b"x")
    update(device, "o/new=2")
    finish(device)
    for name in ("kept", "upper"):
        assert os.getxattr(device.backing / "frozen" / name / "lib/app/one", ORIGIN) == b"x"


def test_without_a_list_of_the_names_before_nobody_knows_what_is_new(device: RollbackDevice) -> None:
    (device.backing / "names").unlink()
    update(device, "o/new=2")
    finish(device)
    assert not (device.backing / "frozen/kept").exists()


@pytest.mark.parametrize("word", ["keep", "prune"])
def test_what_a_power_cut_has_left_of_it_goes(word: str, device: RollbackDevice) -> None:
    update(device)
    fill(device.backing / "frozen", "making/upper/half")
    finish(device, word)
    assert not (device.backing / "frozen/making").exists()
    assert "half" not in read_tree(device.backing / "frozen/upper")


def test_an_upper_layer_that_is_there_is_made_fit(device: RollbackDevice) -> None:
    update(device)
    finish(device)
    fill(device.upper, "own=b")
    device.upper.chmod(0o750)
    os.setxattr(device.upper / "own", ORIGIN, b"x")
    finish(device)
    assert (device.upper / "own").read_text() == "b"
    assert ORIGIN not in os.listxattr(device.upper / "own")
    assert device.upper.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("again", [False, True])
def test_the_stamp_is_written_when_all_else_is_on_the_disk(
    again: bool, device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a second tree only the last notes are flushed by themselves."""
    update(device)
    if again:
        finish(device)
    done: list[str] = []
    rename = posix.rename

    def note(source: str, target: str, **options: int) -> None:
        rename(source, target, **options)
        done.append(target)

    (device.backing / "rollback").unlink()
    monkeypatch.setattr(posix, "rename", note)
    monkeypatch.setattr(posix, "sync", lambda: done.append("sync"))
    monkeypatch.setattr(Folder, "sync", lambda _self: done.append("fsync"))
    finish(device)
    made = ["sync", "uuids", "fsync"] if again else ["upper", "upper", "uuids"]
    assert done == [*made, "rollback", "sync", "names", "fsync", "image", "fsync"]


def test_a_second_tree_is_on_the_disk_before_it_has_its_name(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    update(device, "o/new=2")
    done: list[str] = []
    rename = posix.rename

    def note(source: str, target: str, **options: int) -> None:
        rename(source, target, **options)
        done.append(target)

    monkeypatch.setattr(posix, "rename", note)
    monkeypatch.setattr(posix, "sync", lambda: done.append("sync"))
    finish(device)
    assert done[done.index("upper") - 1] == "sync"


def test_all_its_notes_are_of_the_new_image(device: RollbackDevice) -> None:
    shutil.rmtree(device.backing / "lower")
    update(device, "lib/more=2")
    (device.backing / "uuids").unlink()
    finish(device)
    backing = hold(device.backing)
    assert stamp.is_current(backing, NEW)
    assert stamp.read_uuids(backing) is not None
    assert frozen.can_step_back(backing, NEW)
    assert set(imagenames.read_all(backing) or []) >= {"lib/more", "lib/docker/base"}, "those of both images"
    assert (device.backing / "lower").is_dir()


@pytest.mark.parametrize(("module", "name", "told"), [
    (imagenames, "write", "the image's names are not noted: Input/output error"), (frozen, "mark_capable", ""),
])  # fmt: skip
def test_a_note_that_is_not_needed_for_the_boot_may_fail(
    module: object, name: str, told: str, device: RollbackDevice, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(*_: object, **_words: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    update(device)
    capsys.readouterr()
    monkeypatch.setattr(module, name, fail)
    finish(device)
    assert capsys.readouterr().err == (f"<4>{device.where}: {told}\n" if told else "")
    assert stamp.is_current(hold(device.backing), NEW)


def test_what_the_new_layer_can_not_have_of_the_old_one_is_told(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(freeze, "make_like", lambda *words: [*upper.make_like(*words), "no label"])
    update(device)
    capsys.readouterr()
    finish(device)
    assert capsys.readouterr().err == "<4>no label\n"


@pytest.mark.parametrize(("previous", "runs"), [(OLD, True), (NEW, False)])
def test_services_that_run_once_for_each_image_run_after_a_step(
    previous: str, runs: bool, device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagechange, "UPDATABLE", (str(device.where),))
    fill(device.upper, ".updated=a")
    update(device)
    finish(device, previous=previous)
    assert (device.upper / ".updated").is_char_device() is runs, "the frozen layer's mark is hidden"
