# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Of two directories that become one, it is the smaller one whose entries are moved."""

import os
import posix
from pathlib import Path

import pytest

from counting import count_entries
from hold import hold
from overlay_prepare import fold
from overlay_prepare.fold import _Fold
from tree import OPAQUE, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
TIMES = "trusted.overlay.generator.times"
MANY = [f"d/m{number}=b" for number in range(20)]
ALL = {f"d/m{number}": "b" for number in range(20)}


class Layers:
    """What is frozen, and the upper layer on top of it; `renamed` are the names that a fold gives, by rename(2)."""

    def __init__(self, top: Path, frozen: "list[str]", upper: "list[str]", monkeypatch: pytest.MonkeyPatch) -> None:
        self.backing, self.frozen, self.upper = top, top / "frozen", top / "upper"
        fill(self.frozen, *frozen)
        fill(self.upper, *upper)
        (top / "names").write_text("")
        for path in (self.frozen / "d", self.upper / "d"):
            os.utime(path, ns=(1, 5_000_000_007 if path.is_relative_to(self.upper) else 9))
            path.chmod(0o750 if path.is_relative_to(self.upper) else 0o700)
        self.renamed: list[str] = []
        self.fail_at = ""
        self.failure: Exception = OSError(5, "I/O error")
        rename = posix.rename

        def watch(source: str, target: str, **more: int) -> None:
            if target == self.fail_at:
                raise self.failure
            self.renamed.append(target)
            rename(source, target, **more)

        monkeypatch.setattr(posix, "rename", watch)

    def fold(self) -> "dict[str, str]":
        """Fold them; what is in the one layer then: texts, "" for a directory, "opaque" for one that hides."""
        backing = hold(self.backing)
        _Fold(backing).fold(hold(self.upper), hold(self.frozen))
        found = {}
        for path, (kind, *_) in read_tree(self.frozen).items():
            at = self.frozen / path
            assert kind
            found[path] = at.read_text() if at.is_file() else "opaque" if OPAQUE in os.listxattr(at) else ""
        assert os.listdir(self.upper) == []
        return found


def test_the_little_that_is_frozen_comes_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Layers(tmp_path, ["d/m1=a", "d/own=a", "d/e/x=a", "d/l>own"], MANY, monkeypatch)
    made = (layers.upper / "d").stat().st_ino
    found = layers.fold()
    assert found == {"d": "", **ALL, "d/own": "a", "d/e": "", "d/e/x": "a", "d/l": "a"}
    assert sorted(layers.renamed) == ["0", "d", "e", "l", "own"]
    info = (layers.frozen / "d").stat()
    assert (info.st_ino, info.st_mtime_ns, info.st_mode & 0o777) == (made, 5_000_000_007, 0o750)
    assert os.listxattr(layers.frozen / "d") == []


def test_what_hid_the_image_s_goes_on_hiding_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Layers(tmp_path, ["d/ opaque", "d/own=a"], MANY, monkeypatch)
    assert layers.fold() == {"d": "opaque", **ALL, "d/own": "a"}
    assert len(layers.renamed) == 3


OTHERWISE = {
    "as many": ([f"d/o{number}=a" for number in range(11)], MANY),
    "a whiteout below": (["d/gone!", "d/own=a"], MANY),
    "a whiteout on top": (["d/own=a", "d/gone=a"], [*MANY, "d/gone!"]),
    "a directory in both": (["d/e/x=a"], [*MANY, "d/e/y=b"]),
    "a directory over a file": (["d/e=a"], [*MANY, "d/e/y=b"]),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_otherwise_what_is_on_top_goes_down(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Layers(tmp_path, *OTHERWISE[name], monkeypatch)
    made = (layers.frozen / "d").stat().st_ino
    found = layers.fold()
    assert found.items() >= ALL.items()
    assert len(layers.renamed) >= 20
    info = (layers.frozen / "d").stat()
    assert (info.st_ino, info.st_mtime_ns, info.st_mode & 0o777) == (made, 5_000_000_007, 0o750)
    assert "d/e" not in found or found["d/e"] == ("opaque" if name == "a directory over a file" else "")


def test_half_of_them_are_the_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Layers(tmp_path, [f"d/o{number}=a" for number in range(10)], MANY, monkeypatch)
    assert len(layers.fold()) == 31
    assert len(layers.renamed) == 12


def test_more_names_than_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "_MOST_MISSING", 3)
    layers = Layers(tmp_path, [f"d/o{number}=a" for number in range(3)], MANY, monkeypatch)
    assert len(layers.fold()) == 24
    assert len(layers.renamed) == 5
    more = Layers(tmp_path / "more", [f"d/o{number}=a" for number in range(4)], MANY, monkeypatch)
    assert len(more.fold()) == 25
    assert len(more.renamed) >= 20


def test_without_room_for_a_note_of_the_times_it_comes_up_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = Layers(tmp_path, ["d/own=a"], MANY, monkeypatch)
    setxattr = posix.setxattr

    def refuse(at: int, name: str, value: bytes, flags: int = 0) -> None:
        if name == TIMES:
            raise OSError(28, "No space left on device")
        setxattr(at, name, value, flags)

    monkeypatch.setattr(posix, "setxattr", refuse)
    assert layers.fold() == {"d": "", **ALL, "d/own": "a"}
    assert len(layers.renamed) == 3


class Cut(Exception):
    """The power."""


def test_cut_off_in_the_middle_it_goes_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Layers(tmp_path, ["d/o1=a", "d/o2=a", "d/o3=a"], MANY, monkeypatch)
    layers.fail_at, layers.failure = sorted(os.listdir(layers.frozen / "d"))[1], Cut()
    with pytest.raises(Cut):
        layers.fold()
    assert TIMES in os.listxattr(layers.upper / "d")
    layers.fail_at = ""
    assert layers.fold() == {"d": "", **ALL, "d/o1": "a", "d/o2": "a", "d/o3": "a"}
    info = (layers.frozen / "d").stat()
    assert (info.st_mtime_ns, info.st_mode & 0o777) == (5_000_000_007, 0o750)
    assert os.listxattr(layers.frozen / "d") == []


HALVES = {
    "what is frozen comes up": (["d/o1=a", "d/o2=a", "d/o3=a"], MANY, "o2"),
    "what is on top goes down": ([f"d/o{number}=a" for number in range(30)], MANY, "m7"),
    "below it": ([f"d/e/o{number}=a" for number in range(30)], ["d/e/m1=b", "d/e/m2=b", "d/m=b"], "m2"),
}


@pytest.mark.parametrize("name", HALVES)
def test_after_an_error_the_directories_have_their_own_times(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The overlay is mounted with the two layers, and written to; the fold after that must not bring old times back."""
    frozen, upper, failing = HALVES[name]
    layers = Layers(tmp_path, frozen, upper, monkeypatch)
    layers.fail_at = failing
    with pytest.raises(OSError, match="I/O error"):
        layers.fold()
    for path in [path for path in (layers.upper, *layers.upper.rglob("*")) if path.is_dir()]:
        assert TIMES not in os.listxattr(path), path
    assert (layers.upper / "d").stat().st_mtime_ns == 5_000_000_007
    fill(layers.upper, "d/after=b")
    os.utime(layers.upper / "d", ns=(1, 6_000_000_007))
    layers.fail_at = ""
    layers.fold()
    assert (layers.frozen / "d").stat().st_mtime_ns == 6_000_000_007


def test_what_hides_the_image_s_name_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Layers(tmp_path, ["d/own=a"], [*MANY, "d/gone!"], monkeypatch)
    (tmp_path / "names").write_text("d/\nd/gone\n")
    assert layers.fold() == {"d": "", **ALL, "d/own": "a", "d/gone": ""}
    assert len(layers.renamed) == 3


@pytest.mark.parametrize("number", [1, 20])
@pytest.mark.parametrize(("kind", "up"), [("=b", True), (">own0", True), ("!", False), ("/x=b", False)])
def test_a_name_of_both_wherever_it_is_in_the_list(
    kind: str, up: bool, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few names are looked for one by one, many in the list of the other directory."""
    own = [f"d/own{n}=a" for n in range(number)]
    layers = Layers(tmp_path, [*own, "d/name/y=a" if kind == "/x=b" else "d/name=a"],
                    [*[f"d/m{n}=b" for n in range(100)], f"d/name{kind}"], monkeypatch)  # fmt: skip
    found = layers.fold()
    assert found.items() >= {f"d/own{n}": "a" for n in range(number)}.items()
    assert ("d/name" in found) == (kind != "!")
    assert (len(layers.renamed) < 30) == up


def test_of_many_files_over_a_few_no_more_are_looked_at_than_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = Layers(tmp_path, ["d/own=a"], [f"d/m{n}=b" for n in range(100)], monkeypatch)
    count = count_entries(monkeypatch)
    assert len(layers.fold()) == 102
    assert count() < 20


def test_many_deletions_do_not_take_the_square_of_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = Layers(tmp_path, [f"d/m{n}=a" for n in range(100)], [f"d/m{n}!" for n in range(100)], monkeypatch)
    # Of the image's: then the whiteouts stay in the directory.
    (tmp_path / "names").write_text("d/\n" + "".join(f"d/m{n}\n" for n in range(100)))
    count = count_entries(monkeypatch)
    assert len(layers.fold()) == 101
    assert 100 < count() < 500
