# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An upper layer that outlives the boot: a whole update, also interrupted at each call and done again."""

import errno
import gc
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hold import hold
from lossydisk import WAYS, cut_off_lossy
from overlay_generator.names import backing_name
from overlay_prepare import fitness, identity, persistent, stamp
from overlay_prepare.folder import Folder
from overlay_prepare.report import Unusable
from persistentdevice import NEW, OLD, Device, pretend
from powercut import cut_everywhere, cut_off
from preparens import run_prepare
from tree import ORIGIN, dig, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
POLICIES = ("keep", "refresh", "prune", "reset")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    found = Device(tmp_path)
    found.boot()
    found.use()
    return found


def test_a_boot_with_the_same_image_changes_nothing(device: Device) -> None:
    before = read_tree(device.upper)
    device.boot("prune")
    assert read_tree(device.upper) == before
    assert os.listdir(device.backing / "work/work") == [], "what the kernel would clear away"


# What the upper layer has after the update: the user's files, by policy.
LEFT = {
    "keep": {"mine", "lib/app/one", "lib/app/two", "o/own", "o/x", "conf", "lib/docker/layer"},
    "refresh": {"mine", "lib/app/one", "lib/app/two", "o/own", "o/x", "lib/docker/layer"},
    "prune": {"mine", "o/own", "lib/docker/layer"},
    "reset": set(),
}
DROPPED = {"refresh": "1 entry", "prune": "3 entries"}


@pytest.mark.parametrize("policy", POLICIES)
def test_an_update_does_what_the_policy_says(policy: str, device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.update()
    device.boot(policy)
    files = {path.relative_to(device.upper).as_posix() for path in device.upper.rglob("*") if not path.is_dir()}
    assert files == LEFT[policy]
    assert not [path for path in device.upper.rglob("*") if path.is_file() and ORIGIN in os.listxattr(path)]
    assert stamp.is_current(hold(device.backing), NEW)
    said = capsys.readouterr().err.splitlines()
    assert all(line.startswith(f"<5>{device.where}: ") for line in said)
    lines = [line[len(f"<5>{device.where}: ") :] for line in said]
    # Each of these is an event of its own.
    reset = ["another image; the upper layer is empty"] if policy == "reset" else []
    what = "nothing in the upper layer refers to the old one" if reset else " taken out of the upper layer"
    count = DROPPED.get(policy)
    dropped = [f"{count} dropped by Policy={policy}, see {device.backing}/dropped"] if count else []
    changed = lines[len(reset)]
    assert lines == [*reset, changed, *dropped]
    assert changed.startswith("another image; ")
    assert changed.endswith(what)
    assert (device.backing / "dropped").exists() is (policy in ("refresh", "prune"))
    before = read_tree(device.upper)
    device.boot(policy)
    assert read_tree(device.upper) == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("policy", POLICIES)
def test_on_a_guess_nothing_is_dropped(policy: str, device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    """If a root is not on a disk of its own, and nothing names it, nobody knows whether it is another one."""
    before = {path.relative_to(device.upper).as_posix() for path in device.upper.rglob("*") if not path.is_dir()}
    device.update()
    Device.identity = "on=overlay\n"
    device.boot(policy)
    said = capsys.readouterr().err.splitlines()
    # An opaque directory is opened for what is new in the image, by whiteouts.
    assert before <= {path.relative_to(device.upper).as_posix() for path in device.upper.rglob("*")}
    assert not (device.backing / "dropped").exists()
    assert stamp.is_current(hold(device.backing), "on=overlay\n")
    told = [line for line in said if f"whether this is another image can't be told, so Policy={policy} drops" in line]
    assert len(told) == (policy != "keep")
    device.boot(policy)
    again = capsys.readouterr().err
    doubt = (
        f"<5>{device.where}: the next image may be taken for this one, as it is not a file system on a disk of its own"
    )
    assert again.startswith(doubt) if policy != "keep" else again == ""


@pytest.mark.parametrize("policy", ["refresh", "prune", "reset"])
def test_of_an_upper_layer_whose_past_nobody_knows_nothing_is_dropped(policy: str, device: Device) -> None:
    (device.backing / "image").unlink()
    device.update()
    device.boot(policy)
    assert (device.upper / "conf").exists()
    assert (device.upper / "lib/app/one").read_text() == "mine"


def test_the_policy_reset_leaves_what_is_passed_through(device: Device) -> None:
    device.boot(direct=("lib/docker",))
    device.update()
    device.boot("reset", direct=("lib/docker",))
    (made,) = (device.backing / "direct").iterdir()
    assert sorted(os.listdir(made)) == ["base", "layer"]
    assert (made / "base").read_text() == "1"


def test_a_policy_that_fails_is_told_and_the_boot_goes_on(
    device: Device, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(5, "Input/output error", "/x")

    monkeypatch.setattr("overlay_prepare.policy._prune", refuse)
    device.update()
    device.boot("prune")
    again = "it is tried again at the next boot"
    assert f"<4>{device.where}: Policy=prune: /x: Input/output error; {again}\n" in capsys.readouterr().err
    assert not stamp.is_current(hold(device.backing), NEW)
    monkeypatch.undo()
    pretend(device.where.parent, monkeypatch)
    Device.identity = NEW
    device.boot("prune")
    assert not (device.upper / "conf").exists()
    assert stamp.is_current(hold(device.backing), NEW)


@pytest.mark.parametrize("policy", POLICIES)
def test_an_update_cut_off_at_any_call_comes_to_the_same(policy: str, tmp_path: Path) -> None:
    made: list[Device] = []

    def prepare() -> "Callable[[], object]":
        Device.identity = OLD
        made.append(Device(tmp_path / str(len(made))))
        made[-1].boot(policy)
        made[-1].use()
        made[-1].update()
        return lambda: made[-1].boot(policy)

    assert cut_everywhere(prepare, lambda: made[-1].layers()) > 15
    if policy != "reset":
        assert (made[-1].upper / "mine").read_text() == "mine"


def test_back_on_the_old_image_after_a_cut_nothing_of_the_user_s_is_lost(tmp_path: Path) -> None:
    """A device that can't start the new image boots the old one again, wherever the update of /var was cut off."""
    for after in range(0, 40, 3):
        Device.identity = OLD
        device = Device(tmp_path / str(after))
        device.boot()
        device.use()
        device.update()
        if cut_off(device.boot, after):
            break
        shutil.rmtree(device.where)
        fill(device.where, "conf=1", "lib/app/one=1", "lib/app/two=1", "o/x=1")
        Device.identity = OLD
        touched = not stamp.is_current(hold(device.backing), OLD)
        device.boot()
        assert (device.upper / "lib/app/one").read_text() == "mine"
        assert (device.upper / "lib/app/two").is_char_device()
        assert (device.upper / "o/own").read_text() == "mine"
        assert touched is (ORIGIN not in os.listxattr(device.upper / "lib/app/one"))
        assert stamp.is_current(hold(device.backing), OLD)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("policy", POLICIES)
def test_an_update_whose_unsynced_half_is_lost_comes_to_the_same(policy: str, way: str, tmp_path: Path) -> None:
    made: list[Device] = []

    def prepare() -> "Callable[[], object]":
        Device.identity = OLD
        made.append(Device(tmp_path / str(len(made))))
        made[-1].boot(policy)
        made[-1].use()
        made[-1].update()
        return lambda: made[-1].boot(policy)

    def look() -> object:
        log = made[-1].backing / "dropped"
        lines = log.read_text().splitlines() if log.exists() else []
        assert not [line for line in lines if not line.startswith(("# ", "/", "deleted /"))], "torn"
        return made[-1].layers(), {line.replace(str(made[-1].where), "") for line in lines}

    assert cut_everywhere(prepare, look, lambda step, after: cut_off_lossy(step, after, way, tmp_path)) > 15


@pytest.mark.parametrize("policy", POLICIES)
def test_back_on_the_old_image_nothing_is_dropped_for_that_one(policy: str, device: Device) -> None:
    """Power was cut when the change had been noted, and the new image is not booted again."""
    stamp.mark_changing(hold(device.backing))
    before = {path: what[:4] for path, what in read_tree(device.upper).items()}
    device.boot(policy)
    assert {path: what[:4] for path, what in read_tree(device.upper).items()} == before
    assert stamp.is_current(hold(device.backing), OLD)


def test_what_a_power_cut_left_half_written_goes(device: Device, tmp_path: Path) -> None:
    litter = {"probe", "image.new", "names.new", "uuids.new", "contents.new", "upper.new-by-overlay-generator"}
    fill(device.backing, *(name if name.endswith(".new") else f"{name}/in/it" for name in litter))
    before = set(os.listdir(device.backing)) - litter
    device.boot()
    assert set(os.listdir(device.backing)) == before
    fill(device.backing, "contents.new")
    fill(tmp_path, "state/var.json")
    device.boot()
    assert (device.backing / "contents.new").exists(), "of a process that is still at work"


def test_files_that_an_image_no_longer_passes_through_are_told(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    device.boot(direct=("lib/docker",))
    assert capsys.readouterr().err == ""
    device.boot()
    (made,) = (device.backing / "direct").iterdir()
    said = f"is not passed through by this image; what was written there is in {made}"
    assert capsys.readouterr().err == f"<4>{device.where}/lib/docker {said}\n"


@pytest.mark.parametrize("fallback", ["", "size=25%"])
def test_a_work_directory_that_can_not_be_used(
    fallback: str, device: Device, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory takes its place if the owner said nofail; else what was written can at least be read."""

    def refuse(_backing: str) -> None:
        raise Unusable("work can't be used")

    monkeypatch.setattr(fitness, "check_work", refuse)
    if fallback:
        with pytest.raises(Unusable):
            device.boot(fallback=fallback)
    else:
        device.boot()
        assert capsys.readouterr().err == f"<3>{device.where}: work can't be used\n"


@pytest.mark.parametrize("full", [False, True])
def test_a_work_directory_that_can_be_replaced(
    full: bool, device: Device, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a full disk a new one could not be used either, and the old one stays."""
    error = Unusable("work can't be used")
    error.__cause__ = OSError(errno.ENOSPC if full else errno.EIO, "")
    real = fitness.check_work
    before = (device.backing / "work").stat().st_ino

    def refuse(backing: Folder) -> None:
        if (device.backing / "work").stat().st_ino == before:
            raise error
        real(backing)

    monkeypatch.setattr(fitness, "check_work", refuse)
    device.boot()
    said = capsys.readouterr().err
    assert ((device.backing / "work").stat().st_ino == before) is full
    assert (device.backing / "work").stat().st_mode & 0o777 == 0o700
    note = f"<3>{device.where}: work can't be used\n"
    assert said == (note if full else f"<4>{device.where}: work can't be used; a new one takes its place\n")


@pytest.mark.parametrize("case", [*POLICIES, "direct", "all\n", "path /VAR/o/x\n", "all\nkeep /VAR/lib/app/one\n"])
def test_nothing_stays_open(case: str, device: Device) -> None:
    """A disk can't be unmounted as long as something on it is open, and prepare leaves a process behind."""
    if "\n" in case:
        device.stage(case)
    device.update()
    before = _list_open()
    device.boot(case if case in POLICIES else "keep", direct=("lib/docker",) if case == "direct" else ())
    assert _list_open() == before


def _list_open() -> "list[str]":
    gc.collect()
    return sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd))


def _is_open(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}") and not os.readlink(f"/proc/self/fd/{fd}").startswith("/proc/")


UUIDS: "list[tuple[list[str | None], str]]" = [
    (["a", "b"], "a\nb\n"),  # references to both may be there
    (["a", "b", "a"], "a\n"),  # the third finds those of the first, and all were taken out
    (["a", "a"], "a\n"),
    ([None, "b"], "b\n"),
    (["a", ""], "a\n"),
]


@pytest.mark.parametrize(("images", "noted"), UUIDS)
def test_what_references_may_carry_is_noted(
    images: "list[str | None]", noted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(tmp_path / "another")
    monkeypatch.setattr("posix.uname", lambda: os.uname_result(("Linux", "", "5.10.0-1", "", "")))
    for number, uuid in enumerate(images):
        monkeypatch.setattr(identity, "find_uuid", lambda _where, uuid=uuid: uuid)
        Device.identity = f"IMAGE_VERSION={number}\n"
        device.boot()
    assert (device.backing / "uuids").read_text() == noted


@pytest.mark.parametrize(("release", "every"), [("5.9.16", True), ("5.10.0", False), ("6.1.0-1", False), ("x", True)])
def test_an_old_kernel_follows_references_without_a_uuid(
    release: str, every: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posix.uname", lambda: os.uname_result(("Linux", "", release, "", "")))
    assert persistent._may_be_followed(["a"], "") is every
    assert persistent._may_be_followed(["a"], "b") is False
    assert persistent._may_be_followed(["a"] * 64, "b") is False
    assert persistent._may_be_followed(["a"] * 65, "b") is True
    assert persistent._may_be_followed(["a"], "a") is True


def test_a_file_that_can_not_be_changed_costs_no_boot(device: Device) -> None:
    """Immutable, as chattr(1) makes it; before Linux 5.15 it could be made so through the overlay."""
    path = device.upper / "lib/app/one"
    if subprocess.run(["chattr", "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("no file can be made immutable here")
    try:
        device.update()
        for policy in ("keep", "prune"):
            device.boot(policy)
        assert path.read_text() == "mine"
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


NOTES = {
    "image": "IMAGE_VERSION=" + "9" * 5000 + "\n",
    "image ": "IMAGE_VERSION=\u00b2a\n",
    "names": "../../x\n",
    "names ": "o/a\0b\n",
    "uuids": "\0\n/\n",
}


@pytest.mark.parametrize("fallback", ["", "size=25%"])
@pytest.mark.parametrize("note", NOTES)
def test_no_note_that_somebody_else_has_written_costs_a_boot(note: str, fallback: str, device: Device) -> None:
    (device.backing / note.strip()).write_text(NOTES[note])
    device.update()
    device.boot(fallback=fallback)
    assert read_tree(device.upper)["o/own"]
    device.boot(fallback=fallback)
    assert (device.backing / "image").read_text() == NEW


@pytest.mark.parametrize("policy", POLICIES)
def test_a_tree_deeper_than_any_path_costs_no_boot(policy: str, device: Device) -> None:
    fill(device.upper, "tmp/")
    dig(device.upper / "tmp", 60)
    device.update()
    try:
        device.boot(policy)
        assert stamp.is_current(hold(device.backing), NEW)
    finally:
        os.system(f"rm -rf '{device.backing}'")  # what shutil can't


def test_the_real_program_goes_the_whole_way(tmp_path: Path, prefix: Path) -> None:
    where, backing = fill(tmp_path / "var", "conf=1", "lib/docker/base"), tmp_path / "backing"
    backing.mkdir()
    done = run_prepare(
        prefix, where, backing, f"--direct={where}/lib/docker", after='ls /run/overlay-generator; cat "$0"'
    )
    assert done.returncode != 0 or done.stderr == ""
    names = {"direct", "image", "lower", "names", "upper", "uuids", "work"}
    assert names <= set(os.listdir(backing))
    assert os.listdir(backing / "direct") == [backing_name(f"{where}/lib/docker")]
