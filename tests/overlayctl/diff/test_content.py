# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Unified diffs of single changes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from overlayctl.diff.content import LONGEST, differ
from overlayctl.layers.change import Layers
from overlayctl.layers.walk import walk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes need root")

CASES = {
    "changed": (b"a\nb\n", b"a\nc\n", "--- old\n+++ new\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"),
    "added": (None, b"a\n", "--- /dev/null\n+++ new\n@@ -0,0 +1 @@\n+a\n"),
    "no line break at the end": (
        b"a",
        b"a\n",
        "--- old\n+++ new\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n",
    ),
    "carriage returns and form feeds": (b"a\r\n\fb\n", b"a\n", "--- old\n+++ new\n@@ -1,2 +1 @@\n-a\r\n-\fb\n+a\n"),
    "not UTF-8": (b"\xff\n", b"\xfe\n", "--- old\n+++ new\n@@ -1 +1 @@\n-\udcff\n+\udcfe\n"),
    "binary": (b"a\0", b"b\0", "Binary files old and new differ\n"),
    "binary now": (b"a", b"b\0", "Binary files old and new differ\n"),
    "long": (b"a", b"b" * (LONGEST + 1), "Files old and new differ, too long to be compared by lines\n"),
    "empty": (None, b"", ""),
    "equal": (b"a", b"a", ""),
}


def make_layers(top: Path, old: "bytes | None", new: "bytes | None") -> Layers:
    for name, data in (("lower", old), ("upper", new)):
        (top / name).mkdir()
        if data is not None:
            (top / name / "file").write_bytes(data)
    return Layers(os.fsencode(top / "upper"), os.fsencode(top / "lower"))


def diff(layers: Layers) -> str:
    return "".join(line for change in walk(layers) if change.path for line in differ(change, layers, "old", "new"))


@pytest.mark.parametrize("name", CASES)
def test_content(name: str, tmp_path: Path) -> None:
    old, new, expected = CASES[name]
    assert diff(make_layers(tmp_path, old, new)) == expected


def test_deleted(tmp_path: Path) -> None:
    layers = make_layers(tmp_path, b"a\n", None)
    os.mknod(tmp_path / "upper/file", 0o020000, 0)
    assert diff(layers) == "--- old\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"


def test_link(tmp_path: Path) -> None:
    layers = make_layers(tmp_path, None, None)
    for layer in ("upper", "lower"):
        (tmp_path / layer / "link").symlink_to(layer)
    assert "\n-lower\n\\ No newline at end of file\n+upper\n" in diff(layers)


def test_metadata_and_replaced_have_none(tmp_path: Path) -> None:
    layers = make_layers(tmp_path, b"a", b"a")
    (tmp_path / "upper/file").chmod(0o600)
    (tmp_path / "upper/lower").mkdir()
    (tmp_path / "lower/lower").write_text("a")
    assert diff(layers) == ""


def test_metacopy_has_the_content_of_the_image(tmp_path: Path) -> None:
    layers = make_layers(tmp_path, b"a\n", b"")
    (tmp_path / "lower/other").write_text("b\n")
    os.truncate(tmp_path / "upper/file", 2)
    os.setxattr(tmp_path / "upper/file", "trusted.overlay.metacopy", b"")
    os.setxattr(tmp_path / "upper/file", "trusted.overlay.redirect", b"other")
    assert diff(layers) == "--- old\n+++ new\n@@ -1 +1 @@\n-a\n+b\n"


@pytest.mark.skipif(not shutil.which("patch"), reason="patch is not installed")
@pytest.mark.parametrize(
    "name", ["changed", "no line break at the end", "carriage returns and form feeds", "not UTF-8"]
)
def test_patch_understands_it(name: str, tmp_path: Path) -> None:
    old, new, _ = CASES[name]
    text = diff(make_layers(tmp_path, old, new)).encode("utf-8", "surrogateescape")
    subprocess.run(["patch", "--binary", tmp_path / "lower/file"], input=text, check=True, capture_output=True)
    assert (tmp_path / "lower/file").read_bytes() == new
