# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever has a name in the backing directory: nothing else is touched, nothing waits, and it is reported.

A part of all combinations; `MATRIX=all pytest tests/prepare/test_matrix.py` tries every one (some minutes).
"""

import itertools
import os
import posix
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from overlay_generator.model import Mounted
from overlay_generator.names import backing_name
from overlay_prepare import factoryreset, fitness, identity, layers, main, persistent, report
from tree import fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes need root")

STATES = ("image", "uuids", "names", "contents", "dropped", "reset")
SCRATCHES = tuple(f"{name}.new" for name in (*STATES, "upper"))
DIRECTORIES = ("upper", "work", "lower", "trash", "direct", "direct/NAME", "spare", "probe")
NAMES = (*STATES, *SCRATCHES, *DIRECTORIES, "upper.new-by-overlay-generator", "work/work", "direct/NAME~filling")
KINDS = ("out", "in", "dangling", "fifo", "socket", "device", "file", "directory", "huge", "closed")
BOOTS = {
    "same": (False, ()),
    "other": (True, ()),
    "refresh": (True, ("--policy=refresh",)),
    "prune": (True, ("--policy=prune",)),
    "reset": (True, ("--policy=reset",)),
    "asked": (False, ("--reset=yes",)),
    "staged all": (False, ()),
    "staged path": (False, ()),
    "staged keep": (False, ()),
    "passed": (True, ("--direct=PATH",)),
}
STAGED = {"staged all": "all\n", "staged path": "path /VAR/lib/app\n", "staged keep": "all\nkeep /VAR/lib/app/*\n"}
ALL = list(itertools.product(NAMES, KINDS, BOOTS, ("", "--fallback=size=25%")))
# Every name with every kind, each with one of the boots in turn, and every second of these with a fallback.
PART = [case for number, case in enumerate(ALL) if number % 37 == 0]
SECONDS = 20


class Disk:
    """A disk that was booted from, a file and a directory outside of it, and the image."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.where, self.backing, self.outside = top / "var", top / "mounts/var", top / "outside"
        fill(self.where, "conf=1", "lib/app/one=1", "o/x=1", "lib/docker/base=1")
        fill(self.outside, "file=outside", "directory/inner=outside")
        self.backing.mkdir(parents=True)

    def boot(self, version: int, *words: str) -> int:
        """The status of prepare in a child process; 124 if it takes longer than SECONDS."""
        pid = os.fork()
        if pid == 0:
            self._become_prepare(version, *words)
        signal.signal(signal.SIGALRM, lambda *_arguments: os.kill(pid, signal.SIGKILL))
        signal.alarm(SECONDS)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        signal.alarm(0)
        return 124 if status == -signal.SIGKILL else status

    def _become_prepare(self, version: int, *words: str) -> None:
        try:
            signal.alarm(0)
            os.setpgid(0, 0)
            with open(self.top / "said", "ab", buffering=0) as said:
                os.dup2(said.fileno(), 2)
            sys.stderr = open(2, "w", 1, closefd=False, errors="backslashreplace")  # noqa: SIM115
            for module in (report, layers, persistent, factoryreset):
                module.STATE = str(self.top / "state")  # type: ignore[attr-defined]
            report._MESSAGES = str(self.top / "motd")
            posix.sync = posix.fsync = _skip  # type: ignore[assignment]
            identity.identify = lambda _where: f"IMAGE_VERSION={version}\n"  # type: ignore[assignment,misc]
            fitness.find_mounted = lambda _mount, _mountinfo="": Mounted(str(self.backing), "ext4", "rw")  # type: ignore[assignment]
            if not version % 2:  # the others probe the disk, which costs two mounts
                fitness.probe = _skip  # type: ignore[assignment]
            main._mount_fallback = self._replace_disk  # type: ignore[assignment]
            words = tuple(word.replace("PATH", f"{self.where}/lib/docker") for word in words)
            status = main.main(
                ["prepare", f"--mount={self.backing}", "--type=ext4", *words, str(self.where), str(self.backing)]
            )
            os._exit(status)
        finally:
            os._exit(99)

    def _replace_disk(self, _request: object) -> None:
        held = [
            os.readlink(f"/proc/self/fd/{fd}")
            for fd in os.listdir("/proc/self/fd")
            if os.path.lexists(f"/proc/self/fd/{fd}")
        ]
        assert not [path for path in held if path.startswith(str(self.backing))], "the disk can't be unmounted"
        os.rename(self.backing, self.top / "disk")
        self.backing.mkdir()

    def said(self) -> str:
        path = self.top / "said"
        return path.read_text(errors="replace") if path.exists() else ""


def _skip(*_arguments: object) -> None:
    pass


def plant(disk: Disk, name: str, kind: str) -> Path:
    path = disk.backing / name.replace("NAME", backing_name(f"{disk.where}/lib/docker"))
    path.parent.mkdir(exist_ok=True)
    if os.path.lexists(path):
        os.rename(path, disk.top / "was")
    make: dict[str, Callable[[], object]] = {
        "out": lambda: path.symlink_to(disk.outside / ("directory" if name in DIRECTORIES else "file")),
        "in": lambda: path.symlink_to("upper"),
        "dangling": lambda: path.symlink_to(disk.top / "nowhere"),
        "fifo": lambda: os.mkfifo(path),
        "socket": lambda: _bind(path),
        "device": lambda: os.mknod(path, 0o020600, os.makedev(1, 5)),
        "file": lambda: path.write_text("\x1b[2J of somebody\n"),
        "directory": lambda: fill(path, "of/somebody"),
        "huge": lambda: _make_huge(path),
        "closed": lambda: _close(path, name in DIRECTORIES),
    }
    make[kind]()
    return path


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(path.parent)
        made.bind(path.name)
        os.chdir(before)


def _make_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def _close(path: Path, directory: bool) -> None:
    path.mkdir() if directory else path.write_text("")
    path.chmod(0)


@pytest.mark.parametrize(("name", "kind", "boot", "fallback"), ALL if os.environ.get("MATRIX") == "all" else PART)
def test_nothing_else_is_touched_and_nothing_waits(
    name: str, kind: str, boot: str, fallback: str, tmp_path: Path
) -> None:
    disk = Disk(tmp_path)
    assert disk.boot(0) == 0, disk.said()
    fill(
        disk.backing,
        "upper/mine=mine",
        "upper/o/ opaque",
        "upper/o/own=mine",
        "upper/lib/docker/layer=mine",
        "upper/lib/app/one=mine",
    )
    before = read_tree(disk.outside)
    other, words = BOOTS[boot]
    if boot in STAGED:
        (disk.backing / "reset").write_text(STAGED[boot].replace("/VAR", str(disk.where)))
    (tmp_path / "said").unlink(missing_ok=True)
    path = plant(disk, name, kind)
    inode = path.lstat().st_ino
    version = len(name) % 2 + 1 if other else 0
    status = disk.boot(version, *words, *([fallback] if fallback else []))
    said = disk.said()
    assert status in (0, 1), f"{status}: {said}"
    assert read_tree(disk.outside) == before
    assert not os.path.lexists(tmp_path / "nowhere")
    assert "\x1b" not in said
    assert "Traceback" not in said
    if fallback:
        assert status == 0
    if status:
        assert "stays as the image has it" in said
        return
    # What the mounts will use is what it must be.
    for layer in ("upper", "work", "lower"):
        at = disk.backing / layer
        assert at.is_dir()
        assert not at.is_symlink()
        assert at.lstat().st_dev == disk.backing.stat().st_dev
    if boot == "passed" and "is not passed through" not in said:
        at = disk.backing / "direct" / backing_name(f"{disk.where}/lib/docker")
        assert at.is_dir()
        assert not at.is_symlink()
    # Only half-written files of ours may be removed without a word; anything else is put aside, and reported.
    gone = not os.path.lexists(path) or path.lstat().st_ino != inode
    if gone and name in (*STATES, "upper", "work", "lower", "direct", "direct/NAME") and kind not in ("file", "closed"):
        assert "refused" in said or "reset as asked" in said or "put aside" in said or "layer is empty" in said, said
    # And at the next boot all is well.
    (tmp_path / "said").unlink(missing_ok=True)
    assert disk.boot(version, *words) == 0, disk.said()
