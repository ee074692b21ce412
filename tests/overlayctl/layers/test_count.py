# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counting what is in a layer that users write to meanwhile."""

import os
from pathlib import Path

import pytest

from overlayctl.layers import directory
from overlayctl.layers.count import Count, count
from overlayctl.layers.directory import Directory


def top(path: Path) -> Directory:
    return Directory.open_top(os.fsencode(path))


def test_files_and_what_they_take(tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    for name in ("a", "d/b", "d/e/c"):
        (tmp_path / name).write_text("x")
    os.symlink("nowhere", tmp_path / "d/link")
    found = count(top(tmp_path), 100)
    assert (found.files, found.whole) == (4, True)
    assert found.size == sum(path.lstat().st_blocks * 512 for path in tmp_path.rglob("*") if not path.is_dir())


@pytest.mark.parametrize(("most", "files", "whole"), [(10, 10, True), (9, 9, False), (1, 1, False)])
def test_more_than_are_looked_at(most: int, files: int, whole: bool, tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}").touch()
    assert count(top(tmp_path), most) == Count(files, 0, whole)


def test_directories_are_looked_at_too(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}/x").mkdir(parents=True)
    assert count(top(tmp_path), 20) == Count(0, 0, False)


def test_deeper_than_a_path_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_MOST_OPEN", 20)
    at = os.open(tmp_path, os.O_PATH)
    name = "d" * 200
    for _ in range(60):
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_PATH, dir_fd=at)
        os.close(at)
        at = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)
    assert count(top(tmp_path), 100) == Count(1, 0, True)


@pytest.mark.parametrize("what", ["gone", "file", "link", "moved"])
def test_what_changes_meanwhile(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is not there, or another one, when its turn comes, and names that are gone by then."""
    upper, secret = tmp_path / "upper", tmp_path / "secret"
    for path in (upper / "d/inner", secret):
        path.mkdir(parents=True)
    for name in ("upper/a", "upper/d/b", "upper/d/inner/c", "secret/one", "secret/two", "secret/three"):
        (tmp_path / name).touch()
    names = Directory.names

    def swap(self: Directory) -> "list[bytes]":
        found = names(self)
        if b"d" in found:
            (upper / "d").rename(tmp_path / "away")
            (upper / "a").unlink()
            if what == "file":
                (upper / "d").touch()
            elif what == "link":
                (upper / "d").symlink_to(secret)
            elif what == "moved":
                secret.rename(upper / "d")
        return found

    monkeypatch.setattr(Directory, "names", swap)
    # What is moved in is a part of the layer; nothing outside of it is counted.
    assert count(top(upper), 100).files == {"gone": 0, "file": 1, "link": 1, "moved": 3}[what]
