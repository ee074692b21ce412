# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether the time at which an image came can be believed."""

import os
from pathlib import Path

import pytest

from overlayctl.diff.stale import is_without_clock

BUILT, EPOCH, HOUR = 1_700_000_000, 1_600_000_000, 3600


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image that was built at BUILT, with a systemd that sets a clock without a battery to EPOCH."""
    for name, time in (("usr/lib/os-release", BUILT), ("usr/lib/systemd/systemd", EPOCH)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    return tmp_path


@pytest.mark.parametrize(
    ("arrival", "wrong"),
    [(0, True), (60, True), (EPOCH + 60, True), (BUILT - 1, True), (BUILT + 1, False), (BUILT + 9 * HOUR, False)],
)
def test_an_image_does_not_come_before_it_was_made(arrival: int, wrong: bool, root: Path) -> None:
    assert is_without_clock(arrival * 10**9, str(root)) is wrong


def test_the_time_that_systemd_sets_is_no_time(root: Path) -> None:
    """Also in an image whose own times are all set to one long ago."""
    os.utime(root / "usr/lib/os-release", (1, 1))
    assert is_without_clock((EPOCH + 20) * 10**9, str(root))
    assert not is_without_clock((EPOCH + 2 * HOUR) * 10**9, str(root))
    (root / "usr/lib/clock-epoch").touch()
    os.utime(root / "usr/lib/clock-epoch", (BUILT, BUILT))
    assert is_without_clock((BUILT + 20) * 10**9, str(root))


def test_without_any_clue_the_time_is_believed(tmp_path: Path) -> None:
    assert not is_without_clock(60 * 10**9, str(tmp_path))
