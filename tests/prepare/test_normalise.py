# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an upper layer loses when the image below it changes, and what it keeps."""

import errno
import os
import posix
import stat
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from hold import hold
from overlay_prepare.normalise import is_whiteout, normalise
from overlay_prepare.tree import remove_below
from tree import OPAQUE, dig, fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes need root")

ORIGIN = "trusted.overlay.origin"
STALE = {f"trusted.overlay.{name}": b"x" for name in ("origin", "impure", "nlink", "upper")}
KEPT = {f"trusted.overlay.{name}": b"y" for name in ("opaque", "redirect", "metacopy", "whiteout")} | {"user.own": b"z"}


def _mark(path: Path) -> None:
    for name, value in (STALE | KEPT).items():
        if not (path.is_symlink() and name.startswith("user.")):
            os.setxattr(path, name, value, follow_symlinks=False)


def _names(path: Path) -> "set[str]":
    return set(os.listxattr(path, follow_symlinks=False))


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    for name in ("upper/a/b/c", "work/work/x/y/z", "work/index", "outside"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("upper/file", "upper/a/b/file", "work/index/00fb", "outside/file"):
        (tmp_path / name).write_text(name)
    (tmp_path / "upper/a/link").symlink_to(tmp_path / "outside")
    (tmp_path / "upper/a/fifo").parent.mkdir(exist_ok=True)
    os.mknod(tmp_path / "upper/a/whiteout", 0o020000, 0)
    return tmp_path


def test_references_go_and_marks_stay(layers: Path) -> None:
    upper = layers / "upper"
    marked = [upper, *upper.rglob("*"), layers / "outside", layers / "outside/file"]
    marked = [path for path in marked if not path.is_char_device()]
    for path in marked:
        _mark(path)
    count, _ = normalise(hold(upper), hold(layers / "work"))
    inside = [path for path in marked if path.is_relative_to(upper)]
    assert count == len(inside) * len(STALE)
    for path in inside:
        # An empty origin refers to nothing, and makes the kernel look for whiteouts.
        origin = {ORIGIN} if path.is_dir() and not path.is_symlink() else set()
        assert _names(path) & set(STALE) == origin, path
        assert not origin or os.getxattr(path, ORIGIN) == b""
        assert _names(path) >= {name for name in KEPT if not path.is_symlink() or name.startswith("trusted")}, path
    assert _names(layers / "outside") >= set(STALE), "a symbolic link was followed"
    assert (upper / "a/whiteout").is_char_device()
    assert (upper / "a/b/file").read_text() == "upper/a/b/file"


def test_a_directory_with_whiteouts_is_looked_through_for_them(layers: Path) -> None:
    """Otherwise the kernel lists them, as names that don't exist, if the new image has no such directory."""
    normalise(hold(layers / "upper"), hold(layers / "work"))
    assert os.getxattr(layers / "upper/a", ORIGIN) == b""
    assert ORIGIN not in os.listxattr(layers / "upper/a/b")


def test_work_is_emptied_and_stays_itself(layers: Path) -> None:
    (layers / "work/work").chmod(0)
    inode = (layers / "work").stat().st_ino
    normalise(hold(layers / "upper"), hold(layers / "work"))
    assert list((layers / "work").iterdir()) == []
    assert (layers / "work").stat().st_ino == inode


def test_without_files_only_directories_are_stripped(layers: Path) -> None:
    """Where the kernel follows none of their references in the new image, each is a look at an inode for nothing."""
    for name in ("upper/a/b", "upper/a/b/file", "upper/a/link"):
        _mark(layers / name)
    assert normalise(hold(layers / "upper"), hold(layers / "work"), files=False)[0] == len(STALE)
    assert _names(layers / "upper/a/b/file") >= set(STALE)
    assert _names(layers / "upper/a/link") >= set(STALE)
    assert _names(layers / "upper/a/b") & set(STALE) == {ORIGIN}
    assert os.getxattr(layers / "upper/a", ORIGIN) == b"", "it has a whiteout"


def test_opaque_directories_are_named(layers: Path) -> None:
    for name, value in (("a", b"y"), ("a/b/c", b"y"), ("a/b", b"x"), ("", b"y")):
        os.setxattr(layers / "upper" / name, "trusted.overlay.opaque", value)
    _, opaque = normalise(hold(layers / "upper"), hold(layers / "work"))
    assert sorted(opaque) == ["", "a", "a/b/c"]


def test_an_opaque_directory_deeper_than_any_path_is_not_named(tmp_path: Path) -> None:
    """No image has anything there, and anybody can make such a tree."""
    fill(tmp_path, "upper/near/", "work/")
    dig(tmp_path / "upper/near", 50)
    at = os.open(tmp_path / "upper/near", os.O_RDONLY)
    os.setxattr(at, OPAQUE, b"y")
    try:
        for _ in range(50):
            inner = os.open("d" * 100, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = inner
        os.setxattr(at, OPAQUE, b"y")
        asked: list[str] = []

        def matter(path: str) -> bool:
            asked.append(path)
            return True

        _, opaque = normalise(hold(tmp_path / "upper"), hold(tmp_path / "work"), matters=matter)
        assert (opaque, asked) == (["near"], ["near"])
        assert normalise(hold(tmp_path / "upper"), hold(tmp_path / "work"))[1] == ["near"]
    finally:
        os.close(at)
        os.system(f"rm -rf '{tmp_path}/upper'")  # what shutil can't


def test_a_link_is_stripped_by_its_own_attributes(layers: Path) -> None:
    """Neither those of what it leads to count, nor a link to itself."""
    (layers / "upper/a/round").symlink_to("round")
    os.setxattr(layers / "upper/a/link", ORIGIN, b"x", follow_symlinks=False)
    os.setxattr(layers / "upper/a/round", ORIGIN, b"x", follow_symlinks=False)
    assert normalise(hold(layers / "upper"), hold(layers / "work"))[0] == 2
    assert ORIGIN not in _names(layers / "upper/a/link") | _names(layers / "upper/a/round")


def test_twice_is_the_same_as_once(layers: Path) -> None:
    _mark(layers / "upper/a/b/file")
    assert normalise(hold(layers / "upper"), hold(layers / "work")) == (len(STALE), [])
    assert normalise(hold(layers / "upper"), hold(layers / "work")) == (0, [])


def test_a_symbolic_link_below_is_removed_and_not_followed(layers: Path) -> None:
    (layers / "work/link").symlink_to(layers / "outside")
    remove_below(hold(layers / "work"))
    assert (layers / "outside/file").exists()
    assert list((layers / "work").iterdir()) == []


def test_what_can_not_be_changed_is_said_once(
    layers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    upper = layers / "upper"
    for name in ("1", "2", "3"):
        (upper / name).write_text(name)
        os.setxattr(upper / name, "trusted.overlay.origin", b"x")

    def refuse(path: str, *_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(posix, "removexattr", refuse)
    assert normalise(hold(upper), hold(layers / "work"))[0] == 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("<4>/")
    assert said.endswith(
        ", one of 3 in the upper layer, can't be changed (chattr +i?), and may be shown with what another image has\n"
    )


def test_any_number_of_what_can_not_be_changed_takes_no_memory(
    layers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever has written the disk can make a million of them, each with a path of 4,000 characters."""
    path = layers / "upper"
    for _ in range(14):
        path /= "d" * 250
    path.mkdir(parents=True)
    for number in range(2000):
        (path / f"{number}").touch()
        os.setxattr(path / f"{number}", ORIGIN, b"x")

    def refuse(path: str, *_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(posix, "removexattr", refuse)
    tracemalloc.start()
    normalise(hold(layers / "upper"), hold(layers / "work"))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert ", one of 2000 in the upper layer, " in capsys.readouterr().err
    assert most < 1 << 20, "all the paths take seven times that"


def test_a_directory_that_can_not_be_changed_is_said(
    layers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One with a reference, and one with a whiteout, which is to get the mark by which the kernel looks for it."""
    upper = layers / "upper"
    os.setxattr(upper / "a/b", ORIGIN, b"x")

    def refuse(path: str, *_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(posix, "setxattr", refuse)
    assert normalise(hold(upper), hold(layers / "work"))[0] == 0
    text = "can't be changed (chattr +i?), and may be shown with what another image has"
    assert capsys.readouterr().err == f"<4>{upper}/a, one of 2 in the upper layer, {text}\n"
    assert os.getxattr(upper / "a/b", ORIGIN) == b"x"


@pytest.mark.parametrize(("mode", "device", "expected"), [
    (stat.S_IFCHR, 0, True), (stat.S_IFCHR | 0o777, 0, True), (stat.S_IFCHR, 1, False), (stat.S_IFCHR, 0x100, False),
    (stat.S_IFBLK, 0, False), (stat.S_IFIFO, 0, False), (stat.S_IFSOCK, 0, False), (stat.S_IFREG, 0, False),
])  # fmt: skip
def test_a_whiteout_is_the_character_device_0_0(mode: int, device: int, expected: bool, tmp_path: Path) -> None:
    os.mknod(tmp_path / "x", mode, device)
    os.utime(tmp_path / "x", (5, 5))
    (entry,) = hold(tmp_path).scan()
    assert is_whiteout(hold(tmp_path), entry) is expected
    assert (tmp_path / "x").lstat().st_mtime == 5, "a time that can be read stays"


@pytest.mark.parametrize(("entry", "expected"), [("x!", True), ("x", False), ("x/", False), ("x>to", False)])
def test_after_2038_a_whiteout_gets_another_time_and_the_user_s_things_keep_theirs(
    entry: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time_t of 32 bits can't hold it: stat(2) fails until it is another."""
    number = errno.EIO

    def look(path: str, **options: Any) -> os.stat_result:
        if os.stat(path, **options).st_mtime == 5:
            raise OSError(number, os.strerror(number))
        return os.stat(path, **options)

    monkeypatch.setattr(posix, "stat", look)
    fill(tmp_path, entry)
    os.utime(tmp_path / "x", (5, 5), follow_symlinks=False)
    (found,) = hold(tmp_path).scan()
    if expected:
        with pytest.raises(OSError, match="Input/output error"):
            is_whiteout(hold(tmp_path), found)
    number = errno.EOVERFLOW
    assert is_whiteout(hold(tmp_path), found) is expected
    assert ((tmp_path / "x").lstat().st_mtime != 5) is expected
