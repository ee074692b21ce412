# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What prepare does with files: each goes whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from overlay_prepare.files import find_kind, list_entries, make_directory, remove_file, write_whole
from powercut import cut_off
from tree import fill


@pytest.mark.parametrize(("entry", "kind"), [("x", "f"), ("x/", "d"), ("x>nowhere", "l"), ("y", ""), ("x/in", "d")])
def test_kinds(entry: str, kind: str, tmp_path: Path) -> None:
    fill(tmp_path, entry)
    assert find_kind(str(tmp_path / "x")) == kind


def test_a_fifo_is_another_and_what_is_below_a_file_is_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    fill(tmp_path, "file")
    assert find_kind(str(tmp_path / "fifo")) == "o"
    assert find_kind(str(tmp_path / "file/in")) == ""


def test_what_is_there_or_gone_already_is_no_error(tmp_path: Path) -> None:
    for _ in range(2):
        make_directory(str(tmp_path / "directory"), 0o700)
        remove_file(str(tmp_path / "file"))
    assert list_entries(str(tmp_path / "nowhere")) == []
    assert [entry.name for entry in list_entries(str(tmp_path))] == ["directory"]


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_the_old_one_or_the_new_wherever_it_is_cut_off(durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"

    def prepare() -> "Callable[[], object]":
        path.write_text("old")
        # With it there would be two more calls; test_folder.py shows that it does no harm.
        (tmp_path / "file.new").unlink(missing_ok=True)
        return lambda: write_whole(str(path), "new, and longer", 0o600, durable=durable)

    after = 0
    while not cut_off(prepare(), after):
        assert path.read_text() in ("old", "new, and longer")
        after += 1
    assert after == (5 if durable else 3)
    assert os.listdir(tmp_path) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o600
