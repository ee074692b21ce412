# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A reset, of everything or except for what is kept: what goes, what stays, and that power cuts do no harm."""

import os
import posix
from collections.abc import Callable
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import stamp
from overlay_prepare.passthrough import TOP
from overlay_prepare.reset import empty_trash
from powercut import cut_everywhere, cut_off
from resetdevice import IMAGE, Device
from tree import dig, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_upper_and_work_are_put_aside_together(device: Device) -> None:
    fill(device.upper, "lib/mine")
    assert device.reset() == (1, [])
    assert sorted(os.listdir(device.backing)) == ["image", "lower", "trash"]
    assert (device.backing / "trash/0/0/lib/mine").read_text() == "lib/mine"
    assert (device.backing / "trash/0/1/work/#1").exists()
    assert not stamp.is_current(hold(device.backing), IMAGE)
    assert stamp.read_previous(hold(device.backing)) == IMAGE


@pytest.mark.parametrize("passed", [True, False])
def test_what_is_passed_through_goes_along_where_that_is_asked(passed: bool, device: Device) -> None:
    fill(device.pass_through("lib/docker"), "layers")
    count, _ = device.reset(passed=passed)
    assert count == 1 + passed
    assert device.pass_through("lib/docker").exists() is not passed


def test_each_reset_has_a_place_of_its_own(device: Device) -> None:
    device.reset()
    fill(device.upper, "again")
    device.reset()
    assert sorted(os.listdir(device.backing / "trash")) == ["0", "1"]
    assert device.reset() == (0, []), "there was nothing left"


def test_the_trash_is_emptied_and_nothing_else(device: Device) -> None:
    fill(device.upper, "lib/mine", f"out>{device.backing}/lower")
    fill(device.backing, "lower/file")
    device.reset()
    empty_trash(hold(device.backing))
    assert sorted(os.listdir(device.backing)) == ["image", "lower"]
    assert (device.backing / "lower/file").exists()


def test_trash_deeper_than_any_path_is_emptied(device: Device) -> None:
    dig(device.upper, 60)
    device.reset()
    empty_trash(hold(device.backing))
    assert not (device.backing / "trash").exists()


# What the upper layer has; what is asked for; what the directory shows of it then. "=image" is the image's text.
KEEP = [
    (["conf=mine", "lib/app/conf=mine"], ["lib/app/conf"], {"conf": "conf", "lib/app/conf": "mine"}),
    (["conf=mine", "lib/app/conf=mine", "lib/app/key=mine"], ["lib/*/*"], {"conf": "conf", "lib/app/key": "mine"}),
    (["a/b/c/x.key=mine", "a/b/c/y=mine"], ["**/*.key"], {"a/b/c/x.key": "mine", "a/b/c/y": ""}),
    (["keys/a=mine", "keys/b/c=mine", "other=mine"], ["keys"], {"keys/a": "mine", "keys/b/c": "mine", "other": ""}),
    # Deleted files: one that matches stays deleted.
    (["conf!", "lib/app/conf!"], ["conf"], {"conf": "", "lib/app/conf": "lib/app/conf"}),
    # An opaque directory that holds what is kept shows the rest of the image's again.
    (["lib/ opaque", "lib/app/key=mine"], ["lib/app/key"],
     {"lib/app/key": "mine", "lib/app/conf": "lib/app/conf", "lib/other/file": "lib/other/file"}),
    (["lib/ opaque", "lib/mine=mine"], ["lib"], {"lib/mine": "mine", "lib/app/conf": ""}),
    (["x=mine"], ["nothing/*"], {"x": ""}),
]  # fmt: skip


@pytest.mark.parametrize(("upper", "keep", "expected"), KEEP)
def test_a_whole_reset_keeps_what_matches(
    upper: "list[str]", keep: "list[str]", expected: "dict[str, str]", device: Device
) -> None:
    fill(device.upper, *upper)
    _, problems = device.reset(keep=tuple(keep))
    assert problems == []
    shown = device.view()
    assert {name: shown.get(name, "") for name in expected} == expected
    assert device.reset(keep=tuple(keep)) == (0, []), "twice is as once"


def test_what_is_passed_through_is_kept_by_its_path(device: Device) -> None:
    fill(device.pass_through("lib/docker"), "volumes/a", "layers/b")
    fill(device.pass_through("log/journal"), "entry")
    fill(device.backing / TOP, "a_zz", "odd/file")
    device.reset(keep=("lib/docker/volumes",))
    assert (device.pass_through("lib/docker") / "volumes/a").exists()
    assert not (device.pass_through("lib/docker") / "layers").exists()
    assert not device.pass_through("log/journal").exists()


@pytest.mark.parametrize(("depth", "name"), [(60, "d" * 100), (700, "d")])
def test_a_tree_of_any_depth_hinders_nothing_else(depth: int, name: str, device: Device) -> None:
    fill(device.upper, "tmp/", "a/x.key=mine", "z/x.key=mine", "a/other", "z/other")
    dig(device.upper / "tmp", depth, name)
    try:
        device.reset(keep=("**/*.key",))
        assert (device.upper / "a/x.key").exists()
        assert (device.upper / "z/x.key").exists()
        assert not (device.upper / "a/other").exists()
        assert not (device.upper / "z/other").exists()
    finally:
        os.system(f"rm -rf '{device.backing}'")  # what shutil can't


@pytest.mark.parametrize("keep", [(), ("lib/app/key",)])
@pytest.mark.parametrize("paths", [(), ("lib/app",)])
def test_on_a_disk_without_any_room_it_is_done_all_the_same(
    paths: "tuple[str, ...]", keep: "tuple[str, ...]", device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(device.upper, "lib/app/conf=mine", "lib/app/key=mine")

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(posix, "mkdir", refuse)
    assert device.reset(*paths, keep=keep)[0] > 0
    assert device.view()["lib/app/conf"] == "lib/app/conf"
    assert ("lib/app/key" in device.view()) is bool(keep)


STAGED: "dict[str, tuple[tuple[str, ...], tuple[str, ...]]]" = {
    "whole": ((), ()),
    "keep": ((), ("lib/app/key", "lib/docker/volumes", "**/*.pem")),
    "path": (("lib/app/data", "conf", "lib/docker", "gone/one"), ()),
    "path-keep": (("lib", "conf"), ("lib/app/key",)),
}


@pytest.mark.parametrize("kind", STAGED)
def test_cut_off_at_any_call_it_comes_to_the_same(kind: str, tmp_path: Path) -> None:
    paths, keep = STAGED[kind]
    made: list[Device] = []

    def prepare() -> "Callable[[], object]":
        device = Device(tmp_path / str(len(made)))
        made.append(device)
        fill(device.where, "gone/one", "gone/two")
        fill(
            device.upper,
            "conf=mine",
            "lib/app/ opaque",
            "lib/app/key",
            "lib/app/conf=mine",
            "deep/er/a.pem",
            "gone/ opaque",
        )
        fill(device.upper, "lib/other/file!", "mine/file")
        fill(device.pass_through("lib/docker"), "volumes/a", "layers/b")
        return lambda: device.reset(*paths, keep=keep)

    def look() -> object:
        direct = made[-1].backing / TOP
        passed = {name.partition("/")[2]: what for name, what in read_tree(direct).items()}
        view = made[-1].view() if made[-1].upper.exists() else {}
        return view, passed, stamp.is_current(hold(made[-1].backing), IMAGE)

    assert cut_everywhere(prepare, look) >= 6


def test_cut_off_at_any_call_a_whole_reset_leaves_an_old_layer_or_none(tmp_path: Path) -> None:
    after = 0
    while True:
        device = Device(tmp_path / str(after))
        fill(device.upper, "lib/mine", "lib/more")
        if cut_off(device.reset, after):
            break
        assert not device.upper.exists() or set(os.listdir(device.upper / "lib")) == {"mine", "more"}
        # A layer that is gone is never mistaken for one that fits the image.
        assert device.upper.exists() or not stamp.is_current(hold(device.backing), IMAGE)
        after += 1
    assert after >= 5
