# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What differs between machines: error numbers on MIPS, a time_t of 32 bits, file systems without ACLs."""

import os
import posix
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hold import hold
from overlay_prepare import imagenames, manifest, stamp
from overlay_prepare.files import find_kind
from overlay_prepare.normalise import normalise
from persistentdevice import NEW, Device, pretend
from preparens import run_prepare
from product import REPOSITORY, SYSTEM_PYTHON
from tree import ORIGIN, dig, fill

LATE = 4070908800  # 2099-01-01
# As the kernel's arch/mips/include/uapi/asm/errno.h has them.
MIPS = """
import errno
errno.ENAMETOOLONG, errno.ENOTEMPTY, errno.EOPNOTSUPP, errno.EDQUOT = 78, 93, 122, 1133
import posix, sys
sys.path.insert(0, sys.argv[1])
from overlay_prepare import files, fitness, normalise
from overlay_prepare.folder import open_top
from overlay_prepare.report import Unusable

def fail(number):
    def call(*arguments, **words):
        raise OSError(number, "as MIPS has it")
    return call
"""


def _run_on_mips(script: str, *words: str) -> str:
    command = [SYSTEM_PYTHON, "-IB", "-c", MIPS + script, str(REPOSITORY / "generator"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_no_attributes_are_none_whatever_the_number_of_the_error() -> None:
    assert _run_on_mips("posix.listxattr = fail(122); print(files.list_attributes('/'))") == "[]"


@pytest.mark.parametrize(("number", "said"), [(122, "no trusted"), (1133, "full"), (28, "full")])
def test_only_a_full_disk_is_taken_for_one(number: int, said: str, tmp_path: Path) -> None:
    script = f"""
posix.setxattr = fail({number})
try:
    fitness.probe(open_top(sys.argv[2], print), "")
    print("full")
except Unusable as error:
    print(error)
"""
    assert said in _run_on_mips(script, str(tmp_path))


def test_what_is_left_in_the_work_directory_is_removed_whatever_the_number_of_the_error(tmp_path: Path) -> None:
    fill(tmp_path, "work/work/left")
    script = """
rmdir = posix.rmdir
def refuse_once(path, dir_fd=None):
    posix.rmdir = rmdir
    raise OSError(93, "Directory not empty")
posix.rmdir = refuse_once
fitness.check_work(open_top(sys.argv[2], print))
"""
    assert _run_on_mips(script, str(tmp_path)) == ""
    assert os.listdir(tmp_path / "work/work") == []


def test_a_name_that_is_taken_is_passed_over_whatever_the_number_of_the_error(tmp_path: Path) -> None:
    fill(tmp_path, "upper/", "work/")
    dig(tmp_path / "work", 60, "d")
    script = """
rename = posix.rename
def refuse_once(*names, **folders):
    posix.rename = rename
    raise OSError(93, "Directory not empty")
posix.rename = refuse_once
print(normalise.normalise(*(open_top(f"{sys.argv[2]}/{name}", print) for name in ("upper", "work"))))
"""
    assert _run_on_mips(script, str(tmp_path)) == "(0, [])"
    assert os.listdir(tmp_path / "work") == []


class Entry:
    """An entry of a directory where time_t has 32 bits."""

    def __init__(self, entry: "os.DirEntry[str]") -> None:
        self._entry = entry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._entry, name)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        return check_time(self._entry.stat(follow_symlinks=follow_symlinks))


class Entries:
    """What scandir() gives there."""

    def __init__(self, path: str) -> None:
        self._entries = os.scandir(path)

    def __enter__(self) -> "Iterator[Entry]":
        return map(Entry, self._entries)

    def __exit__(self, *_: object) -> None:
        self._entries.close()


def check_time(info: os.stat_result) -> os.stat_result:
    if info.st_mtime >= 1 << 31:
        raise OSError(75, "Value too large for defined data type")  # EOVERFLOW
    return info


@pytest.fixture
def short_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library whose time ends in 2038, as Debian's before trixie on 32 bits, and many of Yocto and Buildroot."""

    def checked(call: "Callable[..., os.stat_result]") -> "Callable[..., os.stat_result]":
        return lambda *arguments, **words: check_time(call(*arguments, **words))

    monkeypatch.setattr(posix, "stat", checked(os.stat))
    monkeypatch.setattr(posix, "lstat", checked(os.lstat))
    monkeypatch.setattr(posix, "scandir", Entries)


def _date(top: Path) -> None:
    for path in (*top.rglob("*"), top):
        os.utime(path, (LATE, LATE), follow_symlinks=False)


@pytest.mark.usefixtures("short_time")
def test_kinds_are_known_whatever_the_time(tmp_path: Path) -> None:
    fill(tmp_path, "file", "directory/in", "link>nowhere")
    os.mkfifo(tmp_path / "fifo")
    _date(tmp_path)
    assert [find_kind(f"{tmp_path}/{name}") for name in ("file", "directory", "link", "fifo", "none")] == [*"fdlo", ""]


@pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts and trusted attributes need root")
@pytest.mark.usefixtures("short_time")
def test_one_time_after_2038_costs_no_persistence(tmp_path: Path) -> None:
    upper = fill(tmp_path / "upper", "lib/app/file", "lib/gone!", "lib/link>file")
    (tmp_path / "work").mkdir()
    os.setxattr(upper / "lib/app/file", ORIGIN, b"x")
    _date(upper)
    assert normalise(hold(upper), hold(tmp_path / "work")) == (1, [])
    assert os.listxattr(upper / "lib/app/file") == []
    assert os.getxattr(upper / "lib", ORIGIN) == b"", "the whiteout was seen"
    assert (upper / "lib/app/file").lstat().st_mtime == LATE


@pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
@pytest.mark.parametrize("policy", ["keep", "refresh", "prune", "reset"])
def test_a_disk_that_is_all_after_2038_follows_an_update(
    policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """As left by a device whose clock was wrong for a day."""
    pretend(tmp_path, monkeypatch)
    device = Device(tmp_path)
    device.boot()
    device.use()
    files = {path.relative_to(device.upper) for path in device.upper.rglob("*") if path.is_file()}
    device.update()
    _date(device.backing)
    request.getfixturevalue("short_time")
    device.boot(policy)
    assert stamp.is_current(hold(device.backing), NEW)
    if policy in ("keep", "refresh"):
        left = {path.relative_to(device.upper) for path in device.upper.rglob("*") if path.is_file()}
        assert left == files, "what can't be looked at is like nothing that the image has"


@pytest.mark.usefixtures("short_time")
def test_an_image_with_a_time_after_2038_is_listed_and_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, backing = fill(tmp_path / "image", "lib/app/file", "plain"), tmp_path / "backing"
    backing.mkdir()
    _date(image / "lib")
    assert imagenames.write(str(image), hold(backing))
    assert set((backing / "names").read_text().split()) == {"lib/", "lib/app/", "lib/app/file", "plain"}
    monkeypatch.chdir(image)
    manifest.write(hold(backing), "image")
    # What can't be looked at equals nothing, so no policy mistakes a file of the upper layer for the same.
    lines = (backing / "contents").read_text().splitlines()[1:]
    assert [line.partition("\t")[0] for line in lines] == ["plain"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
@pytest.mark.parametrize(
    ("image", "disk", "warned"), [("acl", "noacl", True), ("acl", "acl", False), ("noacl", "noacl", False)]
)
def test_a_disk_that_keeps_no_acls_of_the_image_is_told(
    image: str, disk: str, warned: bool, prefix: Path, tmp_path: Path
) -> None:
    """As ubifs, which wants a NAND, and as any whose kernel was built without them. btrfs can be told to keep none."""
    where, backing = tmp_path / "var", tmp_path / "backing"
    where.mkdir()
    backing.mkdir()
    mounts = "".join(
        f"truncate -s 200M {path}.img && mkfs.btrfs -q {path}.img && mount -o loop,{option} {path}.img {path}\n"
        for path, option in ((where, image), (backing, disk))
    )
    done = run_prepare(prefix, where, backing, before=mounts)
    if "mount:" in done.stderr:
        pytest.skip("can't be mounted here")
    assert done.returncode == 0
    said = f"<4>{where}: its disk keeps no ACLs: what has one in the image can't be changed\n"
    assert done.stderr == (said if warned else "")
