# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Marks on directories whose attributes take all the room: on an ext4 of the test's own, and by each way it can go."""

import errno
import os
import posix
import subprocess
from pathlib import Path

import pytest

import overlay_prepare
from hold import hold
from overlay_prepare import marks
from overlay_prepare.marks import make_opaque, set_mark
from tree import OPAQUE, ORIGIN, fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and trusted attributes need root")

# In $1: what the Python $3 has said after the shell $2, in which `full DIRECTORY` leaves no room for an attribute.
SCRIPT = """
    set -e
    truncate -s 32M "$1/disk"
    mkfs.ext4 -q -F "$1/disk" 2>/dev/null || exit 77
    mkdir "$1/at"
    mount -o loop "$1/disk" "$1/at" || exit 77
    cd "$1/at"
    full() {
        /usr/bin/python3 -c '
import os, sys
for size in range(4000, -1, -1):
    try:
        os.setxattr(sys.argv[1], f"user.{size}", b"x" * size)
    except OSError:
        pass' "$1"
    }
    opaque() { setfattr -n trusted.overlay.opaque -v y "$1"; }
    eval "$2"
    /usr/bin/python3 -c "
from overlay_prepare.folder import open_top
from overlay_prepare.resetrequest import Staged
from overlay_prepare import fold, opaque, reset
top = open_top('.', print)
$3" 2>&1
    find . ! -type d ! -path './lost*' ! -path './trash*' -printf '%y %P\\n' | sort
    getfattr -R -d -m 'trusted.overlay.opaque' --absolute-names upper | sed -n 's/^# file: /opaque /p' | sort
"""


def run(tmp_path: Path, before: str, code: str) -> "list[str]":
    environ = {**os.environ, "PYTHONPATH": str(Path(overlay_prepare.__file__).parents[1])}
    command = ["unshare", "-m", "sh", "-c", SCRIPT, "sh", str(tmp_path), before, code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("no ext4 can be made or mounted here")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


FOLD = "fold.fold(top, top.open('frozen'))"
NEW = "mkdir -p upper/d; for name in a b c d e f; do echo b >upper/d/$name; done; full upper/d; touch image\n"
FOLDED = ["f image", *(f"f upper/d/{name}" for name in "abcdef")]


@pytest.mark.parametrize("below", ["mkdir frozen/upper/d; opaque frozen/upper/d", "mknod frozen/upper/d c 0 0"])
def test_a_user_s_directory_ends_no_fold(below: str, tmp_path: Path) -> None:
    found = run(tmp_path, f"mkdir -p frozen/upper; touch frozen/since; {below}; {NEW}", FOLD)
    said, *found = found
    assert said.startswith("<4>./upper/d has lost user.")
    assert said.endswith(": its attributes took all the room that it has")
    assert found == [*FOLDED, "opaque upper/d"]


def test_nor_a_reset_that_keeps_something_in_it(tmp_path: Path) -> None:
    before = "mkdir -p upper/lib/app/keys; opaque upper/lib; echo k >upper/lib/app/keys/k; full upper/lib/app"
    code = "print(reset.reset('/var', top, Staged(True, (), ('/var/lib/app/keys/**',)), True))"
    said, done, *found = run(tmp_path, f"{before}; touch image upper/own", code)
    assert said.startswith("<4>./upper/lib/app has lost user.")
    assert done == "(1, [])"
    assert found == ["f image", "f upper/lib/app/keys/k"]


def test_whiteouts_are_made_where_an_image_adds_something(tmp_path: Path) -> None:
    before = "mkdir -p upper/d image/d; touch image/d/x image/d/new; opaque upper/d; full upper/d; echo d/x >names"
    said, *found = run(tmp_path, before, "opaque.reveal('image', top, ['d'])")
    assert said.startswith("<4>./upper/d has lost user.")
    assert found == ["c upper/d/x", "f image/d/new", "f image/d/x", "f names"]


def test_another_image_gets_its_layer_where_a_directory_with_a_whiteout_is_full(tmp_path: Path) -> None:
    before = "mkdir -p upper/d work; mknod upper/d/gone c 0 0; full upper/d"
    code = "from overlay_prepare.normalise import normalise; print(normalise(top.open('upper'), top.open('work')))"
    said, done, *found = run(tmp_path, before, code)
    assert said.startswith("<4>./upper/d has lost user.")
    assert done == "(0, [])"
    assert found == ["c upper/d/gone"]


def test_without_room_for_the_mark_of_whiteouts_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(marks, "set_mark", lambda *_: False)
    marks.mark_whiteouts(hold(tmp_path))
    text = f"<4>{tmp_path} can't be marked for what was deleted in it: its attributes take all the room\n"
    assert capsys.readouterr().err == text


class Inode:
    """A directory with room for attributes of so many characters, names and values."""

    def __init__(self, top: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.top, self.room, self.number = top, room, errno.ENOSPC
        setxattr = posix.setxattr

        def check(at: int, name: str, value: bytes, flags: int = 0) -> None:
            used = sum(len(other) + len(os.getxattr(at, other)) for other in os.listxattr(at) if other != name)
            if used + len(name) + len(value) > self.room:
                raise OSError(self.number, os.strerror(self.number))
            setxattr(at, name, value, flags)

        for name in os.listxattr(top):
            self.room += len(name) + len(os.getxattr(top, name))
        monkeypatch.setattr(posix, "setxattr", check)

    def names(self) -> "set[str]":
        return {name for name in os.listxattr(self.top) if name[:5] in ("user.", "trust")}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    for name, size in (("user.small", 2), ("user.fits", 20), ("user.large", 90)):
        os.setxattr(tmp_path, name, b"x" * size)
    return tmp_path


def test_the_smallest_that_is_enough_goes(
    top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inode = Inode(top, 5, monkeypatch)
    assert make_opaque(hold(top))
    assert inode.names() == {"user.small", "user.large", OPAQUE}
    text = f"<4>{top} has lost user.fits: its attributes took all the room that it has\n"
    assert capsys.readouterr().err == text


def test_with_room_nothing_goes_and_nothing_is_said(
    top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inode = Inode(top, 100, monkeypatch)
    assert set_mark(hold(top), ORIGIN, b"")
    assert inode.names() == {"user.small", "user.fits", "user.large", ORIGIN}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.E2BIG])
def test_where_it_does_not_fit_at_all_everything_stays(
    number: int, top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    setxattr = posix.setxattr

    def refuse(at: int, name: str, value: bytes, flags: int = 0) -> None:
        if name == OPAQUE:
            raise OSError(number, os.strerror(number))
        setxattr(at, name, value, flags)

    monkeypatch.setattr(posix, "setxattr", refuse)
    assert not make_opaque(hold(top))
    assert {"user.small", "user.fits", "user.large"} <= set(os.listxattr(top))
    text = f"<4>{top} can't hide what the image has there: its attributes take all the room that it has\n"
    assert capsys.readouterr().err == text


@pytest.mark.parametrize(("number", "low"), [(errno.ENOSPC, True), (errno.EIO, False), (errno.EPERM, False)])
def test_another_reason_is_an_error_with_the_path(
    number: int, low: bool, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inode = Inode(top, 0, monkeypatch)
    inode.number = number
    monkeypatch.setattr(marks, "is_low", lambda _folder: low)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        make_opaque(hold(top))
    assert caught.value.filename == str(top)
    assert inode.names() == {"user.small", "user.fits", "user.large"}


def test_few_go(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        os.setxattr(top, f"user.{number}", b"")
    tried: list[str] = []
    monkeypatch.setattr(posix, "removexattr", lambda _fd, name: tried.append(name))
    Inode(top, 0, monkeypatch).room = 0
    with pytest.raises(OSError, match="No space"):
        make_opaque(hold(top))  # nothing goes here, so nothing can be put back
    assert len(tried) == 8


def test_a_fold_that_can_not_mark_a_directory_leaves_the_mark_of_the_frozen_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from overlay_prepare import fold

    fill(tmp_path, "upper/d/x=b", "upper/d/y=b", "upper/d/z=b", "frozen/upper/d/ opaque", "frozen/upper/d/old=a")
    monkeypatch.setattr(fold, "make_opaque", lambda _folder: False)
    fold.fold(hold(tmp_path), hold(tmp_path / "frozen"))
    assert sorted(os.listdir(tmp_path / "upper/d")) == ["old", "x", "y", "z"]
    assert OPAQUE in os.listxattr(tmp_path / "upper/d")


def test_an_error_names_a_directory_that_people_find(tmp_path: Path) -> None:
    from overlay_prepare import pairs

    def fail(_pairs: object) -> "pairs.Names":
        raise OSError(errno.EIO, os.strerror(errno.EIO), 13)

    with pytest.raises(OSError, match="error") as caught:
        pairs.walk(hold(tmp_path), hold(tmp_path), fail, lambda _one, _other: None, moving=False)
    assert caught.value.filename == str(tmp_path)
