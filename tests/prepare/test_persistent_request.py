# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A reset that is asked for during a boot: what becomes of the request, and what is told."""

import errno
import os
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import events, persistent, reset
from overlay_prepare.folder import Folder, WrongKind
from overlay_prepare.request import Request
from persistentdevice import Device, pretend
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    pretend(tmp_path, monkeypatch)
    found = Device(tmp_path)
    found.boot()
    found.use()
    return found


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> "list[str]":
    """The events of the journal."""
    found: list[str] = []
    monkeypatch.setattr(persistent, "tell", lambda event, *_: found.append(event))
    return found


# What is asked for, what fails while it is done, and what is told.
REQUESTS = [
    ("", None, ""), ("path /VAR/none\n", None, ""),
    ("all\n", None, "<5>{}: reset as asked by the operator; the upper layer is empty\n"),
    ("all\nkeep /VAR/lib\n", None, "<5>{}: reset as asked by the operator; 3 things were put aside\n"),
    ("\n" * (1 << 20), None, ""),
    ("\n" * (1 << 20) + "\n", None,
     "<3>{b}/reset: has 1048577 bytes, and at most 1048576 are allowed; nothing is reset\n"),
    ("all\n", OSError(errno.EIO, "Input/output error", "/x"),
     "<3>{b}/reset: /x: Input/output error; the rest of it is not done\n"),
    ("all\n", WrongKind("is another mount", "/x"), "<3>{b}/reset: /x: is another mount; the rest of it is not done\n"),
    ("all\n", RecursionError("too deep"), "<3>{b}/reset: RecursionError: too deep; the rest of it is not done\n"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "error", "said"), REQUESTS)
def test_what_becomes_of_a_request_is_told(
    text: str, error: "Exception | None", said: str, device: Device, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def refuse(*_: object) -> None:
        raise error or AssertionError

    if error:
        monkeypatch.setattr(reset, "reset", refuse)
    device.stage(text)
    device.boot()
    err = capsys.readouterr().err
    assert "".join(line for line in err.splitlines(True) if "put aside as" not in line) == said.format(
        device.where, b=device.backing
    )
    assert not (device.backing / "reset").exists()
    assert (device.backing / "reset.refused").exists() is said.startswith("<3>")


def test_a_request_that_is_no_file_is_put_aside(device: Device, told: "list[str]") -> None:
    fill(device.backing, "reset/in/it")
    device.boot()
    assert told == [events.RESET_REFUSED]
    assert (device.backing / "reset.refused/in/it").exists()


def test_a_request_is_put_away_whatever_was_put_away_before(
    device: Device, told: "list[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """And all that was done of it is on the disk by then."""
    done: list[str] = []
    rename = Folder.rename

    def note(folder: Folder, name: str, other: str, to: "Folder | None" = None) -> None:
        rename(folder, name, other, to)
        done.append(other)

    monkeypatch.setattr(Folder, "rename", note)
    monkeypatch.setattr(Folder, "sync", lambda _self: done.append("fsync"))
    monkeypatch.setattr("posix.sync", lambda: done.append("sync"))
    fill(device.backing, "reset.refused/before")
    device.stage("nonsense\n")
    asked = Request(str(device.where), str(device.backing), str(device.backing))
    persistent._reset_as_staged(asked, hold(device.backing))
    assert done == ["sync", "reset.refused.refused", "reset.refused", "fsync"]
    assert (device.backing / "reset.refused").read_text() == "nonsense\n"
    assert (device.backing / "reset.refused.refused/before").exists()
    assert told == [events.RESET_REFUSED]


@pytest.mark.parametrize("by", ["boot", "operator", "policy"])
def test_what_is_passed_through_is_reset_where_somebody_asks_for_it(by: str, device: Device) -> None:
    device.boot(direct=("lib/docker",))
    (made,) = (device.backing / "direct").iterdir()
    if by == "operator":
        device.stage("all\n")
    elif by == "policy":
        device.update()
    device.boot("reset" if by == "policy" else "keep", direct=("lib/docker",), reset=by == "boot")
    assert (made / "layer").exists() is (by == "policy")
    assert not (device.upper / "mine").exists()
