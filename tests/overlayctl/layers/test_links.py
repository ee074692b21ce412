# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names of one file: with an index, where a layer has none of them, and where the first can't be written."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from handmade import Tree, run_command
from overlayctl.layers.links import Links
from product import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and trusted attributes need root")


def test_two_names_that_only_the_index_knows(tmp_path: Path) -> None:
    """One of three names is written to and removed: the index has the content of the other two."""
    script = """
    mount -t tmpfs tmpfs "$TOP" && cd "$TOP" && mkdir lower upper work m
    echo old >lower/a; ln lower/a lower/b; ln lower/a lower/c
    mount -t overlay overlay -o "lowerdir=$PWD/lower,upperdir=$PWD/upper,workdir=$PWD/work,index=on" m || exit 77
    echo new >m/a; rm m/a
    python3 -m overlayctl export "$OUT" "$PWD/m"
    """
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY / "generator"), "OUT": str(tmp_path / "x.tar")}
    environ["TOP"] = str(tmp_path / "top")
    (tmp_path / "top").mkdir()
    command = ["unshare", "-m", "sh", "-uc", script]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("overlays with index=on can't be mounted here")
    with tarfile.open(tmp_path / "x.tar") as archive:
        b, c = sorted((member for member in archive if member.name[-2:] in ("/b", "/c")), key=lambda one: one.name)
        assert (b.isreg(), c.islnk(), c.linkname) == (True, True, b.name)
        data = archive.extractfile(c)
        assert data is not None
        assert data.read() == b"new\n"


def test_a_name_after_one_that_can_not_be_written_is_no_link_to_it(tmp_path: Path) -> None:
    """Its content is in the image that is gone (metacopy)."""
    tree = Tree(tmp_path)
    tree.put(tree.upper, "a", "x")
    os.link(tree.upper / "a", tree.upper / "b")
    os.setxattr(tree.upper / "a", "trusted.overlay.metacopy", b"")
    target = tmp_path / "x.tar"
    done = run_command("export", "--upper", str(tree.upper), "--lower", str(tree.lower), str(target))
    assert done.returncode == 3
    assert done.stderr.count("left out\n") == 2
    with tarfile.open(target) as archive:
        assert not [member for member in archive if member.islnk()]


def test_what_has_one_name_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "file").touch()
    links = Links(os.fsencode(tmp_path / "index"))
    path = os.fsencode(tmp_path / "file")
    assert [links.find_first(name, path, os.lstat(path)) for name in (b"1", b"2")] == [None, None]
    os.rename(path, tmp_path / "index/#1")
    path = os.fsencode(tmp_path / "index/#1")
    assert [links.find_first(name, path, os.lstat(path)) for name in (b"1", b"2")] == [None, b"1"]
    links.forget(os.lstat(path))
    assert links.find_first(b"3", path, os.lstat(path)) is None
