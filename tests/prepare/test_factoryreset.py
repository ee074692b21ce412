# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A factory reset that systemd asks for: it is staged for the next boot, for each overlay that persists."""

import os
from pathlib import Path

import pytest

from journald import Journald
from overlay_prepare import events, main, overlays
from overlay_prepare.resetrequest import parse
from product import REPOSITORY


class Machine:
    """The state that prepare leaves, and backing directories."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state, self.mounts = top / "state", top / "mounts"
        self.mounts.mkdir()
        monkeypatch.setattr(overlays, "STATE", str(self.state))
        monkeypatch.setattr(overlays, "BACKING_ROOT", str(self.mounts))

    def add(self, name: str, persistent: bool = True) -> Path:
        backing = self.mounts / name
        backing.mkdir()
        self.state.mkdir(exist_ok=True)
        (self.state / f"{name}.json").touch()
        if persistent:
            (backing / "image").touch()
        return backing


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_what_persists_is_reset_and_what_is_in_memory_is_not(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, memory = machine.add("var"), machine.add("srv-my_2ddata"), machine.add("home", persistent=False)
    (machine.state / "var.reset").touch()
    (machine.state / "var.direct").symlink_to(one)
    (machine.state / "gone.json").touch()
    assert main.main(["prepare", "--stage"]) == 0
    for backing in (one, other):
        asked = parse((backing / "reset").read_text())
        assert (asked.whole, asked.paths, asked.keep) == (True, (), ())
        assert sorted(os.listdir(backing)) == ["image", "reset"]
    assert os.listdir(memory) == []
    lines = sorted(capsys.readouterr().err.splitlines())
    assert lines == sorted(f"<5>{backing}: reset at the next boot" for backing in (one, other))


def test_a_request_of_the_operator_gives_way_to_the_whole(machine: Machine) -> None:
    backing = machine.add("var")
    (backing / "reset").write_text("path /var/lib/app\n")
    assert main.main(["prepare", "--stage"]) == 0
    assert parse((backing / "reset").read_text()).whole


def test_where_it_can_not_be_asked_for_the_others_are_and_the_status_says_so(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = machine.add("bad"), machine.add("good")
    (bad / "reset.new").mkdir()
    for number in range(100):
        (bad / f"reset.new.refused{f'-{number}' if number else ''}").mkdir()
    assert main.main(["prepare", "--stage"]) == 1
    assert (good / "reset").exists()
    assert (
        f"<3>{bad} will not be reset: {bad}/reset.new: is a directory, and a file is wanted, and there are 100"
        in capsys.readouterr().err
    )


def test_one_that_is_refused_is_an_event_and_not_on_the_console(
    machine: Machine, journald: Journald, in_unit: Path
) -> None:
    """It is asked for while a system runs: on the console it would be in somebody's way."""
    console = in_unit.with_name("console")
    console.touch()
    bad = machine.add("bad")
    (bad / "reset.new").mkdir()
    for number in range(100):
        (bad / f"reset.new.refused{f'-{number}' if number else ''}").mkdir()
    assert main.main(["prepare", "--stage"]) == 1
    (found,) = journald.read()
    assert (found["MESSAGE_ID"], found["PRIORITY"], found["OVERLAY_BACKING"]) == (events.RESET_REFUSED, "3", str(bad))
    assert found["OVERLAY_REASON"].startswith(f"{bad}/reset.new: ")
    assert console.read_text() == ""


def test_on_a_machine_without_overlays_nothing_happens(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["prepare", "--stage"]) == 0
    assert capsys.readouterr() == ("", "")
    assert os.listdir(machine.mounts) == []


def test_the_unit_runs_what_is_tested_here() -> None:
    units = REPOSITORY / "lib/systemd/system"
    name = "overlay-generator-factory-reset.service"
    text = (units / name).read_text()
    assert "ExecStart=/usr/bin/python3 -ISB /usr/lib/overlay-generator/prepare --stage\n" in text
    link = units / "factory-reset.target.wants" / name
    assert link.is_symlink()
    assert link.resolve() == (units / name).resolve()
