# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Folds an upper layer into the one that an update has frozen: its notes, its order, and each of its steps by itself.

What it makes of two layers is tried in test_rollback.py, and that it can be cut off in test_rollback_cuts.py.
"""

import errno
import os
import posix
import shutil
import subprocess
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import fold, imagenames, stamp
from overlay_prepare.folder import Folder
from tree import ORIGIN, dig, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    """Image two's upper layer on top of what is frozen, without a second tree."""
    return fill(
        tmp_path / "b", "image=two\n", "upper/new=b", "upper/both/new=b", "frozen/since=TIME=5\n", "frozen/image=one\n",
        "frozen/upper/old=a", "frozen/upper/both/old=a", "good=TIME=1", "commit=",
    )  # fmt: skip


FOLDED = {"new", "both", "both/new", "old", "both/old"}


def run(backing: Path) -> None:
    fold.fold(hold(backing), hold(backing / "frozen"))


def keep_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the directory be there after it."""
    monkeypatch.setattr(fold, "put_aside", lambda *_: None)


def test_one_layer_is_left_and_it_is_fit_for_no_image(backing: Path) -> None:
    run(backing)
    assert read_tree(backing / "upper").keys() == FOLDED
    assert set(os.listdir(backing)) == {"image", "upper", "trash"}
    assert stamp.read_previous(hold(backing)) == "two\n"
    assert not stamp.is_current(hold(backing), "two\n")


@pytest.mark.parametrize(("ours", "theirs", "expected"), [
    (["b"], ["a", "b"], ["a", "b"]), (["b"], ["a"], ["a", "b"]), ([], [], []), (["b"], None, None), (None, ["a"], None),
    (None, None, None),
])  # fmt: skip
def test_references_may_carry_the_uuids_of_both(
    ours: "list[str] | None", theirs: "list[str] | None", expected: "list[str] | None", backing: Path
) -> None:
    for top, uuids in ((backing, ours), (backing / "frozen", theirs)):
        if uuids is not None:
            stamp.write_uuids(hold(top), uuids)
    run(backing)
    assert stamp.read_uuids(hold(backing)) == expected


@pytest.mark.parametrize("since", ["TIME=5\n", None])
@pytest.mark.parametrize("half", [False, True])
def test_it_says_that_it_has_begun_and_of_what(
    half: bool, since: "str | None", backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_frozen(monkeypatch)
    if since is None:
        (backing / "frozen/since").unlink()
    if half:
        fill(backing, f"frozen/folding={since or ''}")
        (backing / "frozen/since").unlink(missing_ok=True)
    run(backing)
    assert (backing / "frozen/folding").read_text() == (since or "")
    assert not (backing / "frozen/since").exists()


def test_once_it_has_begun_no_note_is_needed(backing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may be full by then."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (backing / "frozen/since").rename(backing / "frozen/folding")
    stamp.mark_changing(hold(backing))
    monkeypatch.setattr(stamp, "write", refuse)
    run(backing)
    assert read_tree(backing / "upper").keys() == FOLDED


def test_each_part_of_it_is_on_the_disk_before_the_next(backing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That it has begun before anything moves; all that moves before `frozen` goes, and with it what says so."""
    done: list[str] = []
    rename, remove_file = posix.rename, Folder.remove_file

    def note(source: str, target: str, **options: int) -> None:
        rename(source, target, **options)
        done.append(target)

    def note_removed(folder: Folder, name: str) -> None:
        remove_file(folder, name)
        done.append(f"-{name}")

    (backing / "frozen/upper").rename(backing / "frozen/kept")
    fill(backing, "frozen/upper/old=a", "frozen/upper/both/old=a", "frozen/making/more")
    monkeypatch.setattr(posix, "rename", note)
    monkeypatch.setattr(Folder, "remove_file", note_removed)
    monkeypatch.setattr(posix, "sync", lambda: done.append("sync"))
    run(backing)
    begun, moved, ended = " ".join(done).split(" sync ")
    assert begun == "image -uuids folding"
    assert moved.split()[0] == "making", "with its name it would count as frozen, and be folded into"
    assert sorted(moved.split()[1:-3]) == ["new", "new"]
    assert moved.split()[-3:] == ["upper", "-good", "-commit"]
    assert ended == "0"
    assert read_tree(backing / "upper").keys() == FOLDED


@pytest.mark.parametrize(("gone", "left"), [
    # The freeze was cut off before the layer for the mount was made, or this fold at one of its last steps.
    (["frozen/upper"], {"kept/old", "kept", "new", "both", "both/new"}),
    (["upper"], {"old", "both", "both/old"}),
    (["frozen/upper", "frozen/kept"], {"new", "both", "both/new"}),
])  # fmt: skip
def test_what_is_not_there_is_not_needed(gone: "list[str]", left: "set[str]", backing: Path) -> None:
    fill(backing, "frozen/kept/kept/old=a")
    for path in gone:
        shutil.rmtree(backing / path)
    run(backing)
    assert read_tree(backing / "upper").keys() == left
    assert not (backing / "frozen").exists()


def test_a_link_to_a_directory_takes_the_place_of_one(backing: Path) -> None:
    fill(backing, "upper/old/", "upper/link>old", "frozen/upper/link/old=a")
    (backing / "frozen/upper/old").unlink()
    run(backing)
    assert (backing / "upper/link").readlink() == Path("old")


def test_where_a_whiteout_stays_the_kernel_looks_for_it(backing: Path) -> None:
    fill(backing, "upper/both/old!", "upper/both/none!")
    assert ORIGIN not in os.listxattr(backing / "frozen/upper/both")
    run(backing)
    assert ORIGIN in os.listxattr(backing / "upper/both")
    assert (backing / "upper/both/old").is_char_device(), "without a list of the image's names all stay"


def test_the_names_of_the_images_are_read_once(backing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be very many."""
    read: list[Folder] = []

    def read_all(folder: Folder) -> "list[str]":
        read.append(folder)
        return ["here/", "both/one"]

    monkeypatch.setattr(imagenames, "read_all", read_all)
    fill(backing, "upper/here!", "upper/gone!", "upper/both/one!", "upper/both/two!", "upper/both/old!")
    run(backing)
    assert len(read) == 1
    assert read_tree(backing / "upper").keys() == {"new", "both", "both/new", "old", "here", "both/one"}


def test_at_a_path_that_is_longer_than_any_no_image_has_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenames, "read_all", lambda _folder: ["x"])
    for name, entry in (("upper", "x!"), ("frozen/upper", "x")):
        dig(fill(tmp_path / "b" / name), 60, entry=entry)
    try:
        run(tmp_path / "b")
        found = subprocess.run(
            ["find", "upper", "!", "-type", "d"], cwd=tmp_path / "b", capture_output=True, check=True
        )
        assert found.stdout == b""
    finally:
        os.system(f"rm -rf '{tmp_path}/b'")  # what shutil can't


TIMES = 1_000_000_001, 2_000_000_003


def test_directories_keep_their_times(backing: Path) -> None:
    for path in ("upper", "upper/both"):
        os.utime(backing / path, ns=TIMES)
    run(backing)
    for path in ("upper", "upper/both"):
        info = (backing / path).stat()
        assert info.st_mtime_ns == TIMES[1], path


def test_a_directory_whose_times_can_not_be_told_costs_no_fold(backing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 2038, with 32 bits."""
    monkeypatch.setattr(Folder, "stat_self", lambda _self: None)
    run(backing)
    assert read_tree(backing / "upper").keys() == FOLDED


@pytest.mark.parametrize(
    ("number", "fatal"),
    [(errno.EEXIST, False), (errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EIO, True), (errno.EPERM, True)],
)
def test_times_that_there_is_no_room_for_are_not_kept(
    number: int, fatal: bool, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setxattr = posix.setxattr

    def refuse(path: int, name: str, *more: object) -> None:
        if name == fold._TIMES:
            raise OSError(number, os.strerror(number))
        setxattr(path, name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(posix, "setxattr", refuse)
    if fatal:
        with pytest.raises(OSError, match=os.strerror(number)):
            run(backing)
        assert read_tree(backing / "frozen/upper").keys() == {"old", "both", "both/old"}
    else:
        run(backing)
        assert read_tree(backing / "upper").keys() == FOLDED


def test_an_attribute_that_can_not_be_taken_away_is_told(
    backing: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_path: int, name: str) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), name)

    os.setxattr(backing / "frozen/upper/both", "user.old", b"x")
    monkeypatch.setattr(posix, "removexattr", refuse)
    run(backing)
    assert f"<4>{backing}/frozen/upper/both keeps its user.old: Permission denied\n" in capsys.readouterr().err
    assert read_tree(backing / "upper").keys() == FOLDED


def test_a_directory_is_opaque_on_the_disk_before_it_takes_a_place(
    backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    rename = posix.rename

    def note(source: str, target: str, **options: int) -> None:
        done.append(target)
        rename(source, target, **options)

    fill(backing, "upper/old/inner=b")
    inode = (backing / "upper/old").stat().st_ino
    monkeypatch.setattr(posix, "rename", note)
    monkeypatch.setattr(posix, "fsync", lambda fd: done.append(os.fstat(fd).st_ino))
    run(backing)
    assert done.index(inode) < done.index("old")


def test_a_file_that_a_power_cut_has_left_in_both_layers_is_there_once(backing: Path) -> None:
    """As btrfs does; rename(2) does nothing between two names of one file."""
    os.link(backing / "upper/both/new", backing / "frozen/upper/both/new")
    run(backing)
    assert read_tree(backing / "upper").keys() == FOLDED
    assert (backing / "upper/both/new").stat().st_nlink == 1


def test_of_one_file_with_two_names_that_of_the_upper_layer_goes(tmp_path: Path) -> None:
    """And nothing that is another one."""
    one, other = fill(tmp_path / "one", "twin", "same=x", "mine", "in/"), fill(tmp_path / "other", "same=x", "in/")
    os.link(one / "twin", other / "twin")
    fold._drop_twins(hold(one), hold(other))
    assert sorted(os.listdir(one)) == ["in", "mine", "same"]
    assert sorted(os.listdir(other)) == ["in", "same", "twin"]


@pytest.mark.parametrize(("inner", "below", "covers"), [
    ([], [], True), (["x"], [], True), (["d/"], [], True), (["x"], ["x"], True), (["x", "y"], ["x"], True),
    (["x"], ["y"], False), (["x"], ["x", "y"], False), ([], ["x"], False), (["x!"], ["x"], False),
    (["x"], ["x!"], True), (["x/"], ["x"], False), (["x"], ["x/"], True), (["x/"], ["x/"], False),
    (["x", "d/"], ["x", "d/"], False),
    # A link is no directory, wherever it leads.
    (["x>."], ["x"], True), (["x"], ["x>."], True), (["y", "x>."], ["x>.", "y"], True), (["d/", "x"], ["x"], True),
])  # fmt: skip
def test_of_a_directory_that_is_covered_nothing_shows(
    inner: "list[str]", below: "list[str]", covers: bool, tmp_path: Path
) -> None:
    one, other = fill(tmp_path / "inner", *inner), fill(tmp_path / "below", *below)
    assert fold._find_missing(hold(one), hold(other)) == ([] if covers else None)
