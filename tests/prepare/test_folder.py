# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A directory in which nothing is trusted: whatever has a name there, no link is followed and nothing waits."""

import gc
import os
import posix
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare.folder import Folder, WrongKind
from powercut import cut_off
from tree import read_tree

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mounts need root"),
    pytest.mark.usefixtures("in_time"),
]

# What may be in the place of a file or a directory, and what a message calls it.
FOUL = {
    "link out": "a symbolic link",
    "link in": "a symbolic link",
    "dangling": "a symbolic link",
    "fifo": "a device, a FIFO or a socket",
    "socket": "a device, a FIFO or a socket",
    "device": "a device, a FIFO or a socket",
    "directory": "a directory",
}


def plant(kind: str, path: Path, outside: Path) -> None:
    if kind == "link out":
        path.symlink_to(outside)
    elif kind == "link in":
        path.symlink_to("other")
    elif kind == "dangling":
        path.symlink_to(outside.parent / "nowhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.fspath(path))
    elif kind == "device":
        os.mknod(path, 0o020600, os.makedev(1, 5))  # /dev/zero
    elif kind == "directory":
        path.mkdir()
        (path / "inner").write_text("inner")
    else:
        path.write_text(kind)


class Disk:
    """A backing directory, and something outside of it that must stay as it is."""

    def __init__(self, top: Path) -> None:
        self.top, self.outside = top / "backing", top / "outside"
        self.top.mkdir()
        (self.top / "other").write_text("other")
        self.outside.write_text("outside")
        self.before = read_tree(top)
        self.told: list[str] = []
        self.folder = hold(self.top, self.told)

    def names(self) -> "set[str]":
        return {path.name for path in self.top.iterdir()} - {"other"}

    def check(self) -> None:
        """Nothing but what is new in the backing directory has changed."""
        assert self.outside.read_text() == "outside"
        assert (self.top / "other").read_text() == "other"
        assert not (self.top.parent / "nowhere").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@pytest.mark.parametrize("kind", FOUL)
def test_what_is_no_file_is_not_read(kind: str, disk: Disk) -> None:
    plant(kind, disk.top / "image", disk.outside)
    with pytest.raises(WrongKind) as caught:
        disk.folder.read("image", 100)
    assert str(caught.value.strerror) == f"is {FOUL[kind]}, and a file is wanted"
    assert caught.value.filename == f"{disk.top}/image"
    assert disk.names() == {"image"}
    assert disk.folder.recover("image", 100) is None
    assert disk.told == [f"{disk.top}/image is {FOUL[kind]}, and a file is wanted: put aside as image.refused"]
    assert disk.names() == {"image.refused"}
    disk.check()


def test_a_file_is_read_whole_and_none_is_none(disk: Disk) -> None:
    assert disk.folder.read("image", 100) is None
    (disk.top / "image").write_bytes(b"x" * 100)
    assert disk.folder.read("image", 100) == disk.folder.recover("image", 100) == b"x" * 100


def test_a_file_that_is_too_large_or_has_another_name_is_none_of_ours(disk: Disk) -> None:
    (disk.top / "image").write_bytes(b"x" * 101)
    with pytest.raises(WrongKind, match="has 101 bytes, and at most 100 are allowed"):
        disk.folder.read("image", 100)
    os.truncate(disk.top / "image", 1 << 40)
    assert disk.folder.recover("image", 100) is None
    os.link(disk.top / "other", disk.top / "image")
    with pytest.raises(WrongKind, match="another name"):
        disk.folder.open_file("image", 100)
    for write in (disk.folder.append, lambda name: disk.folder.write_over(name, b"x")):
        write("image")
        assert (disk.top / "image").stat().st_nlink == 1
        disk.check()
        (disk.top / "image").unlink()
        os.link(disk.top / "other", disk.top / "image")


def test_a_file_that_grows_while_it_is_read_has_an_end(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    (disk.top / "image").write_bytes(b"x")
    monkeypatch.setattr(posix, "read", lambda _fd, count: b"y" * count)
    assert disk.folder.read("image", 5) == b"yyyyy"


def test_what_is_exchanged_between_the_look_and_the_open_is_found_out(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    (disk.top / "image").write_text("x")
    real = posix.open

    def swap(name: str, flags: int, *arguments: int, **options: int) -> int:
        monkeypatch.setattr(posix, "open", real)
        (disk.top / "image").unlink()
        os.mkfifo(disk.top / "image")
        return real(name, flags, *arguments, **options)

    monkeypatch.setattr(posix, "open", swap)
    with pytest.raises(WrongKind):
        disk.folder.read("image", 5)
    (disk.top / "image").unlink()
    (disk.top / "image").write_text("x")
    monkeypatch.setattr(posix, "open", swap)
    with pytest.raises(OSError, match="image"):
        disk.folder.append("image")


@pytest.mark.parametrize("kind", [*FOUL, "file"])
@pytest.mark.parametrize("name", ["image", "image.new"])
@pytest.mark.parametrize("over", [False, True])
def test_a_file_is_written_whatever_stands_in_its_way(over: bool, name: str, kind: str, disk: Disk) -> None:
    plant(kind, disk.top / name, disk.outside)
    (disk.folder.write_over if over else disk.folder.write)("image", b"text")
    assert (disk.top / "image").read_bytes() == b"text"
    assert not (disk.top / "image").is_symlink()
    if not over or kind != "file":
        assert (disk.top / "image").stat().st_mode & 0o7777 == 0o600
    aside = {entry for entry in disk.names() - {"image"} if ".refused" in entry}
    if name == "image":
        assert len(aside) == len(disk.told) == (kind != "file")
    elif not over:
        assert len(aside) == len(disk.told) == (kind == "directory")
        assert disk.names() == {"image", *aside}
    disk.check()


def test_nobody_else_may_read_a_new_file(disk: Disk) -> None:
    before = os.umask(0)
    try:
        for name, mode in (("one", ()), ("two", (0o640,))):
            os.close(disk.folder.create(name, *mode))
    finally:
        os.umask(before)
    assert [(disk.top / name).stat().st_mode & 0o7777 for name in ("one", "two")] == [0o600, 0o640]


@pytest.mark.parametrize("kind", FOUL)
def test_a_log_goes_on_or_is_made_anew(kind: str, disk: Disk) -> None:
    plant(kind, disk.top / "dropped", disk.outside)
    for text in (b"one\n", b"two\n"):
        fd = disk.folder.append("dropped")
        os.write(fd, text)
        os.close(fd)
    assert (disk.top / "dropped").read_text() == "one\ntwo\n"
    assert len(disk.told) == 1
    disk.check()


@pytest.mark.parametrize("kind", [*FOUL, "file"])
def test_a_directory_is_a_directory(kind: str, disk: Disk) -> None:
    plant(kind, disk.top / "upper", disk.outside)
    if kind != "directory":
        with pytest.raises(NotADirectoryError, match=f"{disk.top}/upper"):
            disk.folder.open("upper")
    with disk.folder.make("upper", 0o750) as upper:
        assert upper.path == f"{disk.top}/upper"
        info = upper.stat_self()
        assert info
        assert os.path.samestat(info, (disk.top / "upper").lstat())
    assert upper.fd == -1
    assert disk.names() == {"upper", "upper.refused"} if kind != "directory" else {"upper"}
    assert len(disk.told) == (kind != "directory")
    disk.check()


def test_a_directory_that_is_missing_is_made_or_said(disk: Disk) -> None:
    with pytest.raises(FileNotFoundError, match=f"{disk.top}/upper"):
        disk.folder.open("upper")
    assert disk.folder.make("upper", 0o750).has_mode(0o750)
    assert disk.told == []


def test_another_mount_is_no_directory_of_the_disk(disk: Disk) -> None:
    (disk.top / "upper").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk.top / "upper"], check=True)
    try:
        for take in (disk.folder.open, disk.folder.make):
            with pytest.raises(WrongKind, match="is another mount"):
                take("upper")
        with pytest.raises(OSError, match="upper"):
            disk.folder.put_aside("upper", "is another mount")
    finally:
        subprocess.run(["umount", disk.top / "upper"], check=True)


def test_a_subvolume_is_a_directory_of_the_disk(disk: Disk) -> None:
    """It has a device number of its own, on the same mount."""
    (disk.top / "upper").mkdir()
    disk.folder.device += 1
    assert disk.folder.open("upper").path == f"{disk.top}/upper"


def test_what_was_put_aside_before_stays(disk: Disk) -> None:
    for number in range(100):
        (disk.top / "upper").write_text(str(number))
        disk.folder.put_aside("upper", "is a file")
    assert (disk.top / "upper.refused").read_text() == "0"
    assert (disk.top / "upper.refused-99").read_text() == "99"
    (disk.top / "upper").write_text("one more")
    with pytest.raises(WrongKind, match="put aside already"):
        disk.folder.put_aside("upper", "is a file")
    assert (disk.top / "upper").read_text() == "one more"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc"])
def test_a_name_is_one_component(name: str, disk: Disk) -> None:
    (disk.top / "x").write_text("x")
    for call in (disk.folder.stat, disk.folder.open, disk.folder.create, disk.folder.unlink, disk.folder.reach):
        with pytest.raises(ValueError, match="is not the name"):
            call(name)
    for names in ((name, "y"), ("x", name)):
        with pytest.raises(ValueError, match="is not the name"):
            disk.folder.rename(*names)


def test_a_path_for_calls_without_a_descriptor_leads_to_what_is_open(disk: Disk) -> None:
    (disk.top / "x").symlink_to(disk.outside)
    os.rename(disk.top, disk.top.parent / "moved")
    disk.top.symlink_to("/etc")
    os.setxattr(disk.folder.reach("x"), "trusted.test", b"y", follow_symlinks=False)
    assert os.listxattr(disk.top.parent / "moved/x", follow_symlinks=False) == ["trusted.test"]
    assert os.listxattr(disk.outside) == []


def test_the_top_itself_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(NotADirectoryError):
        hold(tmp_path / "link")


ERRORS: "list[tuple[Callable[[Folder], object], str]]" = [
    (lambda folder: folder.unlink("x"), "/x"),
    (lambda folder: folder.rmdir("x"), "/x"),
    (lambda folder: folder.rename("x", "y"), "/x"),
    (lambda folder: folder.mkdir("other"), "/other"),
    (lambda folder: folder.mknod("other", 0o010600, 0), "/other"),
    (lambda folder: folder.open("x"), "/x"),
]


@pytest.mark.parametrize(("call", "name"), ERRORS)
def test_an_error_has_the_whole_path(call: "Callable[[Folder], object]", name: str, disk: Disk) -> None:
    with pytest.raises(OSError, match=name) as caught:
        call(disk.folder)
    assert caught.value.filename == f"{disk.top}{name}"
    disk.folder.remove_file("x")


def test_a_call_that_fails_leaves_the_old_file_and_no_descriptor(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.folder.write("image", b"old")
    gc.collect()
    before = os.listdir("/proc/self/fd")

    def fail(*_arguments: object) -> None:
        raise OSError(5, "EIO")

    for name in ("write", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(posix, name, fail)
            for call in (disk.folder.write, disk.folder.write_over):
                with pytest.raises(OSError, match=f"EIO.*{disk.top}/image"):
                    call("image", b"old")
        assert disk.names() == {"image"}
    with monkeypatch.context() as patch:
        patch.setattr(posix, "read", fail)
        with pytest.raises(OSError, match=f"EIO.*{disk.top}/image"):
            disk.folder.read("image", 10)
    assert disk.folder.read("image", 10) == b"old"
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_the_old_one_or_the_new_wherever_it_is_cut_off(durable: bool, disk: Disk) -> None:
    def prepare() -> "Callable[[], object]":
        (disk.top / "file").write_text("old")
        return lambda: disk.folder.write("file", b"new, and longer", durable=durable)

    after = 0
    while not cut_off(prepare(), after):
        assert (disk.top / "file").read_text() in ("old", "new, and longer")
        after += 1
    assert after >= (5 if durable else 3)
    assert disk.names() == {"file"}
    assert (disk.top / "file").read_text() == "new, and longer"


def test_a_folder_that_is_dropped_is_closed(disk: Disk) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        disk.folder.make("upper")
        with disk.folder.make("upper") as upper:
            assert list(upper.scan()) == []
            upper.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_entries_are_those_that_are_there_each_time(disk: Disk) -> None:
    (disk.top / "upper").mkdir()
    for _ in range(2):
        assert {entry.name: entry.is_dir(follow_symlinks=False) for entry in disk.folder.scan()} == {
            "other": False,
            "upper": True,
        }
    next(iter(disk.folder.scan()))
    assert len(list(disk.folder.scan())) == 2


@pytest.mark.parametrize(("before", "after"), [("", "new"), ("longer than that", "new"), ("x", "new\udcff\n" * 1000)])
def test_a_file_written_over_has_the_new_text_alone(before: str, after: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if before:
        path.write_text(before)
    inode = path.stat().st_ino if before else 0
    hold(tmp_path).write_over("file", os.fsencode(after), 0o640)
    assert path.read_bytes() == os.fsencode(after)
    assert inode in (0, path.stat().st_ino), "its blocks are used again"


def test_what_is_written_by_parts_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = posix.write
    monkeypatch.setattr(posix, "write", lambda fd, data: write(fd, data[:3]))
    hold(tmp_path).write_over("file", b"0123456789")
    assert (tmp_path / "file").read_text() == "0123456789"


def test_the_first_descriptor_is_one_as_well(tmp_path: Path) -> None:
    """Where standard input is closed, the first directory that is opened gets its number."""
    kept = os.dup(0)
    try:
        os.close(0)
        folder = hold(tmp_path)
        assert folder.fd == 0
        folder.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
