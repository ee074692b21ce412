# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second tree of links: the same files, and directories that show the same."""

import os
import posix
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare.shadow import link_tree
from tree import ORIGIN, dig, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
ACL = bytes.fromhex("0200000001000700ffffffff02000700e803000004000500ffffffff10000700ffffffff20000500ffffffff")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = fill(
        tmp_path / "source", "a/file", "a/b/ opaque", "a/b/gone!", "a/link>/nowhere", "a/dirlink>b", "top", "e/mpty/"
    )
    os.mkfifo(top / "a/fifo")
    os.setxattr(top / "a", ORIGIN, b"x")
    os.setxattr(top / "a", "user.note", b"y")
    os.chown(top / "a", 7, 8)
    os.chmod(top / "a", 0o2751)
    os.utime(top / "a/b", ns=(1_000_000_001, 2_000_000_003))
    os.utime(top / "a", ns=(3_000_000_001, 4_000_000_003))
    os.utime(top / "e", ns=(5_000_000_001, 6_000_000_003))
    os.utime(top, ns=(7_000_000_001, 8_000_000_003))
    os.chmod(top, 0o711)
    return top


def test_all_is_there_and_the_files_are_the_same(source: Path, tmp_path: Path) -> None:
    target = fill(tmp_path / "target")
    link_tree(hold(source), hold(target))
    assert read_tree(target) == read_tree(source)
    for path in [source, *source.rglob("*")]:
        there, here = (target / path.relative_to(source)).lstat(), path.lstat()
        assert (there.st_ino == here.st_ino) is not path.is_dir() or path.is_symlink()
        assert there.st_mtime_ns == here.st_mtime_ns, path
        assert there.st_mode == here.st_mode, path
    assert (target / "a").stat().st_atime_ns >= 3_000_000_001


def test_what_goes_from_the_second_stays_in_the_first(source: Path, tmp_path: Path) -> None:
    target = fill(tmp_path / "target")
    link_tree(hold(source), hold(target))
    before = read_tree(source)
    (target / "a/file").unlink()
    (target / "a/b/gone").unlink()
    os.removexattr(target / "a", ORIGIN)
    assert read_tree(source) == before


def test_the_default_acl_of_its_own_place_does_not_stay(source: Path, tmp_path: Path) -> None:
    above = fill(tmp_path / "above")
    try:
        os.setxattr(above, "system.posix_acl_default", ACL)
    except OSError:
        pytest.skip("no ACLs here")
    target = fill(above / "target")
    assert os.listxattr(target)
    os.setxattr(source / "e", "system.posix_acl_default", ACL)
    link_tree(hold(source), hold(target))
    assert os.listxattr(target) == []
    assert os.getxattr(target / "e", "system.posix_acl_default") == ACL
    assert read_tree(target) == read_tree(source)


def test_an_attribute_that_is_no_acl_may_be_there_before(source: Path, tmp_path: Path) -> None:
    """As a label that the kernel gives by itself, which can't be removed."""
    target = fill(tmp_path / "target")
    os.setxattr(target, "user.given", b"x")
    link_tree(hold(source), hold(target))
    assert os.listxattr(target) == ["user.given"]


def test_a_file_that_can_have_no_second_name_ends_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(posix, "link", refuse)
    with pytest.raises(PermissionError):
        link_tree(hold(source), hold(fill(tmp_path / "target")))


def test_a_tree_deeper_than_any_path(tmp_path: Path) -> None:
    source, target = fill(tmp_path / "source"), fill(tmp_path / "target")
    dig(source, 60)
    try:
        link_tree(hold(source), hold(target))
        depth, at = 0, os.open(target, os.O_RDONLY)
        while names := os.listdir(at):
            depth += 1
            inner = os.open(names[0], os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = inner
        os.close(at)
        assert depth == 60
    finally:
        os.system(f"rm -rf '{source}' '{target}'")  # what shutil can't
