# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A reset during a boot: as staged by the operator or asked for by systemd, and safe against power cuts."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lossydisk import WAYS, cut_off_lossy
from overlay_prepare import persistent
from persistentdevice import OLD, Device, pretend
from powercut import cut_everywhere
from tree import fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    found = Device(tmp_path)
    found.boot()
    found.use()
    return found


REQUESTS = {
    "whole": "all\n",
    "keep": "all\nkeep /VAR/lib/app\nkeep /VAR/lib/docker/layer\n",
    "path": "path /VAR/lib/app\npath /VAR/conf\npath /VAR/o/x\n",
    "path-keep": "path /VAR/lib\nkeep /VAR/lib/app/one\n",
    "passed": "path /VAR/lib/docker\n",
}


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("updated", [False, True])
def test_a_staged_reset_cut_off_at_any_call_comes_to_the_same(kind: str, updated: bool, tmp_path: Path) -> None:
    made: list[Device] = []

    def prepare() -> "Callable[[], object]":
        Device.identity = OLD
        made.append(Device(tmp_path / str(len(made))))
        made[-1].boot()
        made[-1].use()
        made[-1].boot(direct=("lib/docker",))
        made[-1].stage(REQUESTS[kind])
        if updated:
            made[-1].update()
        return lambda: made[-1].boot(direct=("lib/docker",))

    def look() -> object:
        assert not (made[-1].backing / "reset").exists(), "it is done once"
        # To the user it does not matter whether the image's names were noted for a new upper layer.
        return {name: what for name, what in made[-1].layers().items() if name != "work"}

    assert cut_everywhere(prepare, look) > 5
    if kind not in ("whole", "keep"):
        assert (made[-1].upper / "mine").read_text() == "mine"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("kind", REQUESTS)
def test_a_staged_reset_whose_unsynced_half_is_lost_is_done_again(
    kind: str, low: bool, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request must not be gone before its work is on the disk; `low`: where nothing can be put aside."""
    monkeypatch.setattr("overlay_prepare.reset.is_low", lambda _backing: low)
    made: list[Device] = []

    def prepare() -> "Callable[[], object]":
        Device.identity = OLD
        made.append(Device(tmp_path / str(len(made))))
        made[-1].boot()
        made[-1].use()
        made[-1].boot(direct=("lib/docker",))
        made[-1].stage(REQUESTS[kind])
        return lambda: made[-1].boot()

    def look() -> object:
        assert not (made[-1].backing / "reset").exists(), "it is done once"
        return {name: what for name, what in made[-1].layers().items() if name != "work"}

    assert cut_everywhere(prepare, look, lambda step, after: cut_off_lossy(step, after, way, tmp_path)) > 5


@pytest.mark.parametrize("content", [b"nonsense\n", b"all\npath ../x\n", b"\0\0\0\0"])
def test_a_request_that_is_not_understood_resets_nothing_and_is_put_away(
    content: bytes, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    (device.backing / "reset").write_bytes(content)
    before = read_tree(device.upper)
    device.boot()
    said = capsys.readouterr().err
    assert said.startswith(f"<3>{device.backing}/reset: ")
    assert said.endswith(("; nothing is reset\n", "; the rest of it is not done\n"))
    assert (device.backing / "reset.refused").read_bytes() == content
    assert read_tree(device.upper) == before
    device.boot()
    assert capsys.readouterr().err == ""


def test_a_directory_in_the_place_of_a_request_stops_no_boot(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    (device.backing / "reset").mkdir()
    device.boot()
    assert (
        f"<3>{device.backing}/reset: is a directory, and a file is wanted; nothing is reset\n"
        in capsys.readouterr().err
    )
    assert (device.upper / "mine").exists()


def test_an_empty_request_is_done_at_once(device: Device) -> None:
    before = read_tree(device.upper)
    device.stage("")
    device.boot()
    assert not (device.backing / "reset").exists()
    assert read_tree(device.upper) == before


def test_what_was_done_is_said(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    device.stage("path /VAR/conf\npath /VAR/lib/app/two\npath /etc/passwd\n")
    device.boot()
    assert capsys.readouterr().err.splitlines() == [
        f"<4>/etc/passwd is not below {device.where}",
        f"<5>{device.where}: reset as asked by the operator; 2 things were put aside",
    ]
    device.stage("all\n")
    device.boot()
    assert f"<5>{device.where}: reset as asked by the operator; the upper layer is empty\n" in capsys.readouterr().err


def test_a_factory_reset_empties_it_once_in_a_boot(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = tmp_path / "generator.early/basic.target.wants/factory-reset-now.target"
    monkeypatch.setattr(persistent, "_FACTORY_RESET", str(wanted))
    device.boot()
    assert (device.upper / "mine").exists()
    wanted.parent.mkdir(parents=True)
    wanted.symlink_to("/usr/lib/systemd/system/factory-reset-now.target")
    device.boot()
    assert os.listdir(device.upper) == []
    fill(device.upper, "since")
    device.boot()
    assert os.listdir(device.upper) == ["since"]


def test_the_link_that_is_looked_for_is_the_one_that_systemd_makes() -> None:
    """systemd-factory-reset-generator(8), systemd 258 and later."""
    path = "/run/systemd/generator.early/basic.target.wants/factory-reset-now.target"
    assert path == persistent._FACTORY_RESET
