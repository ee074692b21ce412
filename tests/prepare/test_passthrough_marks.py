# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An image ships the storage of a container engine: its layers stay layers where it is passed through."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import imagecopy, passthrough
from overlay_prepare.files import FOREIGN
from overlay_prepare.folder import Folder
from overlay_prepare.passthrough import TOP, make_direct
from powercut import cut_everywhere
from tree import OPAQUE, ORIGIN, Tree, describe, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")

METACOPY = "trusted.overlay.metacopy"


class Device:
    """An image with two layers of an engine in `lib/docker`, and an upper layer that may have something there."""

    def __init__(self, top: Path) -> None:
        self.where, self.backing = top / "var", top / "backing"
        self.path = self.where / "lib/docker"
        self.upper = self.backing / "upper/lib/docker"
        fill(self.backing / "upper", "lib/")
        fill(self.path, "l1/etc/old", "l1/opt/x", "l2/etc/gone!", "l2/opt/ opaque", "l2/opt/y", "l2/file")
        os.link(self.path / "l2/etc/gone", self.path / "l2/etc/away")  # as the kernel makes many whiteouts
        os.setxattr(self.path / "l2/file", METACOPY, b"")
        self.image = read_tree(self.path)

    def make(self) -> None:
        make_direct(str(self.where), hold(self.backing), str(self.path))

    def read(self) -> Tree:
        """What was made, without labels that an interruption may leave."""
        (made,) = (self.backing / TOP).iterdir()
        for path in (made, *made.rglob("*")):
            if FOREIGN in os.listxattr(path, follow_symlinks=False):
                os.removexattr(path, FOREIGN, follow_symlinks=False)
        return read_tree(made)

    def labels(self) -> "list[Path]":
        found = [*(self.backing / TOP).rglob("*"), *self.upper.rglob("*")]
        return [path for path in found if FOREIGN in os.listxattr(path, follow_symlinks=False)]


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr("posix.sync", lambda: None)
    return Device(tmp_path)


def write(device: Device) -> None:
    """What a user has there, with marks of our overlay."""
    fill(device.upper, "mine=mine", "own/ opaque", "own/x=mine", "l1/etc/new=mine", "l1/opt/x!")
    os.setxattr(device.upper / "l1", ORIGIN, b"x")


def test_where_the_user_has_nothing_all_is_as_in_the_image(device: Device) -> None:
    device.make()
    assert device.labels() == []
    assert device.read() == device.image


def test_what_the_user_has_takes_no_mark_of_the_image_s(device: Device) -> None:
    write(device)
    device.make()
    assert device.labels() == []
    made = device.read()
    for name, text in device.image.items():
        if name != "l1/opt/x":
            assert made[name] == text, name
    assert set(made) - set(device.image) == {"mine", "own", "own/x", "l1/etc/new"}
    assert "l1/opt/x" not in made, "the user has removed it"
    (top,) = (device.backing / TOP).iterdir()
    assert os.listxattr(top / "own") == os.listxattr(top / "l1") == [], "marks of our overlay go"
    assert (top / "l2/etc/gone").lstat().st_ino == (top / "l2/etc/away").lstat().st_ino


def test_cut_off_at_any_call_the_marks_are_the_same(tmp_path: Path) -> None:
    made: list[Device] = []

    def prepare() -> "Callable[[], object]":
        made.append(Device(tmp_path / str(len(made))))
        write(made[-1])
        return made[-1].make

    assert cut_everywhere(prepare, lambda: made[-1].read()) > 50


def test_a_removed_directory_of_the_user_s_takes_nothing_of_the_image_s(device: Device) -> None:
    fill(device.upper, "l2/opt/ opaque", "l2/opt/mine=mine")
    device.make()
    made = device.read()
    assert {name for name in made if name.startswith("l2/opt")} == {"l2/opt", "l2/opt/mine"}
    (top,) = (device.backing / TOP).iterdir()
    assert os.listxattr(top / "l2/opt") == []


def test_on_a_full_disk_no_mark_of_the_image_s_gets_into_the_upper_layer(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(device)
    move = imagecopy.move_below

    def fail(source: Folder, target: Folder) -> None:
        move(source, target)
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    monkeypatch.setattr(passthrough, "move_below", fail)
    with pytest.raises(OSError, match="No space left"):
        device.make()
    assert device.labels() == []
    assert not list(device.upper.glob("l2/etc/*")), "whiteouts of the engine"
    assert os.listxattr(device.upper / "l2/opt") == []
    assert os.listxattr(device.upper / "own") == [OPAQUE]
    assert describe(device.upper / "mine")[-1] == b"mine"
    monkeypatch.undo()
    monkeypatch.setattr("posix.sync", lambda: None)
    device.make()
    made = device.read()
    assert made["l2/etc/gone"] == device.image["l2/etc/gone"]
    assert made["l2/file"] == device.image["l2/file"]
    shutil.rmtree(device.backing)
