# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second tree of links: the same files, and directories that show the same."""

import errno
import os
import posix
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import shadow
from overlay_prepare.shadow import link_tree
from tree import ORIGIN, dig, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
ACL = bytes.fromhex("0200000001000700ffffffff02000700e803000004000500ffffffff10000700ffffffff20000500ffffffff")


def link(source: Path, target: Path) -> None:
    link_tree(hold(source), hold(target), hold(fill(target.parent / "spare")))


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
    link(source, target)
    assert read_tree(target) == read_tree(source)
    for path in [source, *source.rglob("*")]:
        there, here = (target / path.relative_to(source)).lstat(), path.lstat()
        assert (there.st_ino == here.st_ino) is not path.is_dir() or path.is_symlink()
        assert there.st_mtime_ns == here.st_mtime_ns, path
        assert there.st_mode == here.st_mode, path
    assert (target / "a").stat().st_atime_ns >= 3_000_000_001


def test_what_goes_from_the_second_stays_in_the_first(source: Path, tmp_path: Path) -> None:
    target = fill(tmp_path / "target")
    link(source, target)
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
    link(source, target)
    assert os.listxattr(target) == []
    assert os.getxattr(target / "e", "system.posix_acl_default") == ACL
    assert read_tree(target) == read_tree(source)


def test_an_attribute_that_is_no_acl_may_be_there_before(source: Path, tmp_path: Path) -> None:
    """As a label that the kernel gives by itself, which can't be removed."""
    target = fill(tmp_path / "target")
    os.setxattr(target, "user.given", b"x")
    link(source, target)
    assert os.listxattr(target) == ["user.given"]


def test_a_file_that_can_have_no_second_name_ends_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(posix, "link", refuse)
    with pytest.raises(PermissionError):
        link(source, fill(tmp_path / "target"))


class Most:
    """A disk on which a file has so many names at most."""

    def __init__(self, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        link_ = posix.link

        def check(source: str, target: str, *, src_dir_fd: int, **more: int) -> None:
            if os.stat(source, dir_fd=src_dir_fd, follow_symlinks=False).st_nlink >= number:
                raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
            link_(source, target, src_dir_fd=src_dir_fd, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(posix, "link", check)


def test_a_file_with_as_many_names_as_can_be_costs_one_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can make one: it must not keep a policy from dropping what is not theirs."""
    source, target = fill(tmp_path / "source", "d/f=text", "d/e/"), fill(tmp_path / "target")
    os.setxattr(source / "d/f", "user.note", b"y")
    os.chown(source / "d/f", 7, 8)
    os.chmod(source / "d/f", 0o4751)
    for number in range(5):
        os.link(source / "d/f", source / f"d/e/{number}")
    os.utime(source / "d/f", ns=(1_000_000_001, 2_000_000_003))
    before = read_tree(source)
    Most(8, monkeypatch)
    link(source, target)
    assert read_tree(target) == before == read_tree(source)
    inodes = [path.stat().st_ino for path in [target / "d/f", *(target / "d/e").iterdir()]]
    assert len(set(inodes)) == 2
    assert inodes.count((source / "d/f").stat().st_ino) == 2
    assert {path.stat().st_mtime_ns for path in (target / "d/e").iterdir()} == {2_000_000_003}


def test_a_copy_with_as_many_names_as_can_be_gets_one_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = fill(tmp_path / "source", "f=text"), fill(tmp_path / "target")
    for number in range(5):
        os.link(source / "f", source / f"{number}")
    Most(3, monkeypatch)
    link(source, target)
    assert read_tree(target) == read_tree(source)
    assert len({path.stat().st_ino for path in target.iterdir()}) == 3


@pytest.mark.parametrize("kind", ["link", "fifo", "gone"])
def test_what_is_no_file_is_copied_as_well(kind: str, tmp_path: Path) -> None:
    one, target = fill(tmp_path / "one", "link>/nowhere", "gone!"), fill(tmp_path / "target")
    os.mkfifo(one / "fifo", 0o640)
    os.chown(one / kind, 7, 8, follow_symlinks=False)
    os.utime(one / kind, ns=(1_000_000_001, 2_000_000_003), follow_symlinks=False)
    shadow._copy_file(hold(one), kind, hold(target), kind)
    assert read_tree(target) == {kind: read_tree(one)[kind]}
    assert (target / kind).lstat().st_mtime_ns == 2_000_000_003


def test_holes_are_copied_as_holes(tmp_path: Path) -> None:
    """A file of one may be larger than the disk."""
    one, other = fill(tmp_path / "one"), fill(tmp_path / "other")
    with (one / "f").open("wb") as file:
        file.write(b"begin")
        file.seek(1 << 22)
        file.write(b"middle")
        file.truncate(1 << 40)
    shadow._copy_file(hold(one), "f", hold(other), "f")
    info = (other / "f").stat()
    assert info.st_size == 1 << 40
    assert info.st_blocks <= (one / "f").stat().st_blocks
    with (other / "f").open("rb") as file:
        assert file.read(5) == b"begin"
        file.seek(1 << 22)
        assert file.read(7) == b"middle\0"


@pytest.mark.parametrize(("name", "low", "fatal"), [
    ("user.note", False, False), ("user.note", True, True), (ORIGIN, False, True),
])  # fmt: skip
def test_an_attribute_of_the_owner_s_that_does_not_fit_is_told(
    name: str, low: bool, fatal: bool, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    setxattr = posix.setxattr

    def refuse(at: str, attribute: str, *more: object, **options: bool) -> None:
        if attribute == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        setxattr(at, attribute, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(posix, "setxattr", refuse)
    monkeypatch.setattr(shadow, "is_low", lambda _folder: low)
    target = fill(tmp_path / "target")
    if fatal:
        with pytest.raises(OSError, match="No space") as caught:
            link(source, target)
        assert caught.value.filename == f"{source}/a"
        return
    link(source, target)
    text = f"<4>{source}/a is without its user.note, which a step back brings again: No space left on device\n"
    assert capsys.readouterr().err == text
    assert read_tree(target).keys() == read_tree(source).keys()


def test_attributes_that_are_too_many_to_be_listed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As anybody can have on xfs and btrfs."""
    listxattr = posix.listxattr
    inode = (source / "a").stat().st_ino

    def refuse(at: "str | int", **options: bool) -> "list[str]":
        if os.stat(at).st_ino == inode:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        return listxattr(at, **options)

    monkeypatch.setattr(posix, "listxattr", refuse)
    target = fill(tmp_path / "target")
    link(source, target)
    assert ORIGIN in os.listxattr(target / "a")
    assert "user.note" not in os.listxattr(target / "a")
    text = f"<4>{source}/a is without its user.* attributes, which a step back brings again: there are too many\n"
    assert capsys.readouterr().err == text


def test_a_tree_deeper_than_any_path(tmp_path: Path) -> None:
    source, target = fill(tmp_path / "source"), fill(tmp_path / "target")
    dig(source, 60)
    try:
        link(source, target)
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
