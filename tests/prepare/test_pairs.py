# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two trees gone through together, however deep they are, with few descriptors."""

import os
import posix
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import pairs
from overlay_prepare.pairs import Pairs
from tree import fill


def _is(found: "tuple[object, object]", *paths: Path) -> bool:
    inodes = [posix.fstat(folder.fd).st_ino for folder in found]  # type: ignore[attr-defined]
    return inodes == [path.stat().st_ino for path in paths]


def test_it_stands_where_both_have_a_directory(tmp_path: Path) -> None:
    one, other = fill(tmp_path / "one", "a/b/c/", "a/x/"), fill(tmp_path / "other", "a/b/c/", "a/x/")
    both = Pairs(hold(one), hold(other))
    assert both.path == ""
    assert _is(both.here, one, other)
    for name in "abc":
        both.enter(name)
    assert both.path == "a/b/c"
    assert _is(both.here, one / "a/b/c", other / "a/b/c")
    assert (both.leave(), both.leave(), both.path) == ("c", "b", "a")
    assert _is(both.here, one / "a", other / "a")
    both.enter("x")
    assert _is(both.here, one / "a/x", other / "a/x")


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_few_levels_are_open_and_the_others_found_again(
    levels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_OPEN", levels)
    one, other = fill(tmp_path / "one", "a/b/c/d/e/"), fill(tmp_path / "other", "a/b/c/d/e/")
    both = Pairs(hold(one), hold(other))
    before = len(os.listdir("/proc/self/fd"))
    for name in "abcde":
        both.enter(name)
    assert len(os.listdir("/proc/self/fd")) == before + 2 * levels
    for path in ("a/b/c/d", "a/b/c", "a/b", "a"):
        both.leave()
        assert both.path == path
        assert _is(both.here, one / path, other / path)
    both.leave()
    assert _is(both.here, one, other)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("entry", ["a>b", "a=x", "c"])
def test_what_is_no_directory_in_one_of_them_is_not_entered(entry: str, tmp_path: Path) -> None:
    one, other = fill(tmp_path / "one", "a/", "b/"), fill(tmp_path / "other", "b/", entry)
    for tops in ((one, other), (other, one)):
        both = Pairs(*map(hold, tops))
        with pytest.raises(OSError, match="a"):
            both.enter("a")
        assert both.path == ""
        assert _is(both.here, *tops)
