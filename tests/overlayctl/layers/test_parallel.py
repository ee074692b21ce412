# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The walk shared among processes: the same text as from a single one, whatever happens to them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from overlayctl.layers import parallel
from overlayctl.layers.change import Change, Layers
from overlayctl.layers.parallel import Unread, spell_all
from overlayctl.layers.walk import walk
from product import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes need root")


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    """Directories with many files, some of them in the image, and directories between them."""
    for number in range(8):
        for layer, step in (("upper", 1), ("lower", 3)):
            directory = tmp_path / layer / f"d{number}"
            (directory / "f050/inner").mkdir(parents=True)
            for i in range(0, 1000, step):
                (directory / f"g{i:04}").write_text(layer * (i % 2))
    os.mknod(tmp_path / "upper/d3/g9999", 0o020000, 0)
    (tmp_path / "lower/d3/g9999").touch()
    return Layers(os.fsencode(tmp_path / "upper"), os.fsencode(tmp_path / "lower"))


@pytest.fixture
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})


def spell(change: Change) -> str:
    return f"{change.kind} {change.path!r} {change.what} {change.info and change.info.st_size}\n"


def said(path: bytes, error: OSError) -> None:
    raise AssertionError((path, error))


def read(layers: Layers, how: "Callable[[Change], str]" = spell, start: bytes = b"") -> str:
    return "".join(spell_all(layers, start, how, Unread(said)))


def processes() -> "set[str]":
    own = Path(f"/proc/self/task/{os.getpid()}/children")
    return set(own.read_text().split())


@pytest.mark.usefixtures("two_processors")
@pytest.mark.parametrize("start", [b"", b"d3"])
def test_the_text_is_that_of_one(start: bytes, layers: Layers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WORTHWHILE", 500)
    before = processes()
    expected = "".join(map(spell, walk(layers, start)))
    texts = spell_all(layers, start, spell, Unread(said))
    first = next(texts)
    found = first + "".join(texts)
    assert found == expected
    assert expected.count("\n") > 1000
    assert processes() == before


def test_helpers_are_there(layers: Layers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above: with two processors and much to do, parts are read by helpers."""
    own = os.getpid()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 1})
    assert set(read(layers, lambda _: f"{os.getpid() == own} ").split()) == {"True", "False"}
    assert set(read(layers, lambda _: f"{os.getpid() == own} ", b"d1").split()) == {"True"}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0})
    assert set(read(layers, lambda _: f"{os.getpid() == own} ").split()) == {"True"}


def spell_slowly() -> str:
    """Leave something to a helper, even on a busy machine."""
    time.sleep(0.001)
    return ""


@pytest.mark.usefixtures("two_processors")
def test_what_helpers_can_not_read_is_counted(layers: Layers) -> None:
    # d7 is walked when there are helpers.
    for name in ("g0003", "g0600"):
        path = os.fsdecode(layers.upper) + f"/d7/{name}"
        os.setxattr(path, "trusted.overlay.metacopy", b"")
        os.setxattr(path, "trusted.overlay.redirect", b"/gone")
    unread = Unread(lambda _path, _error: None)
    text = "".join(spell_all(layers, b"", spell, unread))
    assert unread.count == 2
    assert "d7/g0003" not in text


@pytest.mark.usefixtures("two_processors")
def test_a_fault_in_a_helper_is_one_here(layers: Layers) -> None:
    own = os.getpid()

    def fail(_change: Change) -> str:
        return spell_slowly() if os.getpid() == own else str(1 // 0)

    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        read(layers, fail)
    assert not processes()


@pytest.mark.usefixtures("two_processors")
def test_a_helper_that_is_killed(layers: Layers) -> None:
    own = os.getpid()

    def die(_change: Change) -> str:
        if os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return spell_slowly()

    with pytest.raises(OSError, match="a helper process has ended"):
        read(layers, die)
    assert not processes()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor has no helpers")
@pytest.mark.parametrize("end", ["head -n 1", "interrupt"])
def test_nothing_is_left_behind(end: str, layers: Layers) -> None:
    upper, lower = os.fsdecode(layers.upper), os.fsdecode(layers.lower)
    command = [sys.executable, "-m", "overlayctl", "diff", "--upper", upper, "--lower", lower]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPOSITORY / "generator", start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith(b"metadata")
        if end == "interrupt":
            # As the terminal sends it: to all of them.
            os.killpg(process.pid, signal.SIGINT)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) in (130, 141)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("a helper lives on")
