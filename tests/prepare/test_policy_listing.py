# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The list of what a policy drops: it is whole and on the disk before anything goes, and names all that goes."""

import os
import posix
from pathlib import Path
from typing import Any

import pytest

from hold import hold
from lossydisk import WAYS, cut_off_lossy
from overlay_prepare import manifest, policy
from policyupdate import Update
from tree import fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture
def update(tmp_path: Path) -> Update:
    return Update(tmp_path)


def test_a_directory_that_goes_is_listed_with_all_that_is_in_it(update: Update) -> None:
    fill(update.where, "x")
    fill(update.upper, "x/mine", "x/deep/er/mine", "x/deep/link>/etc", "x/deep/empty/", "x/gone!")
    assert update.apply("prune") == (4, "")
    assert sorted(update.dropped()) == ["x/deep/er/mine", "x/deep/link", "x/gone", "x/mine"]
    assert update.kinds() == {}


@pytest.mark.parametrize("word", ["prune", "refresh"])
def test_listing_changes_nothing(word: str, update: Update, tmp_path: Path) -> None:
    update.note_image("same", "gone", "o/file", "d/file", "empty/x", "raze/x")
    update.copy_up("same", "d", "empty", "d/file")
    fill(update.upper, "gone!", "o/ opaque", "o/mine", "raze/mine")
    update.change_image("same=2", "gone", "o/file=2", "d/file=2", "empty/x", "raze=2")
    for name in ("o", "d", "empty"):
        (update.where / name).chmod(0o750)
    before = read_tree(update.upper)
    drop = policy._prune if word == "prune" else policy._refresh
    old = manifest.read(hold(update.backing)) or {}
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    count = drop(policy.Change(str(update.where), old, fd), hold(update.upper), "")
    os.close(fd)
    assert read_tree(update.upper) == before
    assert count == len((tmp_path / "log").read_text().splitlines()) > 1
    assert drop(policy.Change(str(update.where), old, -1), hold(update.upper), "") == count


def test_the_list_and_its_name_are_on_the_disk_before_the_first_entry_goes(
    update: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(update.where, "a")
    fill(update.upper, "a=mine")
    synced: list[int] = []
    fsync, unlink = posix.fsync, posix.unlink

    def note(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        fsync(fd)

    def check(*arguments: Any, **options: Any) -> None:
        assert synced == [(update.backing / "dropped").stat().st_ino, update.backing.stat().st_ino]
        assert update.dropped() == ["a"]
        unlink(*arguments, **options)

    monkeypatch.setattr(posix, "fsync", note)
    monkeypatch.setattr(posix, "unlink", check)
    assert update.apply("prune") == (1, "")


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_dropped_before_the_list_is_on_the_disk(way: str, tmp_path: Path) -> None:
    def drop(after: int) -> bool:
        update = Update(tmp_path / str(after))
        fill(update.where, "a", "d/b")
        fill(update.upper, "a=mine", "d/b=mine", "mine")
        done = cut_off_lossy(lambda: update.apply("prune"), after, way, tmp_path)
        listed = update.dropped() if (update.backing / "dropped").exists() else []
        assert {"a", "d/b", "mine"} - set(update.kinds()) <= set(listed), f"cut off at call {after}"
        return done

    assert next(after for after in range(99) if drop(after)) > 5


@pytest.mark.parametrize("word", ["prune", "refresh"])
def test_what_lies_deeper_than_400_directories_is_kept(word: str, update: Update) -> None:
    names = [f"{'d/' * depth}file" for depth in (398, 399, 400, 401)]
    update.note_image(*names)
    update.copy_up(*names)
    update.change_image(*(f"{name}=2" for name in names))
    assert update.apply(word) == (2, "")
    assert [name for name in names if (update.upper / name).exists()] == names[2:]


def test_nothing_stays_open(update: Update) -> None:
    fill(update.where, "a", "d/b", "x")
    fill(update.upper, "a", "d/b", "x/mine", "o/ opaque")
    before = os.listdir("/proc/self/fd")
    assert update.apply("prune") == (3, "")
    assert os.listdir("/proc/self/fd") == before


def test_a_whole_log_is_not_written_anew(update: Update) -> None:
    update.apply("prune")
    before = (update.backing / "dropped").stat().st_ino
    update.apply("prune")
    assert (update.backing / "dropped").stat().st_ino == before


def test_somebody_else_s_thing_in_the_place_of_the_old_log_is_put_aside(update: Update) -> None:
    fill(update.backing, "dropped.old/x", f"dropped={'x' * (1 << 20)}\n")
    update.apply("prune")
    assert (update.backing / "dropped").read_text() == "# prune: IMAGE_VERSION=2\n"
    assert (update.backing / "dropped.old").stat().st_size == (1 << 20) + 1
    assert (update.backing / "dropped.old.refused/x").exists()


def test_a_directory_that_can_not_be_dropped_is_said(
    update: Update, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Something immutable is in it."""
    fill(update.where, "x", "y")
    fill(update.upper, "x/deep/", "y")

    def refuse(path: "str | int", *_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(posix, "rmdir", refuse)
    assert update.apply("prune") == (1, "")
    text = f"<4>{update.where}/x can't be dropped: {update.upper}/x/deep: Operation not permitted\n"
    assert capsys.readouterr().err == text
    assert update.kinds() == {"x": "directory", "x/deep": "directory"}
