# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two trees gone through together, however deep they are, with few descriptors."""

import errno
import os
import posix
from pathlib import Path

import pytest

from counting import count_entries
from hold import hold
from overlay_prepare import pairs
from overlay_prepare.folder import Folder, WrongKind
from overlay_prepare.pairs import Names, Pairs, walk
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
    both.leave()
    both.enter("e")  # with those above given back already
    for _ in range(2):
        for path in ("a/b/c/d", "a/b/c", "a/b", "a"):
            both.leave()
            assert both.path == path
            assert _is(both.here, one / path, other / path)
        # Once more from where all above was given back.
        for name in "bcde":
            both.enter(name)
    for _ in range(5):
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


@pytest.mark.parametrize(("last", "known"), [(254, True), (255, False)])
def test_the_longest_path_stays_the_same_after_many_ways(last: int, known: bool, tmp_path: Path) -> None:
    one, other = fill(tmp_path / "one", "x/"), fill(tmp_path / "other", "x/")
    for top in (one, other):
        dig(top, 15, "d" * 255, "e" * last + "/")
    both = Pairs(hold(one), hold(other))
    for _ in range(20):
        both.enter("x")
        both.leave()
    for _ in range(15):
        both.enter("d" * 255)
    both.enter("e" * last)
    assert (both.path is not None) is known
    assert both.path is None or len(both.path) == 4094


def test_of_a_deep_pair_32_levels_are_open(tmp_path: Path) -> None:
    for name in ("one", "other"):
        dig(fill(tmp_path / name), 50, "d")
    both = Pairs(hold(tmp_path / "one"), hold(tmp_path / "other"))
    before = len(os.listdir("/proc/self/fd"))
    found = []
    for _ in range(50):
        both.enter("d")
        found.append(len(os.listdir("/proc/self/fd")) - before)
    assert found == [2 * min(level, 32) for level in range(1, 51)]


def test_a_level_whose_times_the_c_library_can_not_tell_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 2038, with 32 bits."""

    def fail(_fd: int) -> None:
        raise OSError(errno.EOVERFLOW, os.strerror(errno.EOVERFLOW))

    monkeypatch.setattr(pairs, "_OPEN", 1)
    one, other = fill(tmp_path / "one", "a/b/c/"), fill(tmp_path / "other", "a/b/c/")
    with monkeypatch.context() as patched:
        patched.setattr(posix, "fstat", fail)
        both = Pairs(hold(one), hold(other))
        for name in "abc":
            both.enter(name)
        both.leave()
        both.leave()
    assert _is(both.here, one / "a", other / "a")


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
    with pytest.raises(WrongKind, match="was moved meanwhile") as raised:
        both.leave()
    assert raised.value.filename == f"{one}/a/b"


@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize(("count", "most"), [(0, 3), (2, 3), (3, 3), (4, 3), (10, 3)])
def test_of_many_names_few_are_kept(
    count: int, most: int, gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_NAMES", 2 * most)
    monkeypatch.setattr(pairs, "_FEWEST", 1)
    fill(tmp_path, "file", "link>.", *(f"{number}/" for number in range(count)))
    names = Names()
    with hold(tmp_path) as top:
        for entry in top.scan():
            if entry.is_dir(follow_symlinks=False):
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


@pytest.mark.parametrize("moving", [False, True])
def test_many_names_do_not_take_the_square_of_their_number(
    moving: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a scan that goes on hold a descriptor at each level."""
    monkeypatch.setattr(pairs, "_NAMES", 2)
    monkeypatch.setattr(pairs, "_FEWEST", 2)
    monkeypatch.setattr(pairs, "_OPEN", 2)
    tops = [fill(tmp_path / name, *(f"{number}/" for number in range(200))) for name in ("one", "other")]
    for top in tops:
        for level in range(1, 9):
            fill(top, *(f"{'0/' * level}{number}/" for number in range(8)))
    most = 0
    left: list[str] = []
    before = len(os.listdir("/proc/self/fd"))

    def arrive(both: Pairs) -> Names:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")) - before)
        names = Names()
        for entry in sorted(os.scandir(both.here[0].fd), key=lambda entry: entry.name == "0"):
            names.add(entry.name, both.depth)
        return names

    count = count_entries(monkeypatch)
    walk(hold(tops[0]), hold(tops[1]), arrive, lambda one, _other: left.append(one.path), moving)
    assert len(left) == 1 + 200 + 8 * 8
    assert count() < 1000
    assert most <= 2 * 3 + 3 + 2


@pytest.mark.parametrize("entry", ["a>b", "a=x", "c"])
def test_what_is_no_directory_in_one_of_them_is_not_entered(entry: str, tmp_path: Path) -> None:
    one, other = fill(tmp_path / "one", "a/", "b/"), fill(tmp_path / "other", "b/", entry)
    for tops in ((one, other), (other, one)):
        both = Pairs(*map(hold, tops))
        with pytest.raises(OSError, match="a"):
            both.enter("a")
        assert both.path == ""
        assert _is(both.here, *tops)


@pytest.mark.parametrize("most", [1, 2, 100])
@pytest.mark.parametrize("moving", [False, True])
def test_each_pair_is_gone_to_and_left_after_all_below(
    moving: bool, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_NAMES", most)
    monkeypatch.setattr(pairs, "_FEWEST", 1)
    directories = ("a/", "b/", "b/c/d/e/", "b/f/", "g/h/i/", "j/")
    one, other = fill(tmp_path / "one", *directories), fill(tmp_path / "other", *directories, "b/more/")
    seen: list[str] = []

    def arrive(both: Pairs) -> Names:
        assert both.path is not None
        assert _is(both.here, one / both.path, other / both.path)
        assert both.depth == (both.path.count("/") + 2 if both.path else 1)
        seen.append(both.path)
        names = Names()
        for entry in both.here[0].scan():
            names.add(entry.name, both.depth)
        return names

    def depart(first: Folder, second: Folder) -> None:
        assert first.path[len(str(one)) :] == second.path[len(str(other)) :]
        seen.append(f"{first.path[len(str(one)) + 1 :]} left")
        if moving:
            assert os.listdir(first.fd) == []

    walk(hold(one), hold(other), arrive, depart, moving)
    every = ["", "a", "b", "b/c", "b/c/d", "b/c/d/e", "b/f", "g", "g/h", "g/h/i", "j"]
    assert sorted(seen) == sorted([*every, *(f"{path} left" for path in every)])
    for path in every:
        assert all(not path or seen.index(path) < seen.index(inner) for inner in seen if inner.startswith(f"{path}/"))
        assert seen.index(f"{path} left") == max(n for n, other in enumerate(seen) if other.startswith(path))
    assert len(list(one.rglob("*"))) == (0 if moving else 10)
    assert len(list(other.rglob("*"))) == 11
