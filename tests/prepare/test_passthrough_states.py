# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Directories that are passed through: what is found of an earlier run, or of 0.1.0, and what each state leads to."""

import os
import posix
from pathlib import Path

import pytest

from hold import hold
from overlay_generator.names import backing_name
from overlay_prepare import passthrough
from overlay_prepare.folder import WrongKind
from overlay_prepare.passthrough import list_kept, list_others, make_direct
from tree import OPAQUE, ORIGIN, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and device nodes need root")


class Device:
    """An image's directory `var`, and a backing directory with `direct` of what was passed through before."""

    def __init__(self, top: Path) -> None:
        self.where, self.backing = top / "var", top / "backing"
        self.path = self.where / "lib/docker"
        self.name = backing_name(str(self.path))
        fill(self.backing, "upper/", "direct/")
        self.direct = self.backing / "direct"
        self.where.mkdir()

    def make(self) -> "dict[str, str]":
        """Pass the directory through. Returns its files."""
        make_direct(str(self.where), hold(self.backing), str(self.path))
        assert os.listdir(self.direct) == [self.name]
        top = self.direct / self.name
        return {path.relative_to(top).as_posix(): path.read_text() for path in top.rglob("*") if path.is_file()}


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr(posix, "sync", lambda: None)
    return Device(tmp_path)


def test_which_directories_are_kept(device: Device) -> None:
    fill(
        device.direct,
        "var-lib/",
        "var-lib~filled/",
        "var-x~filling/",
        "var-file",
        "var-link>var-lib",
        "bad_zz/",
        "y.full/",
    )
    assert sorted(list_kept(hold(device.backing))) == [("/var/lib", "var-lib"), ("/y.full", "y.full")]


@pytest.mark.parametrize(("number", "told"), [(1000, False), (1001, True)])
def test_so_many_are_nobody_s(number: int, told: bool, device: Device) -> None:
    for one in range(number):
        (device.direct / f"var-{one}").mkdir()
    if told:
        with pytest.raises(WrongKind, match=f"has more than 1000 directories: '{device.direct}'"):
            list_kept(hold(device.backing))
    else:
        assert len(list_kept(hold(device.backing))) == number


def test_the_others_are_those_with_something_in_them(device: Device) -> None:
    fill(device.direct, "var-a/x", "var-b/x", "var-c/", "var-d.full/x", "var-e.full/x", "var-f.full/")
    others = list_others(hold(device.backing), ("/var/b", "/var/e"))
    assert sorted(others) == [("/var/a", f"{device.direct}/var-a"), ("/var/d", f"{device.direct}/var-d.full")]
    (device.backing / "direct").rename(device.backing / "gone")
    assert list_others(hold(device.backing), ()) == []


def test_what_0_1_0_has_taken_is_the_user_s(device: Device) -> None:
    """It had copied what the image has into it, as far as it got."""
    fill(device.path, "conf=1", "missing=1")
    fill(device.direct / f"{device.name}.taken", "conf=mine", "gone!", "own/x=mine")
    fill(device.path, "gone=1")
    assert device.make() == {"conf": "mine", "missing": "1", "own/x": "mine"}


def test_what_was_moved_is_finished_without_the_image(device: Device) -> None:
    """All of the image's that was to come was moved already, or is in NAME~filled."""
    fill(device.path, "conf=2", "news=2")
    fill(device.direct / f"{device.name}.full", "conf=mine")
    assert device.make() == {"conf": "mine"}


def test_what_was_filled_comes_to_what_was_moved(device: Device) -> None:
    fill(device.path, "conf=2", "news=2")
    fill(device.direct / f"{device.name}.full", "conf=mine", "dir/a=mine")
    fill(device.direct / f"{device.name}~filled", "old=1", "dir/b=1")
    fill(device.direct / f"{device.name}~filling", "half=")
    assert device.make() == {"conf": "mine", "dir/a": "mine", "dir/b": "1", "old": "1"}


def test_what_is_left_beside_a_finished_one_goes(device: Device) -> None:
    fill(device.direct / device.name, "mine=mine")
    fill(device.direct / f"{device.name}~filled", "dir/old=1")
    fill(device.direct / f"{device.name}~filling", "half=")
    assert device.make() == {"mine": "mine"}


def test_a_failure_leaves_what_the_user_had_where_it_was_or_is_looked_for(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the directory above it in the upper layer, and without, as after a reset of that."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(passthrough, "move_below", refuse)
    for above in (False, True):
        fill(device.direct / f"{device.name}.full", "conf=mine")
        fill(device.direct / f"{device.name}~filled", "old=1")
        if above:
            fill(device.backing / "upper/lib")
        with pytest.raises(OSError, match="No space left"):
            device.make()
        here = device.backing / "upper/lib/docker" if above else device.direct / f"{device.name}.full"
        assert (here / "conf").read_text() == "mine"
        assert os.path.lexists(device.direct / f"{device.name}.full") is not above


def test_what_could_not_be_copied_takes_no_room(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk needs it."""
    fill(device.path, "a", "b")
    calls: list[str] = []

    def refuse(source: str, made: object, _mine: object, *_more: object) -> None:
        fill(Path(str(made)), "half")
        calls.append(source)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(passthrough, "copy_missing", refuse)
    with pytest.raises(OSError, match="No space left"):
        device.make()
    assert (calls, os.listdir(device.direct)) == ([str(device.path)], [])


def test_each_name_is_on_the_disk_before_the_next_one(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """With NAME.full and no NAME~filled, what the image has would be missing for good; and a name that is not on the
    disk at the end would take what was written and synced below it with it.
    """
    fill(device.path, "conf=1")
    fill(device.backing / "upper/lib/docker", "mine")
    done: list[str] = []
    fsync, rename = posix.fsync, posix.rename

    def flush(fd: int) -> None:
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        fsync(fd)

    def move(old: str, new: str, **folders: int) -> None:
        done.append(f"{old} is {new}".replace(device.name, "NAME"))
        rename(old, new, **folders)

    monkeypatch.setattr(posix, "fsync", flush)
    monkeypatch.setattr(posix, "rename", move)
    monkeypatch.setattr(posix, "sync", lambda: done.append("all"))
    device.make()
    assert done == [
        "all", "NAME~filling is NAME~filled", "all", "docker is NAME.full", "conf is conf",
        "all", "NAME.full is NAME", "direct",
    ]  # fmt: skip


def test_only_the_marks_of_overlayfs_go_from_what_the_user_had(device: Device) -> None:
    upper = fill(device.backing / "upper/lib/docker", "file", "dir/in", "zero/")
    os.mknod(upper / "null", 0o020666, os.makedev(1, 3))
    for name in ("file", "dir", "."):
        os.setxattr(upper / name, "user.note", b"mine")
        os.setxattr(upper / name, "trusted.note", b"mine")
    before = read_tree(upper)
    for path in (upper, upper / "file", upper / "dir", upper / "dir/in"):
        os.setxattr(path, ORIGIN, b"x")
    os.setxattr(upper / "zero", OPAQUE, b"y")
    fill(upper, "dir/gone!", "gone!")
    device.make()
    assert read_tree(device.direct / device.name) == before
    assert sorted(os.listxattr(device.direct / device.name)) == ["trusted.note", "user.note"]
