# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What prepare says and leaves behind for programs and people."""

import json
import os
import sys
from pathlib import Path

import pytest

from overlay_prepare import report
from overlay_prepare.patience import Late
from overlay_prepare.report import Unusable, describe, leave, note


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(report, "_MESSAGES", str(tmp_path / "motd.d"))
    return tmp_path


TEXTS = ['a"b\\c', "\n\t\x00\x1f\x7f", "é\udcff", "plain", "\u2028", "\U0001f600", "\U000e0001", ""]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_a_json_string(text: str, places: Path) -> None:
    leave(text, "/backing/x", "reason", "text")
    found = json.loads((places / "state/x.json").read_text())
    assert found == {"where": text, "backing": "/backing/x", "fallen_back": "reason"}


def test_a_good_boot_leaves_word_and_says_nothing(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    note("/var", "/mounts/var", "")
    assert json.loads((places / "state/var.json").read_text())["fallen_back"] == ""
    assert not (places / "motd.d/overlay-generator-var").exists()
    assert capsys.readouterr() == ("", "")
    for path, mode in ((places / "state", 0o755), (places / "state/var.json", 0o644)):
        assert path.stat().st_mode & 0o777 == mode, "everybody may read it"


def test_the_next_good_start_takes_the_message_away(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A soft reboot keeps /run."""
    note("/var", "/mounts/var", "the disk is missing")
    assert "<4>/var: NOT persistent: the disk is missing;" in capsys.readouterr().err
    assert (places / "motd.d/overlay-generator-var").read_text().startswith("WARNING: /var: NOT persistent: the disk")
    note("/var", "/mounts/var", "")
    assert not (places / "motd.d/overlay-generator-var").exists()
    assert json.loads((places / "state/var.json").read_text())["fallen_back"] == ""


@pytest.mark.parametrize(("reason", "left"), [
    ("why", ["motd.d/overlay-generator-var", "state/var.json"]), ("", ["state/var.json"]),
])  # fmt: skip
def test_of_what_is_left_each_is_tried_and_the_first_fault_is_raised(
    reason: str, left: "list[str]", places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(28, "the first")

    monkeypatch.setattr(report, "fail", refuse)
    monkeypatch.setattr(report, "remove_file", refuse)
    with pytest.raises(OSError, match="the first"):
        leave("/var", "/mounts/var", reason, "text")
    assert sorted(str(path.relative_to(places)) for path in places.glob("*/*")) == left


def test_on_a_full_run_the_unit_fails_by_an_empty_file(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "write", refuse)
    (places / "state").mkdir()
    held = len(os.listdir("/proc/self/fd"))
    before = os.umask(0)
    try:
        with pytest.raises(OSError, match="No space left on device"):
            report.fail("var", "why")
    finally:
        os.umask(before)
    made = places / "state/var.failed"
    assert (made.read_text(), made.stat().st_mode & 0o7777) == ("", 0o644)
    assert len(os.listdir("/proc/self/fd")) == held


def test_the_reason_is_one_line_for_the_unit_that_fails(places: Path) -> None:
    note("/var", "/mounts/var", "the disk\nis  missing\t")
    assert (places / "state/var.failed").read_text() == "the disk is missing\n"
    note("/var", "/mounts/var", "")
    assert not (places / "state/var.failed").exists(), "of the system before a soft reboot"


@pytest.mark.parametrize(("error", "text"), [
    (OSError(28, "No space left on device", "/x"), "/x: No space left on device"),
    (OSError(28, "No space left on device"), "No space left on device"),
    (Unusable("vfat can't hold it"), "vfat can't hold it"),
    (RecursionError("too deep"), "RecursionError: too deep"),
])  # fmt: skip
def test_an_error_is_a_sentence(error: Exception, text: str) -> None:
    assert describe(error) == text


def test_a_count_has_the_words_that_fit_it() -> None:
    assert [report.spell_count(number, "entry", "entries") for number in (0, 1, 2)] == [
        "0 entries",
        "1 entry",
        "2 entries",
    ]


def test_the_levels_are_those_of_syslog(capsys: pytest.CaptureFixture[str]) -> None:
    """LOG_ERR, LOG_WARNING and LOG_NOTICE of syslog(3)."""
    for level in (report.ERROR, report.WARNING, report.NOTICE):
        report.say(level, "text\x1b[2J")
    assert capsys.readouterr().err == "".join(f"<{number}>text\\x1b[2J\n" for number in (3, 4, 5))


def test_what_can_not_be_written_is_lost_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def write(self, _text: str) -> None:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Broken())
    report.say(report.ERROR, "text")


def test_without_journald_it_goes_to_the_kernel_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logged: list[tuple[int, str]] = []
    asked: list[int] = []
    monkeypatch.setattr("overlay_generator.log.is_null", lambda fd: bool(asked.append(fd)) or True)  # type: ignore[func-returns-value]
    monkeypatch.setattr("overlay_generator.log.log", lambda level, text: logged.append((level, text)))
    report.say(report.WARNING, "text")
    assert (logged, asked) == ([(4, "text")], [2])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("sent", "console", "shown", "said"), [
    (True, True, ["a\\x07b"], ""), (True, False, [], ""), (False, True, [], "<4>a\\x07b\n"),
    (False, False, [], "<4>a\\x07b\n"),
])  # fmt: skip
def test_an_event_goes_to_the_journal_and_the_console_or_is_a_line(
    sent: bool, console: bool, shown: "list[str]", said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found: list[str] = []
    monkeypatch.setattr("overlay_prepare.journal.send", lambda *_arguments: sent)
    monkeypatch.setattr("overlay_prepare.journal.show", found.append)
    report.tell("event", report.WARNING, "a\x07b", {}, console=console)
    assert found == shown
    assert capsys.readouterr().err == said


def test_without_more_to_say_an_event_is_shown_on_the_console(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    monkeypatch.setattr("overlay_prepare.journal.send", lambda *_arguments: True)
    monkeypatch.setattr("overlay_prepare.journal.show", found.append)
    report.tell("event", report.WARNING, "text", {})
    assert found == ["text"]


def test_what_could_not_be_done_behind_the_boot_is_a_line_each(places: Path) -> None:
    report.leave_behind("var", ["one\x1b", "two"])
    assert (places / "state/var.behind").read_text() == "one\\x1b\ntwo\n"
    for _ in range(2):
        report.leave_behind("var", [])
        assert os.listdir(places / "state") == []


def test_what_is_unexpected_has_its_type() -> None:
    assert describe(report.Refused("no")) == "no"
    assert describe(Late("late")) == "late"
    assert describe(ValueError("bad")) == "ValueError: bad"
