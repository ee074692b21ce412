# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An upper layer that is frozen, and what is made on top of it."""

import os
import posix
import shutil
from pathlib import Path

import pytest

from hold import hold
from overlay_generator.names import backing_name
from overlay_prepare import freeze, frozen, stamp
from overlay_prepare.folder import Folder
from overlay_prepare.request import Request
from persistentdevice import NEW, OLD, Device, pretend
from rollbackdevice import RollbackDevice, make
from tree import OPAQUE, ORIGIN, Tree, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RollbackDevice:
    pretend(tmp_path, monkeypatch)
    return make(tmp_path)


def request(device: RollbackDevice, *direct: str, rollback: str = "yes") -> Request:
    backing = str(device.backing)
    paths = tuple(f"{device.where}/{path}" for path in direct)
    return Request(str(device.where), backing, backing, "ext4", direct=paths, rollback=rollback)


def test_the_layer_moves_with_its_notes(device: RollbackDevice) -> None:
    before = read_tree(device.upper)
    notes = {name: device.read(name) for name in ("uuids", "names", "contents", "image")}
    fill(device.backing, "good=TIME=1", "commit=", "frozen/upper/", "frozen/making/x", "frozen/folding")
    folder = freeze.freeze(hold(device.backing), OLD, NEW)
    assert read_tree(device.backing / "frozen/kept") == before
    assert sorted(os.listdir(device.backing / "frozen")) == ["contents", "image", "kept", "names", "since", "uuids"]
    assert {name: device.read(f"frozen/{name}") for name in notes} == notes
    assert frozen.read_fields(folder, "since")["NOTES"] == "uuids names contents"
    assert not {"upper", "contents", "good", "commit"} & set(os.listdir(device.backing))
    assert device.read("names") == notes["names"]


def watch(monkeypatch: pytest.MonkeyPatch) -> "list[str]":
    """What is given its name, and what is flushed to the disk, in this order."""
    done: list[str] = []
    rename = posix.rename

    def note(source: str, target: str, **options: int) -> None:
        rename(source, target, **options)
        done.append(target)

    monkeypatch.setattr(posix, "rename", note)
    monkeypatch.setattr(posix, "sync", lambda: done.append("sync"))
    monkeypatch.setattr(posix, "fsync", lambda _fd: done.append("fsync"))
    return done


def test_all_notes_come_to_the_disk_at_once_and_before_the_layer_moves(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = watch(monkeypatch)
    copied: list[str] = []
    copy = freeze._copy

    def note(source: Folder, target: Folder, name: str) -> None:
        copied.append(name)
        copy(source, target, name)

    monkeypatch.setattr(freeze, "_copy", note)
    freeze.freeze(hold(device.backing), OLD, NEW)
    assert done == ["image", "since", "sync", "contents", "kept"]
    assert copied == ["uuids", "names"], "the contents may be large"


def test_notes_that_are_not_there_are_not_needed(device: RollbackDevice) -> None:
    (device.backing / "contents").unlink()
    (device.backing / "names").unlink()
    folder = freeze.freeze(hold(device.backing), OLD, NEW)
    assert sorted(os.listdir(device.backing / "frozen")) == ["image", "kept", "since", "uuids"]
    assert frozen.read_fields(folder, "since")["NOTES"] == "uuids"


def test_a_note_without_end_is_not_copied(device: RollbackDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []
    monkeypatch.setattr(freeze, "send_all", lambda source, _target: copied.append(os.fstat(source).st_size))
    os.truncate(device.backing / "names", 1 << 30)
    freeze._copy(hold(device.backing), hold(device.where), "names")
    os.truncate(device.backing / "names", (1 << 30) + 1)
    with pytest.raises(OSError, match="at most 1073741824 are allowed"):
        freeze.freeze(hold(device.backing), OLD, NEW)
    assert copied == [1 << 30, len(device.read("uuids"))]
    assert device.upper.exists()


def test_nothing_stays_open(device: RollbackDevice) -> None:
    backing = hold(device.backing)
    before = len(os.listdir("/proc/self/fd"))
    with freeze.freeze(backing, OLD, NEW) as folder:
        freeze.finish(request(device), backing, folder, OLD, NEW, "prune")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_layer_that_is_not_fit_for_its_image_is_made_so_before(device: RollbackDevice) -> None:
    os.setxattr(device.upper / "lib/app/one", ORIGIN, b"x")
    backing = hold(device.backing)
    stamp.mark_changing(backing)
    freeze.freeze(backing, OLD, NEW)
    assert ORIGIN not in os.listxattr(device.backing / "frozen/kept/lib/app/one")


def test_a_layer_that_is_fit_stays_as_it_is(device: RollbackDevice) -> None:
    os.setxattr(device.upper / "lib/app/one", ORIGIN, b"x")
    freeze.freeze(hold(device.backing), OLD, NEW)
    assert os.getxattr(device.backing / "frozen/kept/lib/app/one", ORIGIN) == b"x"


def test_if_it_fails_nothing_has_happened(device: RollbackDevice) -> None:
    before = read_tree(device.upper)
    device.upper.rename(device.backing / "elsewhere")
    with pytest.raises(FileNotFoundError):
        freeze.freeze(hold(device.backing), OLD, NEW)
    assert device.read("contents") != "", "it is back"
    assert os.listdir(device.backing / "frozen") == []
    assert read_tree(device.backing / "elsewhere") == before


def test_what_moves_out_of_the_upper_layer_from_now_on(device: RollbackDevice) -> None:
    backing = hold(device.backing)
    found = freeze.find_moving(request(device, "lib/docker", "lib/none", "lib/app"), backing)
    assert found == [f"{device.where}/lib/docker", f"{device.where}/lib/app"]
    (device.backing / "direct" / backing_name(f"{device.where}/lib/docker")).mkdir(parents=True)
    found = freeze.find_moving(request(device, "lib/docker", "lib/app"), backing)
    assert found == [f"{device.where}/lib/app"]


def test_why_it_is_not_frozen(device: RollbackDevice) -> None:
    backing = hold(device.backing)

    def find(*direct: str, image: str = NEW, rollback: str = "yes") -> str:
        return freeze.find_hindrance(request(device, *direct, rollback=rollback), backing, OLD, image)

    assert find() == ""
    assert find(rollback="hold") == "overlayfs.rollback=no is on the kernel command line"
    assert find(image="on=overlay\n").startswith("whether this is another image can't be told")
    assert find("lib/app").startswith(f"{device.where}/lib/app is passed through from now on")
    (device.backing / "rollback").unlink()
    assert find() == "the image before did not have Rollback=yes, and would not step back"


def finish(device: RollbackDevice, policy: str, *entries: str) -> Tree:
    """What is below the new upper layer, after a step to an image that has `entries` as well."""
    folder = freeze.freeze(hold(device.backing), OLD, NEW)
    shutil.rmtree(device.where)
    fill(device.where, "conf=2", "lib/app/one=2", "o/x=2", *entries)
    Device.identity = NEW
    freeze.finish(request(device), hold(device.backing), folder, OLD, NEW, policy)
    return read_tree(device.backing / "frozen/upper")


def test_without_a_policy_it_is_the_layer_itself(device: RollbackDevice) -> None:
    before = read_tree(device.upper)
    inode = device.upper.stat().st_ino
    device.upper.chmod(0o711)
    found = finish(device, "keep")
    found[".updated"] = before[".updated"]
    assert found == before
    assert (device.backing / "frozen/upper").stat().st_ino == inode
    assert not (device.backing / "frozen/kept").exists()
    assert device.upper.stat().st_mode & 0o777 == 0o711, "the root is what the overlay shows of itself"
    assert stamp.is_current(hold(device.backing), NEW)


def test_what_the_image_adds_in_a_hidden_directory_opens_a_second_tree(device: RollbackDevice) -> None:
    found = finish(device, "keep", "o/new=2")
    assert OPAQUE not in [name for name, _ in found["o"][4]]  # type: ignore[attr-defined]
    assert "o/x" in found, "which the user has removed"
    assert OPAQUE in os.listxattr(device.backing / "frozen/kept/o")
    assert (device.backing / "frozen/upper/own").exists() is (device.backing / "frozen/kept/own").exists()
    assert not (device.backing / "frozen/making").exists()


def test_a_policy_works_on_links_and_reset_on_nothing(
    device: RollbackDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_tree(device.upper)
    found = finish(device, "prune")
    assert "lib/app/one" not in found
    assert "mine" in found
    kept = read_tree(device.backing / "frozen/kept")
    assert kept.keys() == before.keys()
    assert "dropped by Policy=prune, see" in capsys.readouterr().err


def test_with_reset_the_new_layer_is_like_the_image(device: RollbackDevice) -> None:
    device.where.chmod(0o755)
    device.upper.chmod(0o700)
    assert finish(device, "reset") == {}
    assert device.upper.stat().st_mode & 0o777 == 0o755
    assert (device.backing / "frozen/kept/mine").exists()


def test_a_second_tree_that_can_not_be_made_is_done_without(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("overlay_prepare.shadow.link_tree", refuse)
    found = finish(device, "prune")
    assert "lib/app/one" in found
    assert not {"kept", "making"} & set(os.listdir(device.backing / "frozen"))
    assert "Policy=prune drops nothing, and nothing is opened: Operation not permitted" in capsys.readouterr().err


@pytest.mark.parametrize(("path", "hidden"), [
    ("", False), ("a", False), ("a/b", True), ("a/b/c", True), ("a/none/b", False), ("none", False),
    ("a/b/none/x", True),
])  # fmt: skip
def test_what_is_hidden(path: str, hidden: bool, tmp_path: Path) -> None:
    fill(tmp_path, "a/b/ opaque", "a/b/c/")
    assert freeze._is_hidden(hold(tmp_path), path) is hidden
