# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

"""Freeze, fold and step back, cut off at each call, also on a disk that loses what was not synced; then booted again,
with the same image or with another one: the device goes on, and nobody's data are lost.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lossydisk import WAYS, cut_off_lossy
from persistentdevice import NEW, OLD, pretend
from powercut import cut_everywhere, cut_off
from rollbackdevice import THIRD, RollbackDevice, make

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
# With CUTS=all in the environment each with each.
EVERY = os.environ.get("CUTS") == "all"
POLICIES = ("keep", "refresh", "prune", "reset") if EVERY else ("keep", "refresh")
CUTS = ("plain", *WAYS) if EVERY else ("plain", "names")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch)


def frozen(top: Path, policy: str) -> "tuple[RollbackDevice, Callable[[], object]]":
    """A device, and the boot that freezes."""
    device = make(top, policy)
    return device, lambda: device.start(NEW)


def stepping(top: Path, policy: str) -> "tuple[RollbackDevice, Callable[[], object]]":
    """A device, and the boot that steps back."""
    device = make(top, policy)
    device.use_b()
    return device, lambda: device.start(OLD)


def unused(top: Path, policy: str) -> "tuple[RollbackDevice, Callable[[], object]]":
    """A device whose image B was booted, and nothing written over it; and the boot that steps back."""
    device = make(top, policy)
    device.start(NEW)
    return device, lambda: device.start(OLD)


def folding(top: Path, policy: str) -> "tuple[RollbackDevice, Callable[[], object]]":
    """A device, and the boot that folds."""
    device = make(top, policy)
    device.use_b()
    (device.backing / "commit").touch()
    return device, device.start


def third(top: Path, policy: str) -> "tuple[RollbackDevice, Callable[[], object]]":
    """A device, and the boot that folds and freezes again."""
    device = make(top, policy)
    device.use_b()
    return device, lambda: device.start(THIRD)


STEPS = (frozen, stepping, unused, folding, third)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("step", STEPS)
def test_cut_off_at_any_call_and_booted_again_it_comes_to_the_same(
    step: "Callable[[Path, str], tuple[RollbackDevice, Callable[[], object]]]", policy: str, cut: str, tmp_path: Path
) -> None:
    made: list[RollbackDevice] = []

    def prepare() -> "Callable[[], object]":
        device, boot = step(tmp_path / str(len(made)), policy)
        made.append(device)
        return boot

    def off(boot: "Callable[[], object]", after: int) -> bool:
        return cut_off(boot, after) if cut == "plain" or after < 0 else cut_off_lossy(boot, after, cut, tmp_path)

    assert cut_everywhere(prepare, lambda: made[-1].state(), off) > 15


def cut_then(
    step: "Callable[[Path, str], tuple[RollbackDevice, Callable[[], object]]]",
    policy: str,
    cut: str,
    top: Path,
    then: "Callable[[RollbackDevice, int], None]",
) -> None:
    """Cut the boot off at each of its calls, and look what comes after."""
    after = 0
    while True:
        device, boot = step(top / str(after), policy)
        done = cut_off(boot, after) if cut == "plain" else cut_off_lossy(boot, after, cut, top)
        then(device, after)
        if done:
            return
        after += 1


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("step", [frozen, stepping, unused])
def test_image_a_finds_its_own_after_any_cut(
    step: "Callable[[Path, str], tuple[RollbackDevice, Callable[[], object]]]", policy: str, cut: str, tmp_path: Path
) -> None:
    def then(device: RollbackDevice, after: int) -> None:
        device.start(OLD)
        tree, times, notes = device.a
        now_tree, now_times, now_notes = device.exact()
        assert now_tree == tree, after
        assert now_times == times, after
        assert now_notes == notes, after

    cut_then(step, policy, cut, tmp_path, then)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("image", [OLD, NEW, THIRD])
@pytest.mark.parametrize("policy", ["keep", "prune"])
def test_after_a_cut_fold_every_image_finds_the_newer_data(policy: str, image: str, cut: str, tmp_path: Path) -> None:
    def then(device: RollbackDevice, after: int) -> None:
        marked = not (device.backing / "commit").exists() or (device.backing / "frozen/folding").exists()
        device.start(image)
        if image == OLD and not marked:
            # The commit counts from the moment on that the fold begins.
            return
        assert device.shown("own") == "b", after
        assert device.shown("deep/er/more") == "b", after
        assert device.shown("deep/er/file") == "b", after
        assert device.shown("gone") == "", after
        assert device.shown("linked") == "a", after
        assert device.shown("tree/x") == "", after
        assert device.shown("tree/z") == "b", after

    cut_then(folding, policy, cut, tmp_path, then)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_step_back_that_image_b_comes_after(policy: str, cut: str, tmp_path: Path) -> None:
    """The newer data are on top, or kept as undone, and never gone."""

    def then(device: RollbackDevice, after: int) -> None:
        device.start(NEW)
        undone = device.backing / "undone/own"
        assert device.shown("own") == "b" or undone.read_text() == "b", after
        if device.shown("own") == "b" and policy == "keep":
            assert device.shown("linked") == "a", after
        device.start(OLD)
        tree, *_ = device.a
        now_tree, *_ = device.exact()
        assert now_tree == tree, after

    cut_then(stepping, policy, cut, tmp_path, then)
