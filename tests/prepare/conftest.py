# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of prepare share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from journald import Journald
from overlay_prepare import journal


@pytest.fixture
def in_time() -> "Iterator[None]":
    """Ends a test that would wait for ever, as on a FIFO."""

    def fail(_number: int, _frame: object) -> None:
        pytest.fail("it waits for something")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(300)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def in_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if systemd had connected stderr to the journal; where the socket of journald belongs."""

    def read_environ() -> "dict[str, str]":
        info = os.fstat(2)  # now: pytest has another one for each part of a test
        return {"JOURNAL_STREAM": f"{info.st_dev}:{info.st_ino}"}

    monkeypatch.setattr("overlay_generator.gather.read_environ", read_environ)
    monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "socket"))
    monkeypatch.setattr(journal, "_CONSOLE", str(tmp_path / "console"))
    return tmp_path / "socket"


@pytest.fixture
def journald(in_unit: Path) -> "Iterator[Journald]":
    made = Journald(in_unit)
    yield made
    made.socket.close()
