# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The upper layer made from a real directory: what it takes over, and what it leaves alone."""

import errno
import os
import posix
import stat
import struct
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare.upper import copy_attributes, follow_attributes, make_upper
from tree import fill

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
NOBODY = 0xFFFFFFFF


def acl(mask: int) -> bytes:
    """u::rwx u:1234:rwx g::r-x m::`mask` o::---, as the kernel stores it."""
    entries = [(1, 7, NOBODY), (2, 7, 1234), (4, 5, NOBODY), (0x10, mask, NOBODY), (0x20, 0, NOBODY)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def set_attribute(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            pytest.skip(f"{name} can't be set here: {error.strerror}")
        raise


def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture
def where(tmp_path: Path) -> Path:
    (tmp_path / "var").mkdir()
    return tmp_path / "var"


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    (tmp_path / "backing").mkdir()
    return tmp_path / "backing"


def attributes(path: Path) -> "dict[str, bytes]":
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def all_of(path: Path) -> "tuple[object, ...]":
    info = path.stat()
    return (info.st_mode, info.st_uid, info.st_gid, info.st_atime_ns, info.st_mtime_ns, attributes(path))


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o1777, 0o2775, 0o7751, 0o000])
def test_mode_owner_and_times_are_taken_over(mode: int, where: Path, backing: Path) -> None:
    as_root()
    os.chown(where, 1234, 2345)
    where.chmod(mode)
    os.utime(where, ns=(1_000_000_007, 2_000_000_009))
    assert make_upper(str(where), hold(backing)) == []
    assert all_of(backing / "upper") == all_of(where)
    assert stat.S_IMODE((backing / "upper").stat().st_mode) == mode
    assert os.listdir(backing) == ["upper"]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_no_umask_changes_it(umask: int, where: Path, backing: Path) -> None:
    where.chmod(0o775)
    before = os.umask(umask)
    try:
        make_upper(str(where), hold(backing))
    finally:
        os.umask(before)
    assert stat.S_IMODE((backing / "upper").stat().st_mode) == 0o775


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user.colour", b"blue"),
        ("user.binary", b"\0\xff\n" * 50),
        ("user.empty", b""),
        ("trusted.label", b"x"),
        (ACCESS, acl(5)),
        (DEFAULT, acl(7)),
    ],
)
def test_attributes_and_acls_are_taken_over(name: str, value: bytes, where: Path, backing: Path) -> None:
    as_root()
    set_attribute(where, name, value)
    assert make_upper(str(where), hold(backing)) == []
    assert attributes(backing / "upper") == attributes(where)
    assert all_of(backing / "upper")[:3] == all_of(where)[:3]
    assert name in attributes(backing / "upper")


def test_an_acl_beside_set_group_id_leaves_both(where: Path, backing: Path) -> None:
    as_root()
    os.chown(where, 1234, 2345)
    set_attribute(where, ACCESS, acl(5))
    where.chmod(0o2750)
    make_upper(str(where), hold(backing))
    assert all_of(backing / "upper")[:3] == all_of(where)[:3]
    assert attributes(backing / "upper") == attributes(where)


def test_a_default_acl_of_the_backing_directory_gets_nowhere(where: Path, backing: Path) -> None:
    as_root()
    set_attribute(backing, DEFAULT, acl(7))
    make_upper(str(where), hold(backing))
    assert attributes(backing / "upper") == {}


def test_the_marks_of_overlayfs_stay_where_they_are(where: Path, backing: Path) -> None:
    as_root()
    set_attribute(where, "trusted.overlay.opaque", b"y")
    set_attribute(where, "trusted.overlay.origin", b"x")
    set_attribute(where, "trusted.overlayed", b"z")
    assert make_upper(str(where), hold(backing)) == []
    assert attributes(backing / "upper") == {"trusted.overlayed": b"z"}


def test_an_upper_that_is_there_keeps_all_it_has(where: Path, backing: Path) -> None:
    make_upper(str(where), hold(backing))
    (backing / "upper/file").write_text("kept")
    (backing / "upper").chmod(0o711)
    os.utime(backing / "upper", ns=(5, 6))
    before = all_of(backing / "upper")
    where.chmod(0o777)
    assert make_upper(str(where), hold(backing)) == []
    assert all_of(backing / "upper") == before
    assert (backing / "upper/file").read_text() == "kept"
    assert os.listdir(backing) == ["upper"]


def test_what_a_power_cut_left_is_made_anew(where: Path, backing: Path) -> None:
    (backing / "upper.new-by-overlay-generator").mkdir(0o777)
    set_attribute(backing / "upper.new-by-overlay-generator", "user.half", b"done")
    where.chmod(0o750)
    assert make_upper(str(where), hold(backing)) == []
    assert all_of(backing / "upper") == all_of(where)
    assert os.listdir(backing) == ["upper"]


@pytest.mark.parametrize("left", [False, True])
def test_until_it_has_its_name_it_is_closed_to_others_and_then_it_is_on_the_disk(
    left: bool, where: Path, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is in it by then, and wherever the power goes."""
    scratch = f"{backing}/upper.new-by-overlay-generator"
    if left:
        Path(scratch).mkdir(0o777)
    steps: list[str] = []

    def note(_source: str, target: int, _path: str) -> "list[str]":
        steps.append(f"{stat.S_IMODE(os.fstat(target).st_mode):o}")
        return []

    monkeypatch.setattr("overlay_prepare.upper.copy_attributes", note)
    monkeypatch.setattr(posix, "fsync", lambda fd: steps.append(os.readlink(f"/proc/self/fd/{fd}")))
    held = len(os.listdir("/proc/self/fd"))
    with hold(backing) as folder:
        make_upper(str(where), folder)
    assert steps == ["700", scratch, str(backing)]
    assert os.listdir(backing) == ["upper"]
    assert len(os.listdir("/proc/self/fd")) == held


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777, 0o2700, 0o000, 0o700])
def test_the_backing_directory_is_closed_to_others(mode: int, where: Path, backing: Path) -> None:
    backing.chmod(mode)
    make_upper(str(where), hold(backing))
    assert stat.S_IMODE(backing.stat().st_mode) == 0o700
    backing.chmod(0o777)
    make_upper(str(where), hold(backing))
    assert stat.S_IMODE(backing.stat().st_mode) == 0o700


def test_what_the_file_system_can_not_hold_is_a_warning(
    where: Path, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_attribute(where, "user.colour", b"blue")

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(posix, "setxattr", refuse)
    warning = f"the upper layer of {where} can't have its user.colour: Operation not supported"
    assert make_upper(str(where), hold(backing)) == [warning]
    assert (backing / "upper").is_dir()


def test_a_directory_that_can_not_have_attributes_has_none(
    where: Path, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, **_options: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported", path)

    monkeypatch.setattr(posix, "listxattr", refuse)
    where.chmod(0o2751)
    assert make_upper(str(where), hold(backing)) == []
    assert (backing / "upper").stat().st_mode & 0o7777 == 0o2751


def test_a_missing_directory_is_named(tmp_path: Path, backing: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        make_upper(str(tmp_path / "var"), hold(backing))
    assert caught.value.filename == str(tmp_path / "var")


def test_of_what_a_new_directory_has_by_itself_only_acls_go(where: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    os.setxattr(made, "user.given", b"x")
    os.setxattr(where, "user.own", b"y")
    assert copy_attributes(str(where), str(made)) == []
    assert sorted(os.listxattr(made)) == ["user.given", "user.own"]
    fd = os.open(made, os.O_RDONLY)
    assert follow_attributes(str(where), fd, str(made)) == []
    os.close(fd)
    assert os.listxattr(made) == ["user.own"]


def test_an_attribute_that_does_not_go_is_a_warning_and_the_others_follow(
    where: Path, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("user.old", "user.stays"):
        set_attribute(backing, name, b"x")
    set_attribute(where, "user.own", b"y")
    remove = posix.removexattr

    def refuse(target: int, name: str) -> None:
        if name == "user.stays":
            raise OSError(errno.EACCES, "Permission denied")
        remove(target, name)

    monkeypatch.setattr(posix, "removexattr", refuse)
    with hold(backing) as made:
        assert follow_attributes(str(where), made.fd, "/the/path") == [
            "/the/path keeps its user.stays: Permission denied"
        ]
    assert sorted(os.listxattr(backing)) == ["user.own", "user.stays"]


def test_at_a_boot_like_the_last_one_nothing_is_written(
    where: Path, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_upper(str(where), hold(backing))
    monkeypatch.setattr(posix, "chmod", lambda *_arguments: pytest.fail("it is closed already"))
    make_upper(str(where), hold(backing))


@pytest.mark.parametrize("entry", ["upper=text", "upper>../var"])
def test_what_is_no_directory_in_its_place_is_put_aside(entry: str, where: Path, backing: Path) -> None:
    told: list[str] = []
    fill(backing, entry)
    assert make_upper(str(where), hold(backing, told)) == []
    assert sorted(os.listdir(backing)) == ["upper", "upper.refused"]
    assert (backing / "upper").is_dir()
    assert not (backing / "upper").is_symlink()
    assert len(told) == 1


def test_a_label_and_what_both_have_are_replaced_and_never_missing(
    where: Path, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_root()
    for name in ("security.selinux", "user.both", "user.old"):
        set_attribute(backing, name, b"x")
    set_attribute(where, "user.both", b"y")
    removed: list[str] = []
    monkeypatch.setattr(posix, "removexattr", lambda _target, name: removed.append(name))
    with hold(backing) as made:
        assert follow_attributes(str(where), made.fd, "/x") == []
    assert removed == ["user.old"]
    assert os.getxattr(backing, "user.both") == b"y"
