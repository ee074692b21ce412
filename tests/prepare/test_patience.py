# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""prepare gives up on a disk before systemd gives up on prepare."""

import signal
import time
from collections.abc import Iterator

import pytest

from overlay_prepare import patience
from overlay_prepare.patience import Late, Patience


@pytest.fixture(autouse=True)
def handler() -> "Iterator[None]":
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_it_ends_before_systemd_ends_it() -> None:
    """TimeoutStartSec= of render.py is 15 minutes."""
    with Patience():
        assert 13 * 60 < signal.alarm(0) <= 14 * 60 == patience.SECONDS


def test_what_takes_too_long_ends_at_whatever_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SECONDS", 1)
    with pytest.raises(Late, match="it is not done after 0 minutes"), Patience():
        time.sleep(30)


def test_who_takes_it_for_something_else_hears_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SECONDS", 1)
    monkeypatch.setattr(patience, "_AGAIN", 1)
    heard = 0
    with Patience():
        for _ in range(2):
            try:
                time.sleep(30)
            except Late:
                heard += 1
    assert heard == 2


def test_the_second_time_is_some_seconds_later() -> None:
    with pytest.raises(Late, match="it is not done after 14 minutes"):
        Patience._end()
    assert 3 < signal.alarm(0) <= 5


def test_afterwards_nothing_ends() -> None:
    with Patience():
        pass
    assert signal.alarm(0) == 0
