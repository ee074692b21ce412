# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How far a reset reaches: what it leaves alone, what is on the disk when it is done, and how much it says it did."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import reset, tree
from overlay_prepare.folder import Folder
from resetdevice import Device
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.mark.parametrize(("paths", "keep", "passed", "count", "left"), [
    ((), (), True, 4, []),
    ((), (), False, 1, ["direct", "frozen", "undone"]),
    ((), ("lib/app/key",), True, 6, ["upper"]),
    ((), ("lib/app/key",), False, 3, ["direct", "frozen", "undone", "upper"]),
    (("conf",), (), True, 1, ["direct", "frozen", "undone", "upper"]),
    # Nothing changes, so that the work directory still fits the upper layer.
    (("none",), (), True, 0, ["direct", "frozen", "undone", "upper", "work"]),
])  # fmt: skip
def test_what_a_reset_leaves_alone(
    paths: "tuple[str, ...]", keep: "tuple[str, ...]", passed: bool, count: int, left: "list[str]", device: Device
) -> None:
    """What an update has frozen, and what is passed through, are the owner's: an update that resets leaves both."""
    fill(device.upper, "conf=mine", "mine", "lib/app/conf=mine", "lib/app/key")
    fill(device.pass_through("lib/docker"), "layers")
    fill(device.backing, "frozen/kept/x", "undone/x")
    assert device.reset(*paths, keep=keep, passed=passed) == (count, [])
    found = set(os.listdir(device.backing)) - {"image", "lower", "trash"}
    if not device.pass_through("lib/docker").exists():
        found.discard("direct")  # empty, and means nothing
    assert sorted(found) == left


@pytest.mark.parametrize(("keep", "left"), [
    (("lib/docker",), ["lib/docker"]), (("lib/docker/volumes",), ["lib/docker"]), (("log",), []),
])  # fmt: skip
def test_what_is_passed_through_is_kept_whole_or_in_part(
    keep: "tuple[str, ...]", left: "list[str]", device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_into: list[str] = []

    def list_by_parts(folder: Folder) -> "Iterator[os.DirEntry[str]]":
        looked_into.append(folder.path)
        return tree.list_by_parts(folder)

    monkeypatch.setattr(reset, "list_by_parts", list_by_parts)
    made = {path: fill(device.pass_through(path), "volumes/a", "layers/b") for path in ("lib/docker", "lib/other")}
    device.reset(keep=keep)
    assert [path for path in made if made[path].exists()] == left
    whole = keep == ("lib/docker",)
    assert (made["lib/docker"] / "layers").exists() is whole
    assert (str(made["lib/docker"]) in looked_into) is (bool(left) and not whole), "it may hold millions of entries"


def test_the_deepest_that_is_looked_into_for_what_is_kept(device: Device) -> None:
    """What lies deeper stays, as nobody knows whether it is to be kept."""
    deepest = "/".join(["d"] * 300)
    fill(device.upper, f"{deepest}/goes", f"{deepest}/d/stays")
    problem = "what lies more than 300 directories deep stays, beside what is kept"
    assert device.reset(keep=("**/*.key",)) == (1, [problem])
    assert os.listdir(device.upper / deepest) == ["d"]
    assert os.listdir(device.upper / deepest / "d") == ["stays"]


def test_it_is_on_the_disk_before_it_is_noted(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("posix.sync", lambda: seen.append(sorted(os.listdir(device.backing))))
    device.reset()
    assert seen == [["image", "lower", "trash"]]


def test_what_is_put_aside_is_in_the_trash_and_that_is_on_the_disk(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[list[str]] = []
    monkeypatch.setattr("posix.fsync", lambda fd: synced.append(sorted(os.listdir(fd))))
    reset.put_aside(hold(device.backing), "work")
    assert (device.backing / "trash/0/0/work/#1").exists()
    assert synced == [["image", "lower", "trash", "upper"]]
