# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The unit that tells the journal what the generator has found, and memory that took the place of a disk of fstab's."""

import shlex
from typing import Any

import pytest

from overlay_generator import boot, log
from overlay_generator.boot import make_files, report
from overlay_generator.decide import decide
from overlay_generator.events import render_events
from overlay_generator.found import OnOverlay, Storage
from overlay_generator.model import (
    Directory,
    FstabEntry,
    Inputs,
    OverlayMount,
    Plan,
    Problem,
    Request,
    Settings,
    Skipped,
    UnitFile,
)
from overlay_prepare import events, telling
from overlay_prepare import report as prepare_report
from plans import disk, overlay, values

ENGINE = OnOverlay(Storage("/usr/lib/systemd/system/x.service", "/var/lib/x", "x fails there", True), "/var")


def told(*mounts: OverlayMount, **others: Any) -> "list[list[str]]":
    """What the unit of a plan hands over, five words for each event, as a shell reads them."""
    files = render_events(Plan(mounts, **others))
    if not files:
        return []
    unit, link = files
    assert isinstance(unit, UnitFile)
    assert (unit.path, link.path) == ("overlay-events.service", f"local-fs.target.wants/{unit.path}")
    assert unit.group == link.group, "a unit that can't be written takes nothing else with it"
    (command,) = values(unit.text, "ExecStart")
    words = shlex.split(command.replace("%%", "%").replace("$$", "$"))
    assert words[:2] == ["-/usr/bin/python3", "-ISB"]
    assert words[3] == "--tell"
    return [words[position : position + 5] for position in range(4, len(words), 5)]


def lost(reason: str = "why") -> OverlayMount:
    mount = overlay("/var")
    mount.backing.lost = reason
    return mount


def test_there_is_none_where_all_is_well() -> None:
    assert told(overlay("/var"), disk("/srv", nofail=True)) == []
    assert told(skipped=(Skipped("/home", "by fstab"), Skipped("/srv", "a user's manager", "quiet"))) == []


def test_each_event_has_its_words() -> None:
    skipped = (Skipped("/home", 'a "why" of $5, 100% \\n', "error"),)
    assert told(lost(), skipped=skipped, storage=(ENGINE,)) == [
        ["not-overlaid", "error", "/home", str(skipped[0]), skipped[0].reason],
        ["fell-back", "warning", "/var",
         "/var: NOT persistent: why; all that is written is lost at the next boot", "why"],
        ["not-passed-through", "warning", "/var", str(ENGINE), "x fails there"],
    ]  # fmt: skip


def test_it_is_told_also_where_no_unit_is_to_fail() -> None:
    """Notify=notice leaves it at the journal."""
    mount, skipped = lost(), Skipped("/home", "why", "error")
    mount.settings, skipped.notify = Settings(notify="notice"), "notice"
    names = [file.path for file in make_files(Plan((mount,), (skipped,)))]
    assert "overlay-events.service" in names
    assert not [name for name in names if name.startswith(("overlay-missing", "overlay-not-persistent"))]


def test_no_boot_waits_for_it() -> None:
    unit = render_events(Plan((lost(),)))[0]
    assert isinstance(unit, UnitFile)
    assert values(unit.text, "DefaultDependencies") == ["no"]
    assert values(unit.text, "Before") == ["umount.target"]
    assert values(unit.text, "After") == ["multi-user.target"]
    assert not values(unit.text, "Requires") + values(unit.text, "Wants")


def test_prepare_knows_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = []
    monkeypatch.setattr(telling, "tell", lambda event, *_rest, **_options: heard.append(event))
    skipped = (Skipped("/home", "why", "error"),)
    words = [word for event in told(lost(), skipped=skipped, storage=(ENGINE,)) for word in event]
    assert telling.tell_all(words) == 0
    assert heard == [events.NOT_OVERLAID, events.FELL_BACK, events.NOT_PASSED_THROUGH]
    assert {name for name, *_ in told(lost(), skipped=skipped, storage=(ENGINE,))} == {*events.BY_NAME}
    assert prepare_report.ERROR == log.ERROR


@pytest.mark.parametrize("unit_tells", [False, True])
def test_what_the_unit_tells_is_said_once_but_for_errors(unit_tells: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    monkeypatch.setattr(log, "log", lambda _level, text: lines.append(text))
    skipped = Skipped("/home", "why", "error")
    assert report(Plan(skipped=(skipped,), storage=(ENGINE,)), told=unit_tells) == 1
    assert (str(ENGINE) in lines) == (not unit_tells)
    assert str(skipped) in lines, "all that an emergency shell has"


def test_the_sentence_is_said_where_its_unit_can_t_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    lines = []
    monkeypatch.setattr(log, "log", lambda _level, text: lines.append(text))
    monkeypatch.setattr(boot, "make_plan", lambda *_arguments: Plan(storage=(ENGINE,)))
    monkeypatch.setattr(boot, "_guard", lambda: None)
    gone = {"normal": str(tmp_path / "gone"), "late": str(tmp_path / "gone")}
    assert boot.generate("", {}, gone) == 1
    assert str(ENGINE) in lines
    lines.clear()
    assert boot.generate("", {}, {"normal": str(tmp_path), "late": str(tmp_path)}) == 0
    assert lines == []


# Memory in the place of a disk that was asked for, and memory that was asked for


def plan(*entries: FstabEntry, **others: Any) -> Plan:
    request = others.pop("request", Request("/proc/cmdline", ("/var",)))
    directories = {"/var": Directory("directory")}
    return decide(Inputs(request, tuple(entries), directories=directories, **others))


AT = "/run/buildroot/mounts/var"
LINE = FstabEntry("/dev/vda2", AT, "ext4", "nofail", "/etc/fstab", 3)
# The disk is on a device whose key lies in /var.
IN_A_CYCLE = FstabEntry("/dev/mapper/data", AT, "ext4", "nofail", "/etc/fstab", 3)
CRYPTTAB = "data /dev/vda2 /var/lib/key luks\n"


def failing(found: Plan) -> "list[str]":
    return [file.path for file in make_files(found) if file.path.startswith("overlay-not-persistent")]


def test_a_cycle_of_a_nofail_line_raises_the_unit() -> None:
    found = plan(IN_A_CYCLE, crypttab=CRYPTTAB)
    (mount,) = found.mounts
    assert mount.backing.volatile
    assert mount.backing.lost.startswith("/etc/fstab:3 can't hold its upper layer: it would have to be there before")
    assert failing(found) == ["overlay-not-persistent@var.service"]
    (unit,) = [file for file in make_files(found) if file.path == "overlay-not-persistent@var.service"]
    assert isinstance(unit, UnitFile)
    assert not values(unit.text, "ConditionPathExists")
    assert "can't hold its upper layer" in values(unit.text, "ExecStart")[0]


def test_a_cycle_without_nofail_leaves_the_directory_with_its_owner_s_settings() -> None:
    required = FstabEntry("/dev/mapper/data", AT, "ext4", "defaults", "/etc/fstab", 3)
    found = plan(required, crypttab=CRYPTTAB, settings={"/var": Settings(notify="notice", require=("persistent",))})
    assert not found.mounts
    assert [(one.notify, one.require) for one in found.skipped] == [("notice", ("persistent",))]


@pytest.mark.parametrize(
    ("hides", "is_lost"), [((), False), (("/",), True), ((AT,), True), (("/run/buildroot",), True), (("/srv",), False)]
)
def test_an_fstab_that_could_not_be_read_may_have_had_the_disk(hides: "tuple[str, ...]", is_lost: bool) -> None:
    problem = Problem("can't be read (Input/output error), and was taken as empty", "/etc/fstab", hides=hides)
    found = plan(problems=(problem,))
    assert found.mounts[0].backing.lost == (str(problem) if is_lost else "")
    assert bool(failing(found)) == is_lost
    # With a line for it that was read, that is what counts.
    assert plan(LINE, problems=(problem,)).mounts[0].backing.lost == ""


@pytest.mark.parametrize(
    ("entries", "request_"),
    [
        ((), Request("/proc/cmdline", ("/var",))),
        ((LINE,), Request("/proc/cmdline", ("/var",), in_memory=True)),
        ((FstabEntry("tmpfs", AT, "tmpfs", "", "/etc/fstab", 3),), Request("/proc/cmdline", ("/var",))),
    ],
)
def test_memory_that_was_asked_for_raises_nothing(entries: "tuple[FstabEntry, ...]", request_: Request) -> None:
    found = plan(*entries, request=request_)
    assert found.mounts[0].backing.volatile
    assert failing(found) == []
    assert render_events(found) == []


def test_upper_volatile_is_the_owner_s_word_also_beside_a_cycle() -> None:
    found = plan(IN_A_CYCLE, crypttab=CRYPTTAB, request=Request("/proc/cmdline", ("/var",), in_memory=True))
    assert failing(found) == []
    problem = Problem("can't be read", "/etc/fstab", hides=("/",))
    assert failing(plan(problems=(problem,), request=Request("/proc/cmdline", ("/var",), in_memory=True))) == []
