# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of prepare share."""

import signal
from collections.abc import Iterator

import pytest


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
