# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rollback=yes where what lies on the disk could be taken for something else: a freeze that was cut off and another
image, a fold that fails and is gone on with, notes that can't be read once. Each was wrong before its test was written.
"""

import errno
import os
import posix
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from overlay_prepare import frozen, stamp
from overlay_prepare.folder import Folder
from overlay_prepare.report import Unusable
from persistentdevice import NEW, OLD, Device, pretend
from powercut import cut_off
from rollbackdevice import THIRD, RollbackDevice, make
from tree import ORIGIN, fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
ENTRIES = {
    OLD: ("conf=1", "lib/app/one=1", "lib/app/two=1", "lib/docker/base=1", "o/x=1"),
    NEW: ("conf=2", "lib/app/one=2", "lib/app/two=2", "lib/app/new=2", "lib/docker/base=2", "o/x=2"),  # no o/new
    THIRD: ("conf=3", "lib/app/one=3", "lib/app/new=3", "lib/docker/base=3", "o/x=3", "o/new=3", "mine=3"),
}


OF_B = ("file", "more", "er")  # what the fold moves first


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch)


def boot(device: RollbackDevice, image: str, policy: str = "keep", rollback: str = "yes", **words: object) -> None:
    """Boot `image` with the settings that it has."""
    shutil.rmtree(device.where)
    fill(device.where, *ENTRIES[image])
    Device.identity = image
    device.boot(policy, rollback=rollback, **words)  # type: ignore[arg-type]


def each_cut(top: Path, image: str, policy: str = "keep") -> "Iterator[tuple[RollbackDevice, int]]":
    """A device whose first boot of `image` was cut off, at each of its calls."""
    after = 0
    while True:
        device = make(top / str(after))
        if cut_off(lambda: boot(device, image, policy), after):  # noqa: B023
            return
        if device.read("image") != image:  # else it has been booted, as far as a disk can tell
            yield device, after
        shutil.rmtree(top / str(after))
        after += 1


def fail(monkeypatch: pytest.MonkeyPatch, test: "Callable[[str], bool]", error: int = errno.EPERM) -> None:
    """Let renames fail: EPERM as of an immutable file."""
    rename = posix.rename

    def one(source: str, target: str, **options: int) -> None:
        if test(source):
            raise OSError(error, os.strerror(error))
        rename(source, target, **options)

    monkeypatch.setattr(posix, "rename", one)


def use_b(top: Path) -> RollbackDevice:
    """A device whose image B was booted, and used."""
    device = make(top)
    boot(device, NEW)
    fill(device.upper, "deep/er/file=b", "deep/er/more=b")
    return device


def boot_unfolded(
    device: RollbackDevice,
    image: str,
    monkeypatch: pytest.MonkeyPatch,
    names: "tuple[str, ...]" = OF_B,
    **words: object,
) -> None:
    """Boot `image` where the fold that is due fails, as `names` can't be renamed."""
    with monkeypatch.context() as patched:
        fail(patched, lambda source: source in names)
        boot(device, image, **words)  # type: ignore[arg-type]


# A freeze for B that was cut off, then image C: what was made for B is none of C's.


def test_what_the_third_image_adds_is_shown(tmp_path: Path) -> None:
    hidden = []
    for device, after in each_cut(tmp_path, NEW):
        boot(device, THIRD)
        hidden += [after] if device.shown("o/new") != "3" else []
    assert hidden == []


@pytest.mark.parametrize("policy", ["refresh", "prune", "reset"])
def test_the_policy_is_that_of_the_image_that_boots(policy: str, tmp_path: Path) -> None:
    kept = []
    for device, after in each_cut(tmp_path, NEW):
        boot(device, THIRD, policy)
        kept += [after] if device.shown("conf") != "3" else []
    assert kept == []


@pytest.mark.parametrize("how", ["commit", "no", "passthrough"])
def test_a_policy_of_an_image_that_never_ran_loses_nothing(how: str, tmp_path: Path) -> None:
    """B has Policy=reset, its first boot is cut off; C has keep, and folds: what A had goes to the trash."""
    gone = []
    for device, after in each_cut(tmp_path, NEW, "reset"):
        if how == "commit":
            boot(device, THIRD)
            (device.backing / "commit").touch()
            boot(device, THIRD)
        else:
            boot(device, THIRD, **({"rollback": "no"} if how == "no" else {"direct": ("lib/docker",)}))
        shutil.rmtree(device.backing / "trash", ignore_errors=True)
        gone += [after] if not list(device.backing.rglob("linked")) else []
    assert gone == []


def test_what_is_passed_through_takes_over_the_frozen_files(tmp_path: Path) -> None:
    """C passes lib/docker through, where there is only `kept` yet."""
    hidden = []
    for device, after in each_cut(tmp_path, NEW):
        boot(device, THIRD, direct=("lib/docker",))
        boot(device, THIRD, direct=("lib/docker",))
        hidden += [after] if not list(device.backing.glob("direct/*/layer")) else []
    assert hidden == []


# A fold that fails (an immutable file, EIO, a full disk) and is gone on with at a later boot.


def test_references_are_taken_out_once_it_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try must not note B: with `folding` there, nobody says 'changing' again."""
    device = use_b(tmp_path)
    (device.backing / "commit").touch()
    boot_unfolded(device, NEW, monkeypatch)
    boot(device, NEW)
    assert not (device.backing / "frozen/image").exists()
    assert ORIGIN not in os.listxattr(device.upper / "lib/app/one"), "a reference to an inode of image A"


def test_references_are_taken_out_also_after_a_file_was_immutable(tmp_path: Path) -> None:
    """The user has made a file immutable, and takes that back before the next boot."""
    device = make(tmp_path)
    boot(device, NEW)
    fill(device.upper, "mine=b")
    if subprocess.run(["chattr", "+i", device.upper / "mine"], capture_output=True, check=False).returncode:
        pytest.skip("this file system has no immutable files")
    (device.backing / "commit").touch()
    boot(device, NEW)
    for path in device.backing.rglob("mine"):
        subprocess.run(["chattr", "-i", path], check=True)
    boot(device, NEW)
    assert not (device.backing / "frozen/image").exists()
    assert ORIGIN not in os.listxattr(device.upper / "lib/app/one"), "a reference to an inode of image A"


def test_the_uuids_of_both_layers_stay_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = make(tmp_path)
    (device.backing / "uuids").write_text("aaaa\n")
    boot(device, NEW)
    fill(device.upper, "deep/er/file=b", "deep/er/more=b")
    (device.backing / "commit").touch()
    boot_unfolded(device, NEW, monkeypatch)
    boot(device, NEW)
    assert ORIGIN not in os.listxattr(device.upper / "lib/app/one") or "aaaa" in device.read("uuids").split()


@pytest.mark.parametrize("what", ["begun", "not begun"])
def test_the_third_image_gets_what_it_adds_and_its_policy(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again at the next boot, also where it had not begun: C is not noted before."""
    device = use_b(tmp_path)
    boot_unfolded(device, THIRD, monkeypatch, OF_B if what == "begun" else ("since",))
    boot(device, THIRD)
    boot(device, THIRD)
    assert device.shown("o/new") == "3"
    assert device.read("frozen/image") in ("", NEW), "image A is still frozen, two images ago"


def test_what_can_not_move_out_of_what_is_passed_through_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = use_b(tmp_path)
    boot_unfolded(device, THIRD, monkeypatch, direct=("lib/docker",))
    path = f"{device.where}/lib/docker"
    text = f"is passed through from now on; what was written there before stays in {device.backing}"
    assert f"<3>{path} {text}\n" in capsys.readouterr().err
    assert (device.backing / "frozen/upper/lib/docker/layer").exists()


# overlayfs.reset over B, cut off once `upper` is aside; a step back that has no newer layer, cut off; any image.


@pytest.mark.parametrize("last", [OLD, NEW, THIRD], ids=["a", "b", "c"])
def test_a_reset_that_was_cut_off_and_a_step_back(last: str, tmp_path: Path) -> None:
    wrong = []
    for first in range(4, 12):
        for second in range(14):
            top = tmp_path / f"{first}-{second}"
            device = make(top)
            boot(device, NEW)
            cut_off(lambda: device.boot(reset=True, rollback="yes"), first)  # noqa: B023
            if not (device.backing / "upper").exists() and (device.backing / "frozen/image").exists():
                cut_off(lambda: boot(device, OLD), second)  # noqa: B023
                boot(device, last)
                if last == OLD:
                    wrong += [(first, second)] if device.exact()[0] != device.a[0] else []
                else:
                    wrong += [(first, second)] if last == THIRD and device.shown("o/new") != "3" else []
                    wrong += [(first, second)] if last == NEW and device.read("frozen/image") not in ("", OLD) else []
            shutil.rmtree(top)
    assert wrong == []


# overlayfs.rollback=no keeps the newer data.


def test_hold_after_a_step_back_that_was_cut_off(tmp_path: Path) -> None:
    """It was only begun (`undoing`, and `kept` or `upper` in their place): take_back() could undo it."""
    gone = []
    for after in range(40):
        device = make(tmp_path / str(after))
        device.use_b()
        if cut_off(lambda: boot(device, OLD), after):  # noqa: B023
            break
        begun = (device.backing / "frozen" / frozen.UNDOING).exists() and not device.upper.exists()
        boot(device, OLD, rollback="hold")
        gone += [after] if begun and device.shown("own") != "b" else []
    assert gone == []


def test_hold_after_a_fold_for_hold_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = make(tmp_path)
    device.use_b()
    with monkeypatch.context() as patched:
        fail(patched, lambda source: source == "since", errno.EIO)
        boot(device, OLD, rollback="hold")
    assert device.shown("own") == "b"
    boot(device, OLD, rollback="hold")
    assert device.shown("own") == "b"


# Notes that can't be read, or names that can't be opened, once.


def test_an_error_of_reading_since_drops_no_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are back already are not taken for notes of the newer layer."""
    wrong = []
    for after in range(40):
        device = make(tmp_path / str(after))
        device.use_b()
        if cut_off(lambda: boot(device, OLD), after):  # noqa: B023
            break
        with monkeypatch.context() as patched:
            patched.setattr(frozen, "read_fields", lambda *_: {})  # as after an OSError in it
            boot(device, OLD)
        wrong += [after] if device.exact() != device.a else []
    assert wrong == []


def test_what_could_not_be_opened_once_is_not_hidden_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One EMLINK or EPERM in _make_second(): C's names are not noted as known."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    device = make(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(posix, "link", refuse)
        boot(device, THIRD)
    (device.backing / "commit").touch()
    boot(device, THIRD)
    boot(device, THIRD)
    assert not (device.backing / "frozen/image").exists()
    assert device.shown("o/new") == "3"


def test_an_error_of_reading_the_stamp_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no reason to go on as if nobody had ever known: then C is noted, and the fold never comes."""
    device = make(tmp_path)
    boot(device, NEW)
    fill(device.upper, "own=b")
    real, left = posix.open, [1]

    def one(path: str, *arguments: object, **options: object) -> int:
        if path == "image" and left and left.pop():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(posix, "open", one)
        boot(device, THIRD)
    boot(device, THIRD)
    boot(device, THIRD)
    assert device.shown("o/new") == "3"


@pytest.mark.parametrize(("frozen_before", "rollback"), [(True, "yes"), (True, "no"), (False, "yes"), (False, "no")])
def test_a_stamp_that_can_never_be_read(
    frozen_before: bool, rollback: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With something frozen, nothing is done on a guess: no fold, and no overlay of one layer where there are two."""
    device = make(tmp_path)
    if frozen_before:
        boot(device, NEW)
        fill(device.upper, "own=b")

    def refuse(_backing: object) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("overlay_prepare.stamp.read_previous", refuse)
    if frozen_before and rollback == "no":
        with pytest.raises(Unusable, match="nobody knows whose data are frozen below which"):
            boot(device, THIRD, rollback=rollback)
    else:
        boot(device, THIRD, rollback=rollback)
    assert (device.backing / "frozen/image").exists() is frozen_before
    assert device.shown("mine") == "mine"
    assert device.shown("own") == ("b" if frozen_before else "")


@pytest.mark.parametrize("name", ["former", "undoing", "kept"])
def test_a_link_in_place_of_a_directory_is_put_aside(name: str, tmp_path: Path) -> None:
    device = make(tmp_path)
    fill(tmp_path, "outside/file", f"mounts/var/frozen/{name}>{tmp_path}/outside")
    boot(device, OLD)
    boot(device, NEW)
    assert device.shown("mine") == "mine"
    assert (tmp_path / "outside/file").exists()
    assert [path.is_symlink() for path in (device.backing / "frozen").glob(f"{name}.refused*")] == [True]


def test_a_stamp_that_can_not_be_read_once_a_step_back_has_been_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs this boot its freeze, and not its writable directory."""
    device = use_b(tmp_path)
    assert not cut_off(lambda: boot(device, OLD), 4)
    assert (device.backing / "frozen" / frozen.UNDOING).exists()
    calls = iter(range(100))
    read = stamp.read_previous

    def refuse(backing: Folder) -> str:
        if next(calls):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(backing)

    with monkeypatch.context() as patched:
        patched.setattr(stamp, "read_previous", refuse)
        boot(device, NEW)
    assert (device.shown("mine"), device.shown("deep/er/file")) == ("mine", "a")
    assert (device.backing / "undone/deep/er/more").read_text() == "b"
