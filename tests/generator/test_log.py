# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Log lines: for the kernel as PID 1 runs us, for a person on stderr, and never a reason to fail."""

import os
import posix
import re
import subprocess
import sys
from pathlib import Path

import pytest

from overlay_generator import log as module
from overlay_generator.log import ERROR, NOTICE, WARNING, log
from product import ENVIRON, REPOSITORY, skip_without_mount_namespace

CHILD = """\
import sys
sys.path.insert(0, sys.argv[1])
from overlay_generator.log import log
log(int(sys.argv[2]), sys.argv[3])
"""


def in_namespace(script: str, *command: "str | Path", stderr: int = subprocess.DEVNULL) -> int:
    """The exit status of `command` in a child whose mounts the shell command `script` has changed."""
    skip_without_mount_namespace()
    shell = ["unshare", "-m", "sh", "-ec", f'mount --make-rprivate / ; {script} ; exec "$@"', "sh"]
    # The shell and what it runs share one stderr, as a generator has it from PID 1.
    return subprocess.run([*shell, *command], env=ENVIRON, stderr=stderr, check=False).returncode


def kernel_record(tmp_path: Path, *command: "str | Path") -> "tuple[int, bytes]":
    """The exit status of `command`, and what it wrote to the kernel log. The host's own is never touched."""
    record = tmp_path / "kmsg"
    record.write_bytes(b"")
    if not os.path.exists("/dev/kmsg"):
        pytest.skip("no /dev/kmsg to put a file over")
    status = in_namespace(f"mount --bind '{record}' /dev/kmsg", *command)
    return status, record.read_bytes()


def logged(tmp_path: Path, level: int, text: str) -> bytes:
    arguments = [str(REPOSITORY / "generator"), str(level), text]
    status, record = kernel_record(tmp_path, sys.executable, "-c", CHILD, *arguments)
    assert status == 0
    return record


@pytest.mark.parametrize(
    ("level", "text", "priority", "expected"),
    [
        (ERROR, "/var is not overlaid", 27, "/var is not overlaid"),
        (WARNING, "x", 28, "x"),
        (NOTICE, "été 中", 29, "été 中"),
        (NOTICE, "a\nb\tc\x1b[31m\x7f", 29, r"a\x0ab\x09c\x1b[31m\x7f"),
        (ERROR, "a\udcffb", 27, r"a\xffb"),
        (ERROR, "a\u2028b\u200bc", 27, r"a\xe2\x80\xa8b\xe2\x80\x8bc"),
        (ERROR, "", 27, ""),
        (ERROR, "100% %s", 27, "100% %s"),
    ],
)
def test_a_record_for_the_kernel_log(level: int, text: str, priority: int, expected: str, tmp_path: Path) -> None:
    record = logged(tmp_path, level, text).decode()
    assert re.fullmatch(rf"<{priority}>overlay-generator\[[0-9]+\]: {re.escape(expected)}\n", record)


@pytest.mark.parametrize("character", ["a", "é", "中", "\U0001f600", "\n", "\udcff"])
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_a_long_record_is_cut_below_900_bytes_and_not_in_a_character(
    character: str, shift: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = b""

    def take(fd: int, data: bytes) -> int:
        nonlocal record
        assert (fd, record) == (77, b""), "more than one write is more than one record"
        record = data
        return len(data)

    monkeypatch.setattr(module, "is_null", lambda _fd: True)
    monkeypatch.setattr(posix, "open", lambda *_arguments: 77)
    monkeypatch.setattr(posix, "write", take)
    monkeypatch.setattr(posix, "close", lambda _fd: None)
    log(ERROR, "x" * shift + character * 1000)
    assert 880 <= len(record) <= 900
    assert record.decode().endswith("...\n")
    assert record.count(b"\n") == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("length", [820, 860, 870, 880])
def test_only_what_is_too_long_is_cut(length: int, tmp_path: Path) -> None:
    head, _, text = logged(tmp_path, ERROR, "é" * (length // 2)).decode().partition(": ")
    whole = len(head) + 2 + length
    assert text == "é" * (length // 2) + "\n" if whole < 900 else text.endswith("é...\n")


@pytest.mark.parametrize(
    ("level", "text", "expected"),
    [
        (ERROR, "a", "overlay-generator: error: a\n"),
        (WARNING, "a", "overlay-generator: warning: a\n"),
        (NOTICE, "é", "overlay-generator: notice: é\n"),
        (NOTICE, "a\nb\udcff", "overlay-generator: notice: a\\x0ab\\xff\n"),
        (ERROR, "x" * 2000, "overlay-generator: error: " + "x" * 2000 + "\n"),
    ],
)
def test_a_person_reads_it_on_stderr(level: int, text: str, expected: str, capfd: pytest.CaptureFixture[str]) -> None:
    log(level, text)
    assert capfd.readouterr() == ("", expected)


def test_with_a_stderr_the_kernel_log_is_left_alone(tmp_path: Path, executable: Path) -> None:
    record = tmp_path / "kmsg"
    record.write_bytes(b"")
    with (tmp_path / "stderr").open("wb") as stderr:
        status = in_namespace(f"mount --bind '{record}' /dev/kmsg", executable, "a", "b", stderr=stderr.fileno())
    assert status == 1
    assert (tmp_path / "stderr").read_text().startswith("overlay-generator: error: takes one directory or three")
    assert record.read_bytes() == b""


def test_the_executable_logs_to_the_kernel_where_pid_1_closed_its_ears(tmp_path: Path, executable: Path) -> None:
    status, record = kernel_record(tmp_path, executable, "a", "b")
    assert status == 1
    expected = rb"<27>overlay-generator\[[0-9]+\]: takes one directory or three, not 2; see .*--help\n"
    assert re.fullmatch(expected, record)


def test_a_closed_stderr_is_as_good_as_none(tmp_path: Path, executable: Path) -> None:
    status, record = kernel_record(tmp_path, "/bin/sh", "-c", 'exec "$0" a b 2>&-', executable)
    assert status == 1
    assert b"]: takes one directory or three" in record


@pytest.mark.parametrize("script", ["mount -t tmpfs tmpfs /dev", "mount -t tmpfs tmpfs /dev && mkdir /dev/kmsg"])
def test_without_a_kernel_log_the_exit_status_is_all_there_is(script: str, executable: Path) -> None:
    assert in_namespace(script, executable, "a", "b") == 1


def test_a_stderr_that_takes_nothing_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _data: bytes) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(module, "is_null", lambda _fd: False)
    monkeypatch.setattr(posix, "write", refuse)
    log(ERROR, "a")
