# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a datagram with an event has, that an event is said once, and what becomes of it without a journald."""

import os
import socket
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from journald import Journald
from overlay_prepare import events, journal
from overlay_prepare.journal import send, spell
from overlay_prepare.report import ERROR, tell

WHERE = {"where": "/var", "reason": "why"}


def test_an_event_is_one_entry_with_its_fields_and_no_line(
    journald: Journald, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_find_unit", lambda: "prepare-var-overlay.service")
    tell(events.FELL_BACK, ERROR, "a\tsentence", WHERE)
    assert journald.read() == [
        {
            "MESSAGE": "a\\x09sentence", "MESSAGE_ID": events.FELL_BACK, "PRIORITY": "3", "SYSLOG_FACILITY": "3",
            "SYSLOG_IDENTIFIER": "overlay-generator", "SYSLOG_PID": f"{os.getpid()}",
            "OBJECT_SYSTEMD_UNIT": "prepare-var-overlay.service", "OVERLAY_WHERE": "/var", "OVERLAY_REASON": "why",
        }
    ]  # fmt: skip
    assert capfd.readouterr() == ("", "")


def test_what_goes_to_the_console_by_stderr_is_there_without_it(journald: Journald, tmp_path: Path) -> None:
    tell(events.FELL_BACK, ERROR, "a sentence", WHERE)
    assert not (tmp_path / "console").exists(), "a machine may have none"
    (tmp_path / "console").touch()
    tell(events.FELL_BACK, ERROR, "a sentence", WHERE)
    assert (tmp_path / "console").read_text() == "overlay-generator: a sentence\n"
    tell(events.FELL_BACK, ERROR, "another", WHERE, console=False)
    assert "another" not in (tmp_path / "console").read_text()
    assert len(journald.read()) == 3


@pytest.mark.parametrize("unit", ["", "a.service"])
def test_without_a_unit_no_field_names_one(unit: str, journald: Journald, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_find_unit", lambda: unit)
    assert send(events.FELL_BACK, ERROR, "text", WHERE)
    (found,) = journald.read()
    assert found.get("OBJECT_SYSTEMD_UNIT", "none") == (unit or "none")


def test_where_stderr_is_closed_nobody_is_known_to_listen(journald: Journald, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr("posix.fstat", fail)
    assert not send(events.FELL_BACK, ERROR, "text", WHERE)
    assert journald.read() == []


@pytest.mark.parametrize("heard", [True, False])
def test_nothing_stays_open_nor_is_left_to_the_interpreter(
    heard: bool, in_unit: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    warnings.simplefilter("always", ResourceWarning)
    (tmp_path / "console").touch()
    made = Journald(in_unit) if heard else None
    held = len(os.listdir("/proc/self/fd"))
    assert send(events.FELL_BACK, ERROR, "a sentence", WHERE) is heard
    journal.show("a sentence")
    assert len(os.listdir("/proc/self/fd")) == held
    assert [warning for warning in recwarn if warning.category is ResourceWarning] == []
    if made:
        made.socket.close()


@pytest.mark.usefixtures("in_time")
def test_a_console_that_stands_still_holds_no_boot(journald: Journald, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "console")
    tell(events.FELL_BACK, ERROR, "nobody reads", WHERE)
    reader = os.open(tmp_path / "console", os.O_RDONLY | os.O_NONBLOCK)
    for _ in range(3000):
        journal.show("x" * 100)
    os.close(reader)
    assert len(journald.read()) == 1


@pytest.mark.parametrize(
    "value",
    ["", "a=b", "two\nlines", "\nMESSAGE_ID=another", "\udcff\udc8a", "é\u2028", "x" * 8192, "\n" * 8192, "\0"],
)
def test_any_value_comes_through(value: str, journald: Journald) -> None:
    assert send(events.FELL_BACK, ERROR, "text", {"where": value})
    (found,) = journald.read()
    assert found["OVERLAY_WHERE"] == value
    assert found["MESSAGE_ID"] == events.FELL_BACK


def test_what_is_too_long_is_cut_and_sent(journald: Journald) -> None:
    # Each of them longer than all that a datagram holds.
    fields = {f"n{number}": "é" * 300000 for number in range(8)}
    assert send(events.FELL_BACK, ERROR, "y" * 300000, fields)
    (found,) = journald.read()
    assert found["MESSAGE"] == "y" * 8189 + "..."
    assert found["OVERLAY_N0"] == "é" * 4094 + "...", "in the middle of no character"


def test_a_name_and_its_value_are_told_apart() -> None:
    assert spell({"A": "b", "C": "d\ne"}) == b"A=b\nC\n\x03\0\0\0\0\0\0\0d\ne\n"


def refuse(path: Path) -> None:
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind(str(path))  # bound, and closed again


def fill_up(path: Path) -> None:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(str(path))
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    KEPT.append(made)
    try:
        while True:
            sender.sendto(b"x", str(path))
    except BlockingIOError:
        sender.close()


KEPT: "list[socket.socket]" = []
LINE = "<3>a sentence\n"


@pytest.mark.parametrize("spoil", [None, refuse, fill_up, Path.touch, Path.mkdir])
def test_without_a_journald_that_takes_it_it_is_a_line_once(
    spoil: "Callable[[Path], None] | None", in_unit: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if spoil:
        spoil(in_unit)
    before = time.monotonic()
    tell(events.FELL_BACK, ERROR, "a sentence", WHERE)
    assert time.monotonic() - before < 10
    assert capfd.readouterr().err == LINE
    assert not (tmp_path / "console").exists()


def test_without_a_journald_at_all_it_is_in_the_kernel_log(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Then systemd connects stderr to /dev/null."""
    lines = []
    monkeypatch.setattr("overlay_generator.log._write_to_kernel", lambda level, text: lines.append((level, text)))
    kept, null = os.dup(2), os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 2)
    try:
        tell(events.FELL_BACK, ERROR, "a sentence", WHERE)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
    assert lines == [(ERROR, "a sentence")]
    assert capfd.readouterr().err == ""


def test_in_a_python_without_sockets_it_is_a_line(
    journald: Journald, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """_socket is in another package than the interpreter in OpenEmbedded."""
    monkeypatch.setitem(sys.modules, "_socket", None)
    tell(events.FELL_BACK, ERROR, "a sentence", WHERE)
    assert capfd.readouterr().err == LINE
    assert journald.read() == []


@pytest.mark.parametrize("stream", ["", "0:0", "nonsense", "1:2:3"])
def test_who_runs_it_by_hand_reads_it(
    stream: str, journald: Journald, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("overlay_generator.gather.read_environ", lambda: {"JOURNAL_STREAM": stream})
    tell(events.FELL_BACK, ERROR, "a sentence", WHERE)
    assert capfd.readouterr().err == LINE
    assert journald.read() == []


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/a-b.service\n", "a-b.service"),
        ("0::/system.slice/a.service/inner\n", ""),
        ("12:cpu:/\n1:name=systemd:/system.slice/a.service\n0::/\n", "a.service"),
        ("0::/user.slice/session-1.scope\n", ""),
        ("", ""),
        ("\n0\n0:\n::/a.service\n", ""),
    ],
)
def test_the_unit_is_that_of_the_control_group(text: str, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overlay_generator.gather.read_file", lambda _path: text.encode())
    assert journal._find_unit() == unit
