# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Directories of a layer that are listed: names as they are, and no trace of it."""

import os
from pathlib import Path

from overlayctl.layers.directory import Directory
from tree import fill

OLD = (10**17, 10**18)  # a time of access before that of the last change: relatime writes a new one


def test_listing_leaves_no_time_of_access(tmp_path: Path) -> None:
    fill(tmp_path, "top/inner/file", "top/other")
    for path in (tmp_path / "top", tmp_path / "top/inner"):
        os.utime(path, ns=OLD)
    top = Directory.open_top(os.fsencode(tmp_path / "top"))
    assert sorted(top.names()) == [b"inner", b"other"]
    with top.scan() as entries:
        assert {name: entry.is_dir() for name, entry in entries} == {b"inner": True, b"other": False}
    assert top.enter(b"inner").names() == [b"file"]
    assert [path.stat().st_atime_ns for path in (tmp_path / "top", tmp_path / "top/inner")] == [OLD[0]] * 2


def test_names_are_bytes_whatever_they_are(tmp_path: Path) -> None:
    names = [b"plain", "größe".encode(), b"latin-\xe9", b"line\nbreak"]
    for name in names:
        os.close(os.open(os.fsencode(tmp_path) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    assert sorted(Directory.open_top(os.fsencode(tmp_path)).names()) == sorted(names)


def test_two_may_list_one_directory_at_the_same_time(tmp_path: Path) -> None:
    """As processes do that were forked, and have its descriptor in common."""
    names = {b"%04d" % number for number in range(3000)}
    for name in names:
        os.close(os.open(os.fsencode(tmp_path) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    top = Directory.open_top(os.fsencode(tmp_path))
    held = os.listdir("/proc/self/fd")
    with top.scan() as outer, top.scan() as inner:
        pairs = [(one, other) for (one, _), (other, _) in zip(outer, inner)]
    assert {one for one, _ in pairs} == {other for _, other in pairs} == names
    assert os.listdir("/proc/self/fd") == held
