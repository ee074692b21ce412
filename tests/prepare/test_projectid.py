# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Project IDs that users have given their directories keep nothing from being moved there: on disks of its own."""

import errno
import fcntl
import os
import posix
import subprocess
import sys
from pathlib import Path

import pytest

import overlay_prepare
from hold import hold
from overlay_prepare import projectid
from overlay_prepare.reset import Bin
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

# In $1, on a file system $2: what the Python $4 has said after the shell $3, and the IDs of all files then.
SCRIPT = """
    set -e
    truncate -s 320M "$1/disk"
    case $2 in
        xfs) mkfs.xfs -q -f "$1/disk" 2>/dev/null || exit 77 ;;
        ext4) mkfs.ext4 -q -F -I 256 -O project "$1/disk" 2>/dev/null || exit 77 ;;
    esac
    mkdir "$1/at"
    mount -o loop "$1/disk" "$1/at" || exit 77
    cd "$1/at"
    eval "$3"
    /usr/bin/python3 -c "
from overlay_prepare.folder import open_top
from overlay_prepare import fold, reset, shadow
top = open_top('$1/at', print)
$4"
    find . -mindepth 1 ! -name lost+found \\( -type d -o -type f \\) -exec lsattr -pd {} + | awk '
        {print $1, ($2 ~ /P/ ? "P" : "-"), $3}'
    find . -type l -o -type p -o -type c | sed "s/^/- - /"
"""


def run(kind: str, tmp_path: Path, before: str, code: str) -> "dict[str, str]":
    """What is there afterwards: its project ID, and P where that is inherited."""
    environ = {**os.environ, "PYTHONPATH": str(Path(overlay_prepare.__file__).parents[1])}
    command = ["unshare", "-m", "sh", "-c", SCRIPT, "sh", str(tmp_path), kind, before, code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(f"no {kind} with project IDs can be made or mounted here")
    assert done.returncode == 0, done.stderr
    lines = (line.split(" ", 2) for line in done.stdout.splitlines())
    return {path.removeprefix("./"): f"{project}{inherits}".strip("-") for project, inherits, path in lines}


def own(path: str, project: int) -> str:
    return f"chattr -p {project} {path}; chattr +P {path}\n"


KINDS = ["xfs", "ext4"]
LAYERS = "mkdir -p frozen/upper/mine upper/mine; touch frozen/since frozen/image image names\n"
FOLD = "fold.fold(top, top.open('frozen'))"
ALL = """
    cd upper/mine; echo b >new; mkdir dir; echo b >dir/in; ln -s /nowhere link; mkfifo fifo; echo b >one; ln one two
    mknod gone c 0 0; echo mine/gone >../../names; echo b >other; chattr -p 7 other; cd ../..
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_fold_into_a_user_s_directory_comes_to_its_end(kind: str, tmp_path: Path) -> None:
    """What has no ID gets that of the directory; one of its own stays, and so does the directory's."""
    before = f"{LAYERS}{own('frozen/upper/mine', 5)}touch frozen/upper/mine/old frozen/upper/mine/gone\n{ALL}"
    assert run(kind, tmp_path, before, FOLD) == {
        "image": "0", "names": "0", "trash": "0", "trash/0": "0", "upper": "0", "upper/mine": "5P",
        "upper/mine/old": "5", "upper/mine/new": "5", "upper/mine/dir": "5", "upper/mine/dir/in": "0",
        "upper/mine/one": "0", "upper/mine/two": "0", "upper/mine/other": "7", "upper/mine/link": "",
        "upper/mine/fifo": "", "upper/mine/gone": "", "trash/0/0": "0", "trash/0/0/folding": "0",
        "trash/0/0/image": "0",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_so_does_one_that_brings_up_what_is_frozen(kind: str, tmp_path: Path) -> None:
    before = f"{LAYERS}touch frozen/upper/mine/old; ln -s x frozen/upper/mine/link\n{ALL}{own('upper/mine', 5)}"
    found = run(kind, tmp_path, before, FOLD)
    assert (found["upper/mine"], found["upper/mine/old"], found["upper/mine/link"]) == ("5P", "5", "")


@pytest.mark.parametrize("kind", KINDS)
def test_the_trash_takes_what_has_another_id(kind: str, tmp_path: Path) -> None:
    before = f"mkdir -p upper/mine/in trash\n{own('trash', 42)}{own('upper/mine', 5)}"
    found = run(kind, tmp_path, before, "reset.Bin(top).put(top.open('upper'), 'mine')")
    assert found == {"upper": "0", "trash": "42P", "trash/0": "42P", "trash/0/0": "5P", "trash/0/0/in": "0"}


def test_what_can_not_be_moved_to_the_trash_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a subvolume of btrfs, or in an encrypted directory without its key."""
    fill(tmp_path, "upper/mine/in", "upper/left")
    for number in (errno.EXDEV, errno.ENOKEY, errno.EMLINK, errno.ENOSPC):

        def refuse(*_: object, number: int = number, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(posix, "rename", refuse)
        fill(tmp_path, "upper/mine/in")
        assert Bin(hold(tmp_path)).put(hold(tmp_path / "upper"), "mine") == 1
        assert os.listdir(tmp_path / "upper") == ["left"]


def test_where_ids_are_not_the_reason_it_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def ask(_fd: int, _request: int, data: bytes) -> bytes:
        return data

    monkeypatch.setattr(posix, "rename", refuse)
    fill(tmp_path, "a", "in/")
    for answer in (refuse, ask):
        monkeypatch.setattr(fcntl, "ioctl", answer)
        with pytest.raises(OSError, match="cross-device") as caught:
            hold(tmp_path).rename("a", "b", hold(tmp_path / "in"))
        assert (caught.value.filename, caught.value.filename2) == (f"{tmp_path}/a", f"{tmp_path}/in/b")


@pytest.mark.parametrize("failing", [None, OSError(errno.EXDEV, ""), OSError(errno.EIO, "")])
def test_the_flag_is_back_whatever_happens(
    failing: "OSError | None", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    monkeypatch.setattr(projectid, "get", lambda _fd: (0x2A0).to_bytes(4, "little") + bytes(24))
    monkeypatch.setattr(projectid, "change", lambda _fd, _state, flags, project: done.append((flags, project)))
    monkeypatch.setattr(sys, "byteorder", "little")

    def call() -> None:
        done.append("call")
        if failing:
            raise failing

    if failing and failing.errno == errno.EIO:
        with pytest.raises(OSError, match="5"):
            projectid.insist(call, hold(tmp_path))
    else:
        assert projectid.insist(call, hold(tmp_path)) is not bool(failing)
    assert done == [(0xA0, 0), "call", (0x2A0, 0)]
