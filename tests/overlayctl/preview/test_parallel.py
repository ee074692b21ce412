# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What helpers tell of large directories is what one process tells."""

import json
import os
import signal
from pathlib import Path

import pytest

from overlay_prepare import stamp
from overlayctl.layers import team
from overlayctl.layers.directory import Directory
from overlayctl.preview import parallel
from overlayctl.preview.foretell import Foreteller
from previewing import Update
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="marks of an upper layer need root")


@pytest.fixture
def update(tmp_path: Path) -> Update:
    """Directories with many files, which are of each kind, and small ones between them."""
    update = Update(tmp_path)
    update.fill([], [], [])
    for top, passwd in ((update.old, "app"), (update.new, "ntp")):
        fill(top, f"etc/passwd={passwd}:x:990:990::/:/bin/sh\n")
    for number in range(4):
        for index in range(0, 700, 1 + number):
            name = f"var/d{number}/f{index:03}"
            fill(update.old, *([f"{name}=1"] if index % 3 else []))
            fill(update.new, *([f"{name}={index % 2}{index % 5}"[: len(name) + 2]] if index % 7 else []))
            own = f"d{number}/f{index:03}"
            fill(update.upper, f"{own}!" if index % 11 == 5 else f"{own}={index % 2}")
            if index % 13 == 0:
                os.chown(update.upper / own, 990, 0, follow_symlinks=False)
        fill(update.upper, f"d{number}/inner/a=mine", f"d{number}/opaque/ opaque")
        fill(update.new, f"var/d{number}/inner/a=2", f"var/d{number}/opaque/b=2")
    return update


def count_processors(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(count)))
    monkeypatch.setattr(parallel, "WORTHWHILE", 1)


def children() -> "list[str]":
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def read(update: Update, *words: str) -> "tuple[int, list[str], dict[str, object]]":
    status, out, err = update.run("--json", *words)
    assert err == ""
    *lines, last = out.splitlines()
    summary = json.loads(last)
    del summary["needs"]["seconds"], summary["free"]
    return status, lines, summary


@pytest.mark.parametrize("policy", ["keep", "refresh", "prune", "reset"])
def test_the_text_is_that_of_one(policy: str, update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    count_processors(1, monkeypatch)
    expected = read(update, "--policy", policy)
    count_processors(3, monkeypatch)
    started, start = [], team.Team._start

    def note(self: team.Team) -> None:
        started.append(self.size)
        start(self)

    monkeypatch.setattr(team.Team, "_start", note)
    assert read(update, "--policy", policy) == expected
    assert len(expected[1]) > 200
    assert started == [3]
    assert not children()
    found = {json.loads(line)["kind"] for line in expected[1]}
    assert found >= {"keep": {"hidden", "deleted", "gone", "owner"}, "reset": {"dropped"}}.get(policy, {"owner"})


def test_a_finished_update_is_noted_among_the_others(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    (update.upper.parent / stamp.NAME).write_text("IMAGE_VERSION=1\n")
    fill(update.upper, ".updated=x", *(f"f{index}" for index in range(600)))
    texts = []
    for count in (1, 3):
        count_processors(count, monkeypatch)
        texts.append(read(update))
    assert texts[0] == texts[1]
    assert any('"follows", "path": "/var/.updated"' in line for line in texts[0][1])


def test_a_helper_that_is_killed(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    count_processors(2, monkeypatch)
    own, tell_files = os.getpid(), Foreteller.tell_files

    def die(*words: object) -> object:
        if os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return tell_files(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(Foreteller, "tell_files", die)
    status, _, err = update.run()
    assert (status, err) == (3, "overlayctl: a helper process has ended, perhaps for want of memory\n")
    assert not children()


def test_what_helpers_can_not_read_is_counted(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    count_processors(2, monkeypatch)
    own, tell_file = os.getpid(), Foreteller._tell_file

    def fail(self: Foreteller, level: object, name: bytes, *more: object) -> object:
        if os.getpid() != own and name == b"f300":
            raise OSError(5, "Input/output error")
        return tell_file(self, level, name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Foreteller, "_tell_file", fail)
    status, _, _ = update.run()
    assert status == 3


def test_a_directory_that_a_helper_can_not_open(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    count_processors(2, monkeypatch)
    own, descend = os.getpid(), Directory.descend

    def fail(self: Directory, parts: "list[bytes]") -> "Directory | None":
        if os.getpid() != own and parts == [b"d1"]:
            raise OSError(5, "Input/output error")
        return descend(self, parts)

    monkeypatch.setattr(Directory, "descend", fail)
    status, out, err = update.run()
    assert (status, err) == (3, "")  # a helper says it on the standard error of the process
    assert "/var/d1/f" not in out
    assert "/var/d2/f" in out


def test_a_directory_whose_path_fits_into_no_pipe(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task waits in a pipe while its helper waits for the answer to the one before to be taken."""
    count_processors(2, monkeypatch)
    at = os.open(update.upper, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d" * 200, dir_fd=at)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    for index in range(2000):
        os.mknod(f"{index:05}" + "f" * 240, 0o644, dir_fd=at)
    os.close(at)
    status, lines, _ = read(update, "--policy", "reset")
    assert status == 0
    assert sum('"dropped"' in line and "fff" in line for line in lines) == 2000
