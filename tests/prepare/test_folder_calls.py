# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a folder asks of the kernel: modes, limits, what is flushed, and that nothing is opened or kept open in vain."""

import errno
import os
import posix
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare.folder import Folder, WrongKind
from tree import fill

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mounts need root"),
    pytest.mark.usefixtures("in_time"),
]


def count_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_is_made_is_closed_to_others_unless_the_caller_wants_it_open(tmp_path: Path) -> None:
    folder = hold(tmp_path)
    before = os.umask(0)
    try:
        folder.mkdir("mkdir")
        folder.make("make").close()
        os.close(folder.create("create"))
        os.close(folder.append("append"))
        folder.write("write", b"")
        folder.write_over("over", b"")
        folder.mkdir("open", 0o755)
        os.close(folder.append("log", 0o644))
    finally:
        os.umask(before)
    assert {path.name: f"{path.stat().st_mode & 0o7777:o}" for path in tmp_path.iterdir()} == {
        "mkdir": "700", "make": "700", "create": "600", "append": "600", "write": "600", "over": "600",
        "open": "755", "log": "644",
    }  # fmt: skip


FLUSHED: "list[tuple[Callable[[Folder], object], list[str]]]" = [
    (lambda folder: folder.write("x", b"x"), ["/x.new", ""]),
    (lambda folder: folder.write("x", b"x", durable=False), []),
    (lambda folder: folder.write_over("x", b"x"), ["/x", ""]),
    (lambda folder: folder.sync(), [""]),
]


@pytest.mark.parametrize(("call", "expected"), FLUSHED)
def test_what_is_on_the_disk_when_it_returns(
    call: "Callable[[Folder], object]", expected: "list[str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(posix, "fsync", lambda fd: flushed.append(os.readlink(f"/proc/self/fd/{fd}")))
    held = count_open()
    with hold(tmp_path) as folder:
        call(folder)
    assert flushed == [f"{tmp_path}{name}" for name in expected]
    assert count_open() == held


@pytest.mark.parametrize("call", ["read", "append", "write_over"])
def test_what_is_no_file_is_not_even_opened(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog starts when it is opened."""
    os.mknod(tmp_path / "x", 0o020600, os.makedev(1, 5))
    real = posix.open
    opened: list[tuple[int, int]] = []

    def note(name: str, flags: int, *arguments: int, **options: int) -> int:
        fd = real(name, flags, *arguments, **options)
        if not flags & os.O_EXCL:
            opened.append((os.fstat(fd).st_rdev, flags))
        return fd

    folder = hold(tmp_path)
    monkeypatch.setattr(posix, "open", note)
    if call == "read":
        with pytest.raises(WrongKind):
            folder.read("x", 5)
    elif call == "append":
        os.close(folder.append("x"))
    else:
        folder.write_over("x", b"x")
    assert opened == []


def test_nothing_stays_open_where_something_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even as long as the error is known: a disk can't be unmounted meanwhile."""
    fill(tmp_path, "mount/", "file", "link", "long=123456")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "mount"], check=True)
    try:
        with hold(tmp_path) as folder:
            held = count_open()
            with pytest.raises(WrongKind) as caught:
                folder.open("mount")
            assert (count_open(), caught.value.strerror) == (held, "is another mount")
            # It is exchanged after it was looked at.
            real = folder.stat("file")
            (tmp_path / "link").unlink()
            os.link(tmp_path / "file", tmp_path / "link")
            monkeypatch.setattr(Folder, "stat", lambda *_arguments: real)
            for call in (folder.append, lambda name: folder.open_file(name, 10)):
                with pytest.raises(WrongKind) as caught:
                    call("link")
                assert (count_open(), caught.value.strerror) == (held, "has another name elsewhere")
    finally:
        subprocess.run(["umount", tmp_path / "mount"], check=True)


def test_a_file_of_another_file_system_is_none_of_ours(tmp_path: Path) -> None:
    fill(tmp_path, "x")
    folder = hold(tmp_path)
    folder.device += 1
    with pytest.raises(WrongKind, match="has another name elsewhere"):
        folder.read("x", 10)


@pytest.mark.parametrize("parts", [1, 3, 4, 5, 6, 100])
def test_a_file_is_read_up_to_the_limit_and_no_further(
    parts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grows meanwhile."""
    (tmp_path / "x").write_bytes(b"")
    monkeypatch.setattr(posix, "read", lambda _fd, count: b"y" * min(count, parts))
    assert hold(tmp_path).read("x", 5) == b"yyyyy"


def test_a_scan_begins_with_the_first_entry_though_another_one_was_left_in_the_middle(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{number:0200}" for number in range(400)))  # more than one call of the kernel tells
    folder = hold(tmp_path)
    left = folder.scan()
    next(left)
    assert len({entry.name for entry in folder.scan()}) == 400
    other = folder.descend("")
    assert other
    assert len({entry.name for entry in other.scan()}) == 400


def test_a_directory_has_the_path_that_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a/", "b/")
    folder = hold(tmp_path / "a")
    assert folder.find_path() == f"{tmp_path}/a"
    (tmp_path / "a").rename(tmp_path / "c")
    with pytest.raises(FileNotFoundError):
        folder.find_path()
    for other in ("dir", "link"):
        fill(tmp_path, "a/" if other == "dir" else "a>c")
        with pytest.raises(WrongKind, match="is another directory now"):
            folder.find_path()
        (tmp_path / "a").rmdir() if other == "dir" else (tmp_path / "a").unlink()

    def overflow(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EOVERFLOW, "Value too large for defined data type")

    monkeypatch.setattr(posix, "stat", overflow)
    assert folder.find_path() == f"{tmp_path}/a", "with a time after 2038 it is taken on trust"


@pytest.mark.parametrize(("length", "whole"), [(4095, True), (4096, False)])
def test_a_message_names_what_lies_deep_by_a_directory_above_it(length: int, whole: bool, tmp_path: Path) -> None:
    folder = hold(tmp_path)
    folder.path = "x" * length
    assert folder.spell("name") == ("x" * length + "/name" if whole else "x" * length)


@pytest.mark.parametrize("mode", [0o000, 0o755, 0o1777, 0o2751, 0o7777])
def test_kind_and_mode_are_told_apart(mode: int, tmp_path: Path) -> None:
    fill(tmp_path, "d/", "f")
    for name in "df":
        (tmp_path / name).chmod(mode)
        assert hold(tmp_path).find_kind(name) == name
    with hold(tmp_path).open("d") as inner:
        assert inner.has_mode(mode)
        assert not inner.has_mode(mode ^ 0o2000)
        assert not inner.has_mode(mode ^ 0o001)


def test_where_stat_fails_over_a_time_the_directory_tells_the_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "file", "dir/", "to-file>file", "to-dir>dir")
    os.mkfifo(tmp_path / "fifo")
    folder = hold(tmp_path)

    def overflow(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EOVERFLOW, "Value too large for defined data type")

    monkeypatch.setattr(posix, "stat", overflow)
    kinds = {name: folder.find_kind(name) for name in ("file", "dir", "to-file", "to-dir", "fifo", "none")}
    assert kinds == {"file": "f", "dir": "d", "to-file": "l", "to-dir": "l", "fifo": "o", "none": ""}


def test_the_times_of_a_link_are_its_own(tmp_path: Path) -> None:
    fill(tmp_path, "file", "link>file")
    for name in ("file", "link"):
        os.utime(tmp_path / name, (5, 5), follow_symlinks=False)
    hold(tmp_path).touch("link")
    assert (tmp_path / "file").stat().st_mtime == 5
    assert (tmp_path / "link").lstat().st_mtime > 5


@pytest.mark.parametrize("there", ["-1", "same"])
def test_where_the_device_is_not_known_the_mount_tells(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "mount/", "dir/")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "mount"], check=True)
    try:
        folder = hold(tmp_path)
        if there == "-1":
            monkeypatch.setattr(Folder, "stat_self", lambda _self: None)
            folder = hold(tmp_path)
        held = count_open()
        with pytest.raises(WrongKind, match="is another mount"):
            folder.open("mount")
        folder.open("dir").close()
        assert count_open() == held
    finally:
        subprocess.run(["umount", tmp_path / "mount"], check=True)
