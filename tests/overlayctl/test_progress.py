# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The line that shows how far a long walk has come."""

import io
import sys
import time

import pytest

from overlayctl.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "wanted", "expected"),
    [
        (Terminal(), True, "\r1,000 changes ...\033[K\r2,000 changes ...\033[K\r\033[K"),
        (Terminal(), False, ""),
        (io.StringIO(), True, ""),
    ],
)
def test_progress(stream: io.StringIO, wanted: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shown on a terminal, when the walk takes long, and erased at the end."""
    monkeypatch.setattr(sys, "stderr", stream)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(wanted)
    progress.advance(500)
    for count in (500, 1000):
        now[0] += 3
        progress.advance(count)
        # Again right away: nothing is shown.
        progress.advance(0)
    progress.end()
    assert stream.getvalue() == expected
