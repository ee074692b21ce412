# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The copy of what the image has and the user does not: everything of it, and nothing that leads elsewhere."""

import errno
import os
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import imagecopy
from overlay_prepare.imagecopy import copy_missing, move_below
from tree import fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and device nodes need root")
NOTE = "trusted.note"


class Copied:
    """An image's directory, perhaps what the upper layer has of it, and a new directory for the copy."""

    def __init__(self, top: Path) -> None:
        self.image, self.mine, self.made = top / "image", top / "mine", top / "made"
        for path in (self.image, self.mine, self.made):
            path.mkdir()

    def copy(self, mine: bool = False) -> "list[str]":
        with hold(self.made) as target, hold(self.mine) as held:
            copy_missing(str(self.image), target, held if mine else None)
        return sorted(read_tree(self.made))


@pytest.fixture
def copied(tmp_path: Path) -> Copied:
    return Copied(tmp_path)


def times(top: Path) -> "dict[str, int]":
    return {str(path.relative_to(top)): path.lstat().st_mtime_ns for path in (top, *top.rglob("*"))}


def test_a_copy_has_all_that_the_image_has(copied: Copied, tmp_path: Path) -> None:
    fill(tmp_path, "outside/file")
    fill(copied.image, "file=text", "dir/inner/deep", "empty/", "link>file", "gone>nowhere", f"out>{tmp_path}/outside")
    os.mkfifo(copied.image / "fifo", 0o640)
    os.mknod(copied.image / "device", 0o020620, os.makedev(1, 3))
    for number, path in enumerate((copied.image, *sorted(copied.image.rglob("*"))), 1):
        os.chown(path, number, number + 100, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o4751 if path.name == "file" else 0o2750 if path.is_dir() else 0o604)
        os.setxattr(path, NOTE, bytes([number]), follow_symlinks=False)
    for number, path in enumerate((*sorted(copied.image.rglob("*")), copied.image), 1):
        os.utime(path, ns=(number * 1000, number * 2000), follow_symlinks=False)
    held, before, outside = os.listdir("/proc/self/fd"), times(copied.image), read_tree(tmp_path / "outside")
    copied.copy()
    assert times(copied.made) == before
    assert read_tree(copied.made) == read_tree(copied.image)
    assert read_tree(copied.made.parent)["made"] == read_tree(copied.made.parent)["image"]
    assert read_tree(tmp_path / "outside") == outside, "a link was followed"
    assert os.listdir("/proc/self/fd") == held


@pytest.mark.parametrize("names", [("a", "b"), ("a", "dir/b"), ("dir/a", "z"), ("a", "b", "dir/c")])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_names_of_one_file_stay_names_of_one_file(kind: str, names: "tuple[str, ...]", copied: Copied) -> None:
    fill(copied.image, "dir/x=single", f"{names[0]}=text" if kind == "file" else f"{names[0]}>nowhere")
    for name in names[1:]:
        os.link(copied.image / names[0], copied.image / name, follow_symlinks=False)
    copied.copy()
    assert read_tree(copied.made) == read_tree(copied.image)
    assert len({(copied.made / name).lstat().st_ino for name in names}) == 1
    assert {(copied.made / name).lstat().st_nlink for name in names} == {len(names)}
    assert (copied.made / "dir/x").lstat().st_nlink == 1


def test_files_with_one_name_take_no_memory(copied: Copied) -> None:
    """An image may have a million of them."""
    fill(copied.image, "one", "two", "dir/three", "dir/four")
    os.link(copied.image / "one", copied.image / "linked")
    with hold(copied.made) as target:
        copy = imagecopy._Copy(target)
        copy.fill(str(copied.image), target, None, "")
    info = (copied.image / "one").stat()
    assert list(copy.linked) == [(info.st_dev, info.st_ino)]


@pytest.mark.parametrize(("image", "mine", "expected"), [
    (("conf", "other"), ("conf=mine",), ["other"]),
    (("conf", "other"), ("conf!",), ["other"]),
    (("conf", "dir/in/x"), ("conf=mine",), ["dir", "dir/in", "dir/in/x"]),
    (("conf",), ("conf/x",), []),
    (("dir/x", "dir/y"), ("dir=mine",), []),
    (("dir/x", "dir/y"), ("dir!",), []),
    (("dir/x", "dir/y"), ("dir>nowhere",), []),
    (("dir/x", "dir/y"), ("dir/x=mine", "dir/z"), ["dir", "dir/y"]),
    (("dir/in/x", "dir/y"), ("dir/in/ opaque",), ["dir", "dir/in", "dir/y"]),
    (("dir/in/x", "link>dir"), ("dir/in/x!", "link/"), ["dir", "dir/in"]),
])  # fmt: skip
def test_what_the_user_has_or_hides_is_not_copied(
    image: "tuple[str, ...]", mine: "tuple[str, ...]", expected: "list[str]", copied: Copied
) -> None:
    fill(copied.image, *image)
    fill(copied.mine, *mine)
    assert copied.copy(mine=True) == expected
    assert copied.made.stat().st_mtime_ns == copied.image.stat().st_mtime_ns


def test_of_what_hides_all_of_the_image_s_the_directory_alone_is_made(copied: Copied) -> None:
    fill(copied.image, "conf", "dir/x")
    os.setxattr(copied.mine, "trusted.overlay.opaque", b"y")
    assert copied.copy(mine=True) == []


def test_all_is_moved_into_directories_of_the_same_names(tmp_path: Path) -> None:
    fill(tmp_path / "from", "file=mine", "dir/in/x", "dir/y", "new/z", "empty/", "link>dir")
    fill(tmp_path / "to", "dir/in/w", "dir/v", "other")
    for _ in range(2):  # after an interruption there may be nothing left
        with hold(tmp_path / "from") as source, hold(tmp_path / "to") as target:
            move_below(source, target)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir())
    assert files == [f"to/{name}" for name in ("dir/in/w", "dir/in/x", "dir/v", "dir/y", "file", "new/z", "other")]
    assert (tmp_path / "to/link").is_symlink()
    assert os.listdir(tmp_path / "from") == ["dir"]


@pytest.mark.parametrize(("entry", "other", "error"), [
    ("x>elsewhere", "x/", IsADirectoryError), ("x", "x/", IsADirectoryError), ("x/", "x=file", NotADirectoryError),
])  # fmt: skip
def test_nothing_but_a_directory_takes_the_place_of_one(
    entry: str, other: str, error: "type[OSError]", tmp_path: Path
) -> None:
    fill(tmp_path, f"from/{entry}", f"to/{other}", "from/elsewhere/file")
    with hold(tmp_path / "from") as source, hold(tmp_path / "to") as target, pytest.raises(error):
        move_below(source, target)


def test_an_attribute_that_the_disk_does_not_know_is_told_once(
    copied: Copied, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(copied.image, "one=1", "dir/two=2")
    for path in ("one", "dir", "dir/two"):
        os.setxattr(copied.image / path, "user.odd", b"x")
        os.setxattr(copied.image / path, "user.known", b"y")
    setxattr = os.setxattr

    def refuse(at: "str | int", name: str, value: bytes, **more: bool) -> None:
        if name == "user.odd":
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        setxattr(at, name, value, **more)

    monkeypatch.setattr("posix.setxattr", refuse)
    assert copied.copy() == ["dir", "dir/two", "one"]
    for path in ("one", "dir", "dir/two"):
        assert os.listxattr(copied.made / path) == ["user.known"]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.endswith("can't have its user.odd: Operation not supported; all in all 3 attributes were not copied\n")


def test_of_what_is_hidden_the_directory_alone_is_made(
    copied: Copied, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it can't have is told as for any other."""
    fill(copied.image, "one=1")
    copied.image.chmod(0o750)
    os.setxattr(copied.image, "user.odd", b"x")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("posix.setxattr", refuse)
    with hold(copied.made) as target:
        copy_missing(str(copied.image), target, None, hidden=True)
    assert (os.listdir(copied.made), copied.made.stat().st_mode & 0o777) == ([], 0o750)
    assert "can't have its user.odd: Operation not supported; all in all 1 attributes" in capsys.readouterr().err
