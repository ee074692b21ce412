# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Users rename entries of an upper layer while root reads it: nothing from outside of it is read, and nothing hangs.

EXCHANGES in the environment says how many renames there are beside each verb.
"""

import contextlib
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from overlay_prepare.resetrequest import Staged
from overlayctl.errors import Failure
from overlayctl.layers.change import Layers
from overlayctl.layers.held import open_regular
from overlayctl.layers.walk import walk
from overlayctl.stage import backup, reset, restore
from overlayctl.stage.request import Place
from product import REPOSITORY
from swapper import SECRET
from tree import dig

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes need root")

EXCHANGES = int(os.environ.get("EXCHANGES", "1000"))


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A backing directory with an upper layer, a secret beside it, and an image that has names of the upper layer."""
    for name in ("backing/upper/u", "backing/lower/u", "outside/secrets"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("outside/secret", "outside/secrets/f", "outside/secrets/g", "outside/secrets/hidden"):
        (tmp_path / name).write_bytes(SECRET * 10)
        (tmp_path / name).chmod(0o600)
    for name in ("a0", "f0", "d0"):
        (tmp_path / "backing/lower/u" / name).write_text("imag\n")
    return tmp_path


def run_verb(device: Path, verb: str) -> "tuple[bytes, str]":
    """All that `overlayctl verb` writes, and what it says."""
    layers = ["--upper", str(device / "backing/upper"), "--lower", str(device / "backing/lower"), "--where", "/var"]
    words = {"diff": ["diff", "--content"], "stat": ["diff", "--stat"], "export": ["export", "-"]}[verb]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "generator")}
    done = subprocess.run(
        [sys.executable, "-m", "overlayctl", *words, *layers], env=environ, capture_output=True, timeout=60, check=False
    )
    assert done.returncode in (0, 3)
    return done.stdout, done.stderr.decode()


def write_backup(device: Path) -> "tuple[bytes, str]":
    path = device / "backup.tar"
    backup.write(str(path), [Place("/var", str(device / "backing"))])
    with tarfile.open(path) as archive:
        for entry in archive:
            content = archive.extractfile(entry) if entry.isfile() else None
            assert content is None or content.read().replace(b"mine\n", b"") == b"", entry.name
    return path.read_bytes(), ""


def look_at_what_is_restored(device: Path) -> "tuple[bytes, str]":
    place = Place("/var", str(device / "backing"))
    told = "".join(reset._preview(place, Staged(True, (), ("/var/**/x",))))
    for name in ("b0/hidden", "zb0/hidden", "b0/deep", "a0"):
        with contextlib.suppress(Failure):
            told += restore.verify(place, f"/var/u/{name}")
        assert "hidden: " not in told or "nothing was changed" in told
    return told.encode(), ""


VERBS: "dict[str, Callable[[Path], tuple[bytes, str]]]" = {
    "diff": lambda device: run_verb(device, "diff"),
    "stat": lambda device: run_verb(device, "stat"),
    "export": lambda device: run_verb(device, "export"),
    "backup": write_backup,
    "restore": look_at_what_is_restored,
}


@contextlib.contextmanager
def swapping(device: Path) -> "Iterator[Callable[[], int]]":
    """Somebody exchanges names meanwhile; yields a function that returns how often so far."""
    counter = device / "count"
    counter.write_bytes(bytes(8))
    words = [str(REPOSITORY / "tests/support/swapper.py"), *map(str, (device / "backing/upper/u", device / "outside"))]
    with subprocess.Popen([sys.executable, *words, str(counter)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        try:
            yield lambda: int.from_bytes(counter.read_bytes(), "little")
        finally:
            ended = process.poll()
            process.kill()
    assert ended is None


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_from_outside(verb: str, device: Path) -> None:
    with swapping(device) as count:
        rounds = 0
        while rounds < 3 or count() < EXCHANGES:
            data, said = VERBS[verb](device)
            assert SECRET not in data
            assert b"hidden" not in data or b"nothing was changed" in data
            assert "Traceback" not in said
            assert "a bug" not in said
            rounds += 1
        assert count() > 0


def test_the_one_who_renames_can_be_met(device: Path) -> None:
    """The control: reading by paths, as root would in a shell, gets the secret."""
    found = b""
    with swapping(device):
        deadline = time.monotonic() + 60
        while SECRET not in found and time.monotonic() < deadline:
            for path in (device / "backing/upper/u").glob("?[0-9]"):
                with contextlib.suppress(OSError):
                    if path.is_file() and not path.is_symlink():
                        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                        found += os.read(fd, 1000)
                        os.close(fd)
    assert SECRET in found


@pytest.mark.parametrize("verb", VERBS)
def test_a_tree_deeper_than_any_path(verb: str, device: Path) -> None:
    dig(device / "backing/upper/u", 1500, "d")
    try:
        data, said = VERBS[verb](device)
        assert (said.replace("overlayctl: 0 paths", ""), b"/d" * 1400 in data) == ("", verb not in ("stat", "restore"))
        assert b"d/d/d" in data or verb in ("stat", "restore")
    finally:
        # For pytest's own cleaning up it is too deep.
        subprocess.run(["rm", "-rf", device / "backing/upper"], check=True)


def test_few_directories_are_open_at_a_time(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that were closed are opened again, also on the way back."""
    monkeypatch.setattr("overlayctl.layers.directory._MOST_OPEN", 10)
    upper = device / "backing/upper"
    path = upper
    for number in range(60):
        path = path / f"d{number % 7}"
        path.mkdir()
        (path / "z").write_text("x")
    layers = Layers(os.fsencode(upper), os.fsencode(device / "backing/lower"))
    before = len(os.listdir("/proc/self/fd"))
    most = 0
    paths = []
    for change in walk(layers):
        most = max(most, len(os.listdir("/proc/self/fd")) - before)
        paths.append(change.path)
    assert most < 20
    assert len(paths) == 2 * 60
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_directory_that_is_moved_away_is_said(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While others in it were read, and it was closed."""
    monkeypatch.setattr("overlayctl.layers.directory._MOST_OPEN", 4)
    upper = device / "backing/upper"
    (upper / "/".join("abcdefgh")).mkdir(parents=True)
    (upper / "a/z").write_text("x")
    told = []
    for change in walk(
        Layers(os.fsencode(upper), os.fsencode(device / "backing/lower")),
        report=lambda path, error: told.append((path, error.strerror)),
    ):
        if change.path.endswith(b"h"):
            (upper / "a").rename(upper / "y")
            (upper / "a").mkdir()
            (upper / "a/z").symlink_to(device / "outside/secret")
    assert (b"a", "it was moved away while it was read") in told


def test_a_busy_directory_ends_no_backup(device: Path) -> None:
    """Files come, are truncated and go, and attributes with them."""
    program = """
import os, sys
os.chdir(sys.argv[1])
print("ready", flush=True)
while True:
    for number in range(50):
        with open(f"n{number}", "wb") as stream:
            stream.write(b"x" * 100000)
        os.setxattr(f"n{number}", "user.x", b"x")
    for number in range(50):
        os.truncate(f"n{number}", 10)
        os.removexattr(f"n{number}", "user.x")
        os.mkdir(f"d{number}")
    for number in range(50):
        os.unlink(f"n{number}")
        os.rmdir(f"d{number}")
"""
    command = [sys.executable, "-c", program, str(device / "backing/upper/u")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            for _ in range(15):
                backup.write(str(device / "backup.tar"), [Place("/var", str(device / "backing"))])
                with tarfile.open(device / "backup.tar") as archive:
                    assert len(archive.getnames()) > 1
                done = run_verb(device, "export")
                assert "Traceback" not in done[1]
        finally:
            process.kill()


@pytest.mark.parametrize("kind", [0o020600, 0o060600, 0o010600, 0o140600])
def test_what_is_no_file_is_not_opened(kind: int, device: Path) -> None:
    """Just opening a device can have an effect (a watchdog starts), and opening a FIFO would wait."""
    os.mknod(device / "node", kind, os.makedev(10, 130))
    with pytest.raises(OSError, match="replaced"):
        open_regular(os.fsencode(device / "node"))
