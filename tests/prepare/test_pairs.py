# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two trees gone through together, however deep they are, with few descriptors."""

import os
import posix
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import pairs
from overlay_prepare.folder import WrongKind
from overlay_prepare.pairs import Names, Pairs
from tree import dig, fill


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


def test_a_deep_pair_does_not_take_the_square_of_its_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        dig(tmp_path / name, 300, "d")
    opened = 0
    open_ = posix.open

    def open_counted(*words: object, **more: object) -> int:
        nonlocal opened
        opened += 1
        return open_(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(posix, "open", open_counted)
    both = Pairs(hold(tmp_path / "one"), hold(tmp_path / "other"))
    for depth in range(300):
        assert both.path == "/".join("d" * depth)
        both.enter("d")
    assert [both.leave() for _ in range(300)] == ["d"] * 300
    assert both.path == ""
    assert 1000 < opened < 1300


def test_a_path_that_is_longer_than_any_is_none(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        dig(tmp_path / name, 20, "d" * 255)
    both = Pairs(hold(tmp_path / "one"), hold(tmp_path / "other"))
    lengths = []
    for _ in range(20):
        both.enter("d" * 255)
        lengths.append(len(both.path or ""))
    assert lengths == [256 * level - 1 for level in range(1, 16)] + [0] * 5
    for _ in range(5):
        both.leave()
    assert len(both.path or "") == 256 * 15 - 1


def test_a_level_that_was_moved_away_meanwhile_is_not_taken_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_OPEN", 1)
    one, other = fill(tmp_path / "one", "a/b/c/", "x/"), fill(tmp_path / "other", "a/b/c/")
    both = Pairs(hold(one), hold(other))
    for name in "abc":
        both.enter(name)
    (one / "a/b").rename(one / "x/b")
    assert both.leave() == "c"
    with pytest.raises(WrongKind, match="was moved meanwhile"):
        both.leave()


@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize(("count", "most"), [(0, 3), (2, 3), (3, 3), (4, 3), (10, 3)])
def test_of_many_names_few_are_kept(
    count: int, most: int, gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_NAMES", 2 * most)
    monkeypatch.setattr(pairs, "_FEWEST", 1)
    fill(tmp_path, "file", *(f"{number}/" for number in range(count)))
    names = Names()
    with hold(tmp_path) as top:
        for entry in top.scan():
            if entry.is_dir():
                names.add(entry.name, 2)
        seen = []
        while not names.is_over():
            name = names.take(top, 2, gone)
            if name is None:
                break
            seen.append(name)
            assert len(names._found) < most
            if gone:
                (tmp_path / name).rmdir()
        assert names.take(top, 2, gone) is None
        assert names.is_over()
    assert sorted(seen) == sorted(f"{number}" for number in range(count))


@pytest.mark.parametrize(("depth", "kept"), [(1, 8192), (2, 4096), (100, 81), (1000, 64)])
def test_the_deeper_the_fewer_names_are_kept(depth: int, kept: int) -> None:
    names = Names()
    assert [names.add("", depth) for _ in range(kept + 2)] == [True] * kept + [False] * 2


@pytest.mark.parametrize("entry", ["a>b", "a=x", "c"])
def test_what_is_no_directory_in_one_of_them_is_not_entered(entry: str, tmp_path: Path) -> None:
    one, other = fill(tmp_path / "one", "a/", "b/"), fill(tmp_path / "other", "b/", entry)
    for tops in ((one, other), (other, one)):
        both = Pairs(*map(hold, tops))
        with pytest.raises(OSError, match="a"):
            both.enter("a")
        assert both.path == ""
        assert _is(both.here, *tops)
