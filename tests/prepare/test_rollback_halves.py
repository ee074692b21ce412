# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rollback=yes where a power cut has left a file in both directories of a rename, as btrfs does: two names of one file,
between which rename(2) does nothing.
"""

import os
import posix
from pathlib import Path

import pytest

from persistentdevice import NEW, OLD, pretend
from rollbackdevice import RollbackDevice, make

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


class Cut(Exception):
    """The power."""


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RollbackDevice:
    pretend(tmp_path, monkeypatch)
    return make(tmp_path, "prune")


def boot_half(device: RollbackDevice, image: str, half: str, last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boot `image`, with `half` left in both directories; the power goes after the rename of `last`."""
    rename = posix.rename

    def leave(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        apart = os.fstat(src_dir_fd).st_ino != os.fstat(dst_dir_fd).st_ino
        if apart and source == half:
            os.link(target, source, src_dir_fd=dst_dir_fd, dst_dir_fd=src_dir_fd, follow_symlinks=False)
        if apart and source == last:
            raise Cut

    monkeypatch.setattr(posix, "rename", leave)
    with pytest.raises(Cut):
        device.start(image)
    monkeypatch.setattr(posix, "rename", rename)


def find_refused(device: RollbackDevice) -> "list[str]":
    return [str(path) for path in device.backing.rglob("*.refused*")]


@pytest.mark.parametrize("note", ["uuids", "names", "contents", "image", "since"])
@pytest.mark.parametrize("images", [(OLD,), (NEW, OLD), (OLD, NEW, OLD)])
def test_a_step_back(
    note: str, images: "tuple[str, ...]", device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.use_b()
    boot_half(device, OLD, note, note, monkeypatch)
    for image in images:
        device.start(image)
        assert find_refused(device) == []
        assert device.read("image") == image
        if image == NEW:
            assert device.shown("conf") == "2", "what the policy drops is dropped again"
    assert device.exact() == device.a


@pytest.mark.parametrize("last", ["contents", "upper"])
@pytest.mark.parametrize("images", [(OLD,), (NEW, OLD)])
def test_a_freeze(
    last: str, images: "tuple[str, ...]", device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot_half(device, NEW, "contents", last, monkeypatch)
    for image in images:
        device.start(image)
        assert find_refused(device) == []
    assert device.exact() == device.a


def test_a_fold(device: RollbackDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    device.use_b()
    device.start(NEW)
    (device.backing / "commit").touch()
    shown = {path: device.shown(path) for path in ("mine", "deep/er/file", "deep/er/more", "own", "tree/z", "gone")}
    boot_half(device, NEW, "mine", "mine", monkeypatch)
    device.start(NEW)
    assert os.listdir(device.backing / "frozen") == ["upper"]
    assert os.listdir(device.backing / "frozen/upper") == [], "nothing is frozen, the mount needs the directory"
    assert {path: device.shown(path) for path in shown} == shown
