# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What prepare does with files: each goes whole or not at all."""

import errno
import os
import posix
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from overlay_prepare.files import (
    WHITEOUT,
    find_device,
    find_kind,
    has_mode,
    is_on,
    is_too_long,
    leads_to_directory,
    list_attributes,
    list_entries,
    make_directory,
    remove_file,
    send_all,
    sync_directory,
    write_whole,
)
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


def test_the_mark_of_a_deleted_file_is_the_kernel_s() -> None:
    """The character device 0:0 (overlayfs.rst, whiteouts and opaque directories)."""
    assert WHITEOUT == stat.S_IFCHR


def test_what_is_there_or_gone_already_is_no_error(tmp_path: Path) -> None:
    for _ in range(2):
        make_directory(str(tmp_path / "directory"), 0o700)
        remove_file(str(tmp_path / "file"))
    (tmp_path / "file").touch()
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


def refuse(number: int) -> "Callable[..., object]":
    """A call that fails."""

    def call(*_arguments: object, **_options: object) -> object:
        raise OSError(number, os.strerror(number))

    return call


def test_where_times_are_too_large_the_directory_tells_the_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "file", "directory/", "link>directory")
    os.mkfifo(tmp_path / "fifo")
    device = tmp_path.stat().st_dev
    assert find_device(str(tmp_path)) == device
    for name in ("lstat", "stat"):
        monkeypatch.setattr(posix, name, refuse(errno.EOVERFLOW))
    kinds = {name: find_kind(str(tmp_path / name)) for name in ("file", "directory", "link", "fifo", "none")}
    assert kinds == {"file": "f", "directory": "d", "link": "l", "fifo": "o", "none": ""}
    assert find_kind("/proc") == "d"
    assert find_device(str(tmp_path)) == -1
    assert not has_mode(str(tmp_path), 0o700)


def test_any_other_fault_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lstat", "stat", "listxattr"):
        monkeypatch.setattr(posix, name, refuse(errno.EACCES))
    for call in (find_kind, find_device, lambda path: has_mode(path, 0o700), list_attributes):
        with pytest.raises(PermissionError):
            call(str(tmp_path))


def test_a_mode_is_compared_without_the_type(tmp_path: Path) -> None:
    tmp_path.chmod(0o2751)
    assert has_mode(str(tmp_path), 0o2751)
    assert not has_mode(str(tmp_path), 0o751)


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="no other mount is known")
def test_what_is_on_the_same_file_system() -> None:
    by_name = {entry.name: entry for entry in list_entries("/")}
    for device in (os.lstat("/").st_dev, -1):
        assert not is_on(by_name["proc"], device)
        assert is_on(by_name["etc"], device)
    assert is_on(by_name["proc"], os.lstat("/proc").st_dev)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_a_link_and_a_file_are_on_the_file_system_of_their_directory(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
    try:
        fill(tmp_path, "link>/proc", "file")
        for device in (tmp_path.stat().st_dev, -1):
            found = {entry.name: is_on(entry, device) for entry in list_entries(str(tmp_path))}
            assert found["file"]
            assert found["link"], "it is not followed"
        for number in (errno.EOVERFLOW, errno.EACCES):
            entry = Entry(number, str(tmp_path / "file"))
            if number == errno.EOVERFLOW:
                assert is_on(entry, 5)  # type: ignore[arg-type]
            else:
                with pytest.raises(PermissionError):
                    is_on(entry, 5)  # type: ignore[arg-type]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


class Entry:
    """An entry of a directory, of which stat(2) fails."""

    def __init__(self, number: int, path: str) -> None:
        self.number, self.path = number, path

    def stat(self, follow_symlinks: bool) -> object:
        assert not follow_symlinks
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(("words", "synced"), [((), 0), ((False,), 0), ((True,), 2)])
def test_a_file_is_on_the_disk_where_that_is_asked(
    words: "tuple[bool, ...]", synced: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(posix, "fsync", seen.append)
    write_whole(str(tmp_path / "file"), "text", 0o600, *words)
    assert len(seen) == synced


def test_a_way_of_directories_alone(tmp_path: Path) -> None:
    fill(tmp_path, "a/b/file", "a/link>b", "up>a")
    top = str(tmp_path)
    assert [leads_to_directory(top, path) for path in ("", "a", "a/b")] == [True] * 3
    assert [leads_to_directory(top, path) for path in ("a/b/file", "a/link", "up/b", "none", "none/a")] == [False] * 5


@pytest.mark.parametrize(("path", "expected"), [
    ("x" * 3800, False), ("x" * 3801, True), ("\xe9" * 1900, False), ("\xe9" * 1901, True), ("\U0001f600" * 900, False),
    ("\U0001f600" * 951, True), ("\udcff" * 3801, True),
])  # fmt: skip
def test_bytes_make_a_path_too_long(path: str, expected: bool) -> None:
    assert is_too_long(path) is expected


def test_attributes_without_the_marks_of_overlays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "file", "link>file")
    os.setxattr(tmp_path / "file", "user.note", b"x")
    if os.geteuid() == 0:
        os.setxattr(tmp_path / "file", "trusted.overlay.opaque", b"y")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    assert list_attributes(str(tmp_path / "file")) == list_attributes(fd) == ["user.note"]
    assert list_attributes(str(tmp_path / "link")) == []
    os.close(fd)
    monkeypatch.setattr(posix, "listxattr", refuse(errno.EOPNOTSUPP))
    assert list_attributes(str(tmp_path / "file")) == []


def test_a_file_is_sent_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overlay_prepare.files._CHUNK", 7)
    (tmp_path / "source").write_bytes(bytes(range(100)))
    source, target = os.open(tmp_path / "source", os.O_RDONLY), os.open(tmp_path / "target", os.O_WRONLY | os.O_CREAT)
    send_all(source, target)
    assert (tmp_path / "target").read_bytes() == bytes(range(100))
    os.close(source)
    os.close(target)


def test_a_directory_is_synced_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(posix, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    before = set(os.listdir("/proc/self/fd"))
    sync_directory(str(tmp_path))
    assert synced == [str(tmp_path)]
    monkeypatch.setattr(posix, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        sync_directory(str(tmp_path))
    with pytest.raises(NotADirectoryError):
        sync_directory(__file__)
    assert set(os.listdir("/proc/self/fd")) == before
