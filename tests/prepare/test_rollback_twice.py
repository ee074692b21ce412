# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rollback=yes where the power fails in two boots one after the other, of any images; then one or two whole ones.

Each at a call that is chosen by chance, from a seed: CUTS=all in the environment tries sixty times as many.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lossydisk import cut_off_lossy
from persistentdevice import NEW, OLD, Device, pretend
from powercut import cut_off
from rollbackdevice import THIRD, RollbackDevice, make

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
TIMES = 60 if os.environ.get("CUTS") == "all" else 1
MOST_CALLS = 70  # of a boot that freezes; what is beyond it is a boot that was not cut off
Boot = Callable[[], object]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch)


def start(device: RollbackDevice, image: str) -> None:
    """Boot `image`, whatever image a boot in another process has put below."""
    Device.identity = ""
    device.start(image)


def use(device: RollbackDevice, over: str) -> None:
    """What was there before the first boot that is cut off."""
    if over == "used":
        device.use_b()
    elif over == "unused":
        device.start(NEW)


@pytest.mark.parametrize("way", ["plain", "names", "data"])
@pytest.mark.parametrize("policy", ["keep", "refresh", "prune", "reset"])
@pytest.mark.parametrize("second", [OLD, NEW, THIRD], ids=["a", "b", "c"])
@pytest.mark.parametrize(("over", "first"), [
    ("nothing", NEW), ("used", OLD), ("unused", OLD), ("committed", NEW), ("used", THIRD),
], ids=["freeze", "step-back", "step-back-unused", "fold", "third"])  # fmt: skip
def test_cut_off_in_two_boots(over: str, first: str, second: str, policy: str, way: str, tmp_path: Path) -> None:
    def cut(boot: Boot, after: int) -> None:
        if way == "plain":
            cut_off(boot, after)
        else:
            cut_off_lossy(boot, after, way, tmp_path)

    for number in range(TIMES):
        chance = random.Random(f"{number} {over} {first} {second} {policy} {way}")
        calls = chance.randrange(MOST_CALLS), chance.randrange(MOST_CALLS)
        last = chance.choice([(OLD,), (NEW,), (OLD, NEW), (NEW, OLD), (THIRD,)])
        top = tmp_path / str(number)
        device = make(top, policy)
        use(device, "used" if over == "committed" else over)
        if over == "committed":
            (device.backing / "commit").touch()
        cut(lambda: start(device, first), calls[0])  # noqa: B023
        cut(lambda: start(device, second), calls[1])  # noqa: B023
        for image in last:
            start(device, image)
            judge(device, image, policy, f"{calls}, then {last}")
            if image == OLD and over != "committed" and THIRD not in (first, second):
                assert (device.exact()[0], device.exact()[2]) == (device.a[0], device.a[2]), f"{calls}, then {last}"
        if over in ("used", "committed"):
            found = {path.read_text() for path in device.backing.rglob("own") if path.parent.name != "o"}
            assert "b" in found, f"{calls}, then {last}: what was written over image B is nowhere"
        shutil.rmtree(top)


def judge(device: RollbackDevice, image: str, policy: str, title: str) -> None:
    """What has to be so over each image, whatever has gone back."""
    assert [str(path) for path in device.backing.rglob("*.refused*")] == [], title
    assert device.read("image") == image, title
    if policy != "reset":
        assert device.shown("o/own") == "mine", title
        assert device.shown("linked") == "a", title
    if policy == "keep" and image != OLD:
        assert device.shown("o/new") == image[-2], f"{title}: what the image adds in an opaque directory is hidden"
