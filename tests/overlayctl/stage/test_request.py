# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Staging: none of several requests at a time is lost, and whatever a disk has in its place is not trusted."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from overlay_prepare.resetrequest import Staged
from overlayctl.errors import Failure
from overlayctl.stage import request as staging
from overlayctl.status import machine
from product import REPOSITORY

STAGE = """
import sys
from overlay_prepare.resetrequest import Staged
from overlayctl.stage import request as staging
place = staging.Place("/var", sys.argv[1])
for number in range(10):
    more = Staged(paths=(f"/var/{sys.argv[2]}-{number}",))
    staging.write(place, lambda now: staging.merge(now.staged, more))
"""


def add(place: staging.Place, *paths: str) -> "Staged | None":
    return staging.write(place, lambda now: staging.merge(now.staged, Staged(paths=paths)))


def test_several_at_a_time_lose_nothing(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY / "generator")}
    many = [
        subprocess.Popen([sys.executable, "-c", STAGE, str(tmp_path), name], env=environ, stderr=subprocess.PIPE)
        for name in "abc"
    ]
    for one in many:
        assert one.communicate(timeout=120)[1] == b""
    text = (tmp_path / "reset").read_text()
    assert sorted(text.split()) == sorted(
        word for name in "abc" for number in range(10) for word in ("path", f"/var/{name}-{number}")
    )
    assert os.listdir(tmp_path) == ["reset"]


def test_who_holds_it_for_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_PATIENCE", 0.1)
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(Failure, match="another overlayctl is staging something there; try it again"):
        add(staging.Place("/var", str(tmp_path)), "/var/a")
    os.close(fd)
    add(staging.Place("/var", str(tmp_path)), "/var/a")
    assert (tmp_path / "reset").read_text() == "path /var/a\n"


def plant(path: Path, kind: str, victim: Path) -> None:
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "dangling link":
        path.symlink_to(victim.parent / "gone")
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
        (path / "x").touch()
    elif kind == "hard link":
        os.link(victim, path)
    elif kind == "huge":
        with path.open("wb") as stream:
            stream.truncate(1 << 40)
    else:
        path.write_bytes(b"\xff\x00\nall")


KINDS = ["link", "dangling link", "FIFO", "directory", "hard link", "huge", "nonsense"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["reset", "reset.new"])
def test_what_a_disk_has_in_its_place(name: str, kind: str, tmp_path: Path) -> None:
    """Nothing hangs, no link is followed: a request is staged, and taken back."""
    backing, victim = tmp_path / "backing", tmp_path / "victim"
    backing.mkdir()
    victim.write_text("path /var/victim\n")
    plant(backing / name, kind, victim)
    place = staging.Place("/var", str(backing))
    add(place, "/var/a")
    assert (backing / "reset").read_text() == "path /var/a\n"
    assert (backing / "reset").lstat().st_mode & 0o777 == 0o600
    staging.write(place, lambda _now: None)
    assert not (backing / "reset").exists()
    assert victim.read_text() == "path /var/victim\n"
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_request_is_taken_back(kind: str, tmp_path: Path) -> None:
    backing, victim = tmp_path / "backing", tmp_path / "victim"
    backing.mkdir()
    victim.write_text("all\n")
    plant(backing / "reset", kind, victim)
    with pytest.raises((OSError, ValueError)):
        machine.read_staged(str(backing))
    staging.write(staging.Place("/var", str(backing)), lambda _now: None)
    assert not os.path.lexists(backing / "reset")
    assert victim.read_text() == "all\n"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["image", "reset"])
def test_status_reads_no_such_thing(name: str, kind: str, tmp_path: Path) -> None:
    """A note, and no hang."""
    backing, victim = tmp_path / "backing", tmp_path / "victim"
    (backing / "lower").mkdir(parents=True)
    victim.write_text("all\n")
    plant(backing / name, kind, victim)
    reader = machine.Reader.__new__(machine.Reader)
    reader.notes = {}
    found = reader._read_image(str(backing))[0] if name == "image" else reader._read_staged(str(backing))
    if (name, kind) != ("image", "nonsense"):
        assert not found
        assert any(str(backing / name) in note for note in reader.notes)
