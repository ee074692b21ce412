# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The index of hard links that overlayfs keeps with index=on; diff_fuzz.py reads those that a kernel has made."""

import os
from pathlib import Path

import pytest

from overlayctl.layers.index import Index, read_handle
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and file handles need root")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """One with an entry for lower/linked, one for lower/gone, and what else may be in it."""
    fill(tmp_path, "lower/linked=old", "lower/gone=old", "lower/other=old", "work/index/#1a=half", "work/index/00fb")
    made = tmp_path / "work/index"
    (made / name_of(tmp_path / "lower/linked")).write_text("new")
    os.mknod(made / name_of(tmp_path / "lower/gone"), 0o020000, 0)
    (made / name_of(tmp_path / "lower")).mkdir()
    return made


def name_of(path: Path) -> str:
    """The name of the entry for `path`: struct ovl_fb in hexadecimal."""
    handle = read_handle(os.fsencode(path))
    if handle is None:
        pytest.skip("this file system has no file handles")
    kind, data = handle
    header = bytes([0, 0xFB, 21 + len(data), 0, kind]) + bytes(16)
    return (header + data).hex()


def test_a_file_is_found_by_its_handle(index: Path) -> None:
    found = Index(os.fsencode(index))
    lower = index.parents[1] / "lower"
    linked = found.find(os.fsencode(lower / "linked"))
    assert linked
    assert Path(os.fsdecode(linked)).read_text() == "new"
    assert [found.find(os.fsencode(lower / name)) for name in ("gone", "other")] == [None, None]
    assert found


@pytest.mark.parametrize("what", ["link", "file", "nothing"])
def test_nothing_else_is_taken_for_one(what: str, index: Path, tmp_path: Path) -> None:
    index.rename(tmp_path / "elsewhere")
    if what == "link":
        index.symlink_to(tmp_path / "elsewhere")
    elif what == "file":
        index.write_text("")
    found = Index(os.fsencode(index))
    assert not found
    assert found.find(os.fsencode(tmp_path / "lower/linked")) is None
