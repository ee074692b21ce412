# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An upper layer that outlives the boot: what is told of each step, and what a step that fails costs."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import (
    events,
    fitness,
    imagechange,
    imagenames,
    labels,
    normalise,
    opaque,
    passthrough,
    persistent,
    policy,
    report,
    rollback,
    stamp,
)
from overlay_prepare.folder import Folder
from overlay_prepare.report import Unusable
from overlay_prepare.request import Request
from persistentdevice import NEW, OLD, Device, pretend
from tree import ORIGIN, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
Told = list[tuple[str, dict[str, str]]]


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    pretend(tmp_path, monkeypatch)
    found = Device(tmp_path)
    found.boot()
    found.use()
    return found


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What becomes an event of the journal, beside a line of stderr."""
    found: Told = []

    def note(event: str, level: int, text: str, fields: "dict[str, str]") -> None:
        found.append((event, fields))
        report.tell(event, level, text, fields)

    monkeypatch.setattr(persistent, "tell", note)
    return found


def fail(*_words: object, **_named: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def ask(device: Device, word: str = "keep") -> Request:
    return Request(str(device.where), str(device.backing), str(device.backing), policy=word)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("rollback_word", ["no", "yes"])
def test_the_first_boot_says_nothing_and_is_done(
    rollback_word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(tmp_path, monkeypatch)
    device = Device(tmp_path)
    device.boot("prune", rollback=rollback_word)
    assert capsys.readouterr().err == ""
    assert stamp.is_current(hold(device.backing), OLD)
    assert read(device.backing / "rollback") == (OLD if rollback_word == "yes" else "")


def test_what_programs_were_told_of_the_system_before_goes(device: Device, tmp_path: Path) -> None:
    """A soft reboot leaves /run as it is."""
    fill(tmp_path / "state", "var.changed", "var.rollback")
    device.boot(rollback="yes")
    assert not {"var.changed", "var.rollback"} & set(os.listdir(tmp_path / "state"))


@pytest.mark.parametrize(("word", "frozen", "settles"), [
    ("no", False, False), ("no", True, True), ("yes", False, True), ("hold", True, True),
])  # fmt: skip
def test_who_has_nothing_to_do_with_rollback_does_not_load_it(
    word: str, frozen: bool, settles: bool, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    def settle(request: Request, _backing: Folder, _image: str, _staged: bool) -> bool:
        called.append(request.rollback)
        return True

    monkeypatch.setattr(rollback, "settle", settle)
    if frozen:
        fill(device.backing, "frozen/upper/")
    device.boot(rollback=word)
    assert called == ([word] if settles else [])


@pytest.mark.parametrize("staged", [False, True])
def test_two_layers_are_in_the_way_of_a_reset_alone(
    staged: bool, device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rollback, "settle", lambda *_: False)
    if staged:
        device.stage("all\n")
    device.boot(rollback="yes")
    text = f"<3>{device.backing}/reset: what an update has frozen can't be folded; nothing is reset\n"
    assert capsys.readouterr().err == (text if staged else "")
    assert (device.backing / "reset.refused").exists() is staged
    assert not (device.backing / "reset").exists()
    assert (device.upper / "mine").exists()


def test_layers_that_are_missing_are_made_also_for_the_same_image(device: Device) -> None:
    shutil.rmtree(device.backing / "lower")
    device.boot()
    assert (device.backing / "lower").is_dir()


@pytest.mark.parametrize("name", ["upper", "work", "lower", "trash", "direct", "direct/one"])
def test_what_is_no_directory_is_put_aside_before_anything_else(name: str, device: Device) -> None:
    path = device.backing / name
    if path.exists():
        shutil.rmtree(path)
    fill(device.backing, f"{name}=x")
    device.boot()
    assert (device.backing / f"{name}.refused").read_text() == "x"
    assert not path.is_file()


def test_a_link_to_a_directory_is_none(device: Device) -> None:
    fill(device.backing, "direct/two/", "direct/link>two")
    device.boot()
    assert sorted(os.listdir(device.backing / "direct")) == ["link.refused", "two"]


def test_only_a_disk_with_another_image_is_tried(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise Unusable("it is no disk for that")

    monkeypatch.setattr(fitness, "probe", refuse)
    device.boot()
    device.update()
    with pytest.raises(Unusable, match="it is no disk for that"):
        device.boot()


@pytest.mark.parametrize(("image", "disk", "lacking"), [
    (True, False, True), (True, True, False), (False, False, False), (False, True, False),
])  # fmt: skip
def test_a_disk_that_keeps_no_acls_of_the_image_is_told(
    image: bool, disk: bool, lacking: bool, device: Device, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(fitness, "keeps_acls", lambda path: image if path == str(device.where) else disk)
    device.boot()
    assert capsys.readouterr().err == ""
    device.update()
    device.boot()
    text = f"<4>{device.where}: its disk keeps no ACLs: what has one in the image can't be changed\n"
    assert capsys.readouterr().err.startswith(text) is lacking


def test_room_is_kept_at_each_boot_or_it_is_told(
    device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: list[str] = []
    monkeypatch.setattr(persistent, "keep_room", lambda backing: kept.append(backing.path))
    device.boot()
    assert kept == [str(device.backing)]
    monkeypatch.setattr(persistent, "keep_room", fail)
    device.boot()
    text = "no inodes are set aside for the overlay itself: Input/output error"
    assert capsys.readouterr().err == f"<4>{device.where}: {text}\n"


@pytest.mark.parametrize(("module", "name", "text", "done"), [
    (passthrough, "list_others", "Input/output error", True),
    (opaque, "reveal", "not all that the image adds is shown, until the next boot: Input/output error", False),
    (imagenames, "write", "the image's names are not noted: Input/output error", True),
    (stamp, "write", "all of it is done once more at the next boot: Input/output error", False),
])  # fmt: skip
def test_a_step_that_fails_costs_no_boot(
    module: object, name: str, text: str, done: bool, device: Device, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    fill(device.backing, "direct/")
    device.update()
    names = read(device.backing / "names")
    with monkeypatch.context() as patched:
        if name == "write" and module is stamp:
            stamp.mark_changing(hold(device.backing))
            patched.setattr(stamp, "mark_changing", lambda *_: None)
        patched.setattr(module, name, fail)
        device.boot()
    assert f"<4>{device.where}: {text}\n" in capsys.readouterr().err
    assert stamp.is_current(hold(device.backing), NEW) is done
    if name == "reveal":
        assert read(device.backing / "names") == names, "they still tell what is new"
    device.boot()
    assert f"<4>{device.where}: " not in capsys.readouterr().err
    assert stamp.is_current(hold(device.backing), NEW)


def test_the_next_step_back_that_can_not_be_noted_is_told(
    device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("overlay_prepare.frozen.mark_capable", fail)
    device.boot(rollback="yes")
    assert capsys.readouterr().err == f"<4>{device.where}: the next update will not be frozen: Input/output error\n"


@pytest.mark.parametrize("word", ["keep", "prune"])
def test_an_image_before_that_can_not_be_read_is_told(
    word: str, device: Device, told: Told, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stamp, "read_previous", fail)
    assert persistent._find_previous(ask(device, word), hold(device.backing)) == ""
    done = ", and Policy=prune is not carried out" if word == "prune" else ""
    text = f"nobody knows what image was there before{done}: Input/output error"
    assert capsys.readouterr().err == f"<4>{device.where}: {text}\n"
    fields = {"where": str(device.where), "policy": word, "reason": "Input/output error"}
    assert told == ([(events.POLICY_NOT_DONE, fields)] if done else [])


def test_what_is_done_is_done_in_this_order(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut at any moment leaves the note that it is changing, or all of it done."""
    done: list[str] = []

    def watch(module: object, name: str) -> None:
        call = getattr(module, name)

        def note(*words: object, **named: object) -> object:
            changing = read(device.backing / "image").startswith("changing\n")
            done.append(name + (" while it changes" if changing else ""))
            return call(*words, **named)

        monkeypatch.setattr(module, name, note)

    device.update()
    for module, name in (
        (normalise, "normalise"), (fitness, "check_work"), (policy, "apply"), (opaque, "reveal"),
        (imagechange, "forget_updated"), (stamp, "write_uuids"), (imagenames, "write"), (stamp, "write"),
        (imagechange, "announce"),
    ):  # fmt: skip
        watch(module, name)
    monkeypatch.setattr("posix.sync", lambda: done.append("sync"))
    device.boot("prune")
    changing = " while it changes"
    assert done == [
        "write", f"normalise{changing}", f"check_work{changing}", f"apply{changing}", f"reveal{changing}",
        f"forget_updated{changing}", "sync", f"write_uuids{changing}", f"write{changing}", f"write{changing}",
        "announce", "check_work",
    ]  # fmt: skip


def test_without_another_image_services_that_run_once_for_each_do_not_run(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[object] = []
    monkeypatch.setattr(imagechange, "forget_updated", lambda *words: called.append(words[0]))
    stamp.mark_changing(hold(device.backing))
    device.boot()
    (device.backing / "image").unlink()
    device.boot()
    assert called == []
    device.update()
    device.boot()
    assert called == [str(device.where)]


@pytest.mark.parametrize(("word", "data"), [("no", ""), ("yes", 'DATA="kept"\n')])
def test_programs_are_told_what_became_of_the_data(word: str, data: str, device: Device, tmp_path: Path) -> None:
    device.update()
    device.boot(rollback=word)
    text = read(tmp_path / "state/var.changed")
    assert text.startswith('FROM_ID=""\n')
    assert text.endswith(f'STEP_BACK="no"\n{data}')


def test_references_that_are_taken_out_for_the_same_image_are_told(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    stamp.mark_changing(hold(device.backing))
    device.boot()
    text = "another image; 1 reference to the old one was taken out of the upper layer"
    assert capsys.readouterr().err == f"<5>{device.where}: {text}\n"
    assert ORIGIN not in os.listxattr(device.upper / "lib/app/one")


@pytest.mark.parametrize(("previous", "on"), [(OLD, True), (OLD, False), ("", True)])
def test_what_selinux_may_see_differently_is_told_after_an_update(
    previous: str, on: bool, device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(labels, "is_on", lambda: on)
    monkeypatch.setattr(labels, "follow", lambda *_: None)
    (device.backing / "image").write_text(previous)
    device.update()
    device.boot()
    told = f"restorecon -nrv {device.where} shows" in capsys.readouterr().err
    assert told is (on and bool(previous))


@pytest.mark.parametrize(("image", "title"), [
    (NEW, "IMAGE_VERSION=2"), ("IMAGE_ID=x\nVERSION=3\nBUILD_ID=7\nsquashfs=0:aa\n", "IMAGE_ID=x BUILD_ID=7"),
    ("squashfs=0:aa\n", "another image"),
])  # fmt: skip
def test_the_list_of_what_was_dropped_names_the_image(image: str, title: str, device: Device) -> None:
    device.update()
    assert persistent._apply_policy(ask(device), hold(device.backing), "prune", image) == (3, True)
    assert read(device.backing / "dropped").startswith(f"# prune: {title}\n/")


@pytest.mark.parametrize("word", ["keep", "reset"])
def test_where_no_policy_drops_single_files_none_is_dropped(word: str, device: Device) -> None:
    before = read_tree(device.upper)
    device.update()
    assert persistent._apply_policy(ask(device, word), hold(device.backing), word, NEW) == (0, True)
    assert read_tree(device.upper) == before


@pytest.mark.parametrize(("kept", "event"), [(True, True), (False, False)])
def test_what_a_policy_could_not_do_is_told(
    kept: bool, event: bool, device: Device, told: Told, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(policy, "apply", lambda *_: (2, "not all of it", kept))
    assert persistent._apply_policy(ask(device, "prune"), hold(device.backing), "prune", NEW) == (2, True)
    assert capsys.readouterr().err == f"<4>{device.where}: Policy=prune: not all of it\n"
    fields = {"where": str(device.where), "policy": "prune", "reason": "not all of it"}
    assert told == ([(events.POLICY_NOT_DONE, fields)] if event else [])


@pytest.mark.parametrize(("error", "text"), [
    (OSError(errno.EIO, os.strerror(errno.EIO), "/x"), "/x: Input/output error"),
    (OSError(errno.EIO, os.strerror(errno.EIO)), "{}: Input/output error"),
    (RecursionError("too deep"), "RecursionError: too deep"),
])  # fmt: skip
def test_a_policy_that_fails_is_told_with_the_path_and_tried_again(
    error: Exception, text: str, device: Device, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(policy, "apply", refuse)
    assert persistent._apply_policy(ask(device, "prune"), hold(device.backing), "prune", NEW) == (0, False)
    assert [fields["reason"] for _, fields in told] == [text.format(device.backing)]
