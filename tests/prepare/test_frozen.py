# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The notes on what an update has frozen, and which states of the directory mean that something is."""

import os
import time
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import frozen
from overlay_prepare.frozen import (
    can_step_back,
    clear,
    drop,
    is_frozen,
    mark_capable,
    mark_good,
    open_frozen,
    read_fields,
    read_good,
    read_image,
    remove_empty,
    spell_since,
)
from tree import fill

A, B = "IMAGE_VERSION=1\n", "IMAGE_VERSION=2\n"


@pytest.mark.parametrize(("entries", "expected"), [
    ((), False), (("upper/",), False), (("upper/", "image"), True), (("upper/x",), True), (("kept/",), True),
    (("kept/x", "upper/"), True), (("image",), False), (("undoing/x", "since"), False), (("making/x",), False),
])  # fmt: skip
def test_when_something_is_frozen(entries: "tuple[str, ...]", expected: bool, tmp_path: Path) -> None:
    fill(tmp_path, *entries)
    assert is_frozen(hold(tmp_path)) is expected


def test_what_is_no_directory_in_it_is_put_aside(tmp_path: Path) -> None:
    assert open_frozen(hold(tmp_path)) is None
    fill(tmp_path, "frozen/kept=x", "frozen/upper>../outside", "frozen/undoing=x", "frozen/making=x", "outside/")
    told: list[str] = []
    assert open_frozen(hold(tmp_path, told))
    assert sorted(os.listdir(tmp_path / "frozen")) == ["kept.refused", "making", "undoing.refused", "upper.refused"]
    assert len(told) == 3


@pytest.mark.parametrize(("entries", "stay"), [
    # What is frozen has them, or is on its way back.
    (("frozen/kept/x",), "frozen"), (("frozen/upper/",), ""),
])  # fmt: skip
def test_of_a_note_in_both_directories_one_name_is_left(entries: "tuple[str, ...]", stay: str, tmp_path: Path) -> None:
    """As btrfs leaves a rename that a power cut has interrupted."""
    fill(tmp_path, "names=mine", "uuids=mine", *entries)
    names = [("since", "undone.since"), ("contents", "contents"), ("names", "names")]
    for name, other in names[:2]:
        fill(tmp_path / "frozen", f"{name}=both")
        os.link(tmp_path / "frozen" / name, tmp_path / other)
    fill(tmp_path / "frozen", "names=frozen", "image=frozen" if stay else "note")
    frozen.heal(hold(tmp_path), hold(tmp_path / "frozen"))
    for name, other in names[:2]:
        assert (tmp_path / "frozen" / name).exists() is bool(stay)
        assert (tmp_path / other).exists() is not bool(stay)
    assert {"frozen", "names", "uuids"} <= set(os.listdir(tmp_path))
    assert (tmp_path / "frozen/names").read_text() == "frozen", "two files are two notes"
    assert not (tmp_path / "image").exists()


@pytest.mark.parametrize(("entries", "same"), [
    (("a/x", "b/x"), False), (("a/x",), False), (("b/x",), False), (("a/x", "b/"), True),
])  # fmt: skip
def test_whether_two_names_are_of_one_file(entries: "tuple[str, ...]", same: bool, tmp_path: Path) -> None:
    fill(tmp_path, "a/", "b/", *entries)
    if same:
        os.link(tmp_path / "a/x", tmp_path / "b/x")
    assert frozen.is_same(hold(tmp_path / "a"), "x", hold(tmp_path / "b"), "x") is same


def test_the_image_that_it_belongs_to(tmp_path: Path) -> None:
    assert read_image(hold(tmp_path)) == ""
    (tmp_path / "image").write_bytes(b"IMAGE_VERSION=\xff\n")
    assert os.fsencode(read_image(hold(tmp_path))) == b"IMAGE_VERSION=\xff\n"
    (tmp_path / "image").write_bytes(b"x" * 65536)
    assert len(read_image(hold(tmp_path))) == 65536
    (tmp_path / "image").write_bytes(b"x" * 65537)
    assert read_image(hold(tmp_path)) == ""
    assert not (tmp_path / "image").exists()


def test_the_fields_of_a_note(tmp_path: Path) -> None:
    assert read_fields(hold(tmp_path), "since") == {}
    (tmp_path / "since").write_text("TIME=5\nno field\nEMPTY=\nFROM_VERSION=a=b\n")
    assert read_fields(hold(tmp_path), "since") == {"TIME": "5", "EMPTY": "", "FROM_VERSION": "a=b"}
    (tmp_path / "since").write_bytes(b"TIME=5\n" + b"x" * 65536)
    assert read_fields(hold(tmp_path), "since") == {}


def test_since_when_it_is_frozen(tmp_path: Path) -> None:
    before = int(time.time())
    (tmp_path / "since").write_bytes(spell_since(A, B, ("uuids", "names")))
    fields = read_fields(hold(tmp_path), "since")
    assert before <= int(fields.pop("TIME")) <= before + 60
    assert fields == {"FROM_VERSION": "1", "TO_VERSION": "2", "NOTES": "uuids names"}


def test_an_image_that_would_step_back(tmp_path: Path) -> None:
    backing = hold(tmp_path)
    assert not can_step_back(backing, A)
    mark_capable(backing, A)
    assert can_step_back(backing, A)
    assert not can_step_back(backing, B)
    before = (tmp_path / "rollback").stat().st_ino
    mark_capable(backing, A)
    assert (tmp_path / "rollback").stat().st_ino == before, "nothing is written at a boot like the last one"
    mark_capable(backing, B)
    assert can_step_back(backing, B)
    (tmp_path / "rollback").write_text("")
    assert not can_step_back(backing, ""), "nobody knows which image that is"


@pytest.mark.parametrize(("words", "synced"), [({}, True), ({"durable": True}, True), ({"durable": False}, False)])
def test_it_is_noted_on_the_disk_unless_the_caller_sees_to_that(
    words: "dict[str, bool]", synced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr("posix.fsync", seen.append)
    mark_capable(hold(tmp_path), A, **words)
    assert bool(seen) is synced


def test_a_good_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backing = hold(tmp_path)
    assert read_good(backing) == ("", 0)
    monkeypatch.setattr("time.time", lambda: 1234.9)
    mark_good(backing, A)
    assert (tmp_path / "good").read_text() == f"TIME=1234\n{A}"
    assert read_good(backing) == (A, 1234)
    monkeypatch.setattr("time.time", lambda: 2000.0)
    mark_good(backing, A)
    assert read_good(backing) == (A, 1234), "since the first time"
    mark_good(backing, B)
    assert read_good(backing) == (B, 2000)
    (tmp_path / "good").write_text(f"TIME={'9' * 15}\n{A}")
    assert read_good(backing) == (A, 999999999999999)
    (tmp_path / "good").write_text(f"TIME={'9' * 16}\n{A}")
    assert read_good(backing) == ("", 0)


def test_a_note_is_removed_and_anything_else_put_aside(tmp_path: Path) -> None:
    told: list[str] = []
    fill(tmp_path, "good", "commit/x")
    for name in ("good", "commit", "missing"):
        drop(hold(tmp_path, told), name)
    assert os.listdir(tmp_path) == ["commit.refused"]
    assert len(told) == 1


@pytest.mark.parametrize(("entries", "gone"), [((), True), (("x/",), True), (("x/y",), False)])
def test_an_empty_directory_goes(entries: "tuple[str, ...]", gone: bool, tmp_path: Path) -> None:
    fill(tmp_path, *entries)
    assert remove_empty(hold(tmp_path), "x") is gone
    assert (tmp_path / "x").exists() is not gone


def test_a_file_in_its_place_is_a_fault(tmp_path: Path) -> None:
    fill(tmp_path, "x")
    with pytest.raises(NotADirectoryError):
        remove_empty(hold(tmp_path), "x")


@pytest.mark.parametrize("mine", [False, True])
def test_what_belongs_to_nothing_goes_and_the_list_of_contents_back(mine: bool, tmp_path: Path) -> None:
    fill(tmp_path / "frozen", "since", "folding", "making/x", "uuids", "names", "contents=old", "image", "upper/x",
         "undoing/y")  # fmt: skip
    if mine:
        fill(tmp_path, "contents=new")
    clear(hold(tmp_path), hold(tmp_path / "frozen"))
    assert sorted(os.listdir(tmp_path / "frozen")) == ["undoing", "upper"]
    assert (tmp_path / "contents").read_text() == ("new" if mine else "old")


def test_the_name_of_the_image_is_the_last_of_the_notes_to_go_back() -> None:
    """It says whose all of it is."""
    assert frozen.NOTES[-1] == frozen.IMAGE
