# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other generators of the same parent are waited for, and nobody else."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from overlay_generator import siblings
from product import REPOSITORY

# A process called (x), as those of PID 1 are, runs two programs: one that takes a while, and ours.
SCRIPT = """
import sys, subprocess, time
sys.path.insert(0, sys.argv[1])
open("/proc/self/comm", "w").write(sys.argv[2])
other = subprocess.Popen(["sleep", sys.argv[3]])
ours = f"import sys; sys.path.insert(0, {sys.argv[1]!r}); from overlay_generator import gather, siblings; "
ours += f"sys.stderr.write(siblings.wait(gather.read_file, {sys.argv[4]}))"
start = time.monotonic()
subprocess.run([sys.executable, "-c", ours], check=True)
print(time.monotonic() - start)
other.kill()
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/comm"), reason="there is no /proc here")
@pytest.mark.parametrize(
    ("name", "takes", "limit", "least", "most", "doubt"),
    [
        ("(sd-executor)", "1.5", "20", 1.0, 19.0, ""),
        ("(generators)", "60", "0.5", 0.4, 30.0, "some still run"),
        ("bash", "60", "30", 0.0, 25.0, ""),
    ],
)
def test_other_generators_are_waited_for(
    name: str, takes: str, limit: str, least: float, most: float, doubt: str
) -> None:
    command = [sys.executable, "-c", SCRIPT, str(REPOSITORY / "generator"), name, takes, limit]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert least <= float(done.stdout) <= most
    assert time.monotonic() - start < 60
    assert done.stderr == doubt


def _read_but(refused: str, error: type[OSError]) -> "Callable[[str], bytes]":
    """A reader of files by which this test is a child of PID 1's process, with `error` for names that end so."""

    def read(path: str) -> bytes:
        if path.endswith("/comm"):
            return b"(sd-executor)\n"
        if path.endswith(refused):
            raise error(errno.EACCES, os.strerror(errno.EACCES), path)
        return b"1 (x) S 0 0"

    return read


def test_what_cannot_be_looked_at_has_not_ended() -> None:
    """Not waited for either: it may be any process, and each boot would take ten seconds longer."""
    start = time.monotonic()
    doubt = siblings.wait(_read_but("/1/stat", PermissionError), 30)
    assert doubt == "what runs can't be seen (/proc/1/stat: permission denied)"
    assert time.monotonic() - start < 20
    assert siblings.wait(_read_but("/1/stat", ProcessLookupError), 30) == ""


def test_a_parent_that_cannot_be_looked_at_is_said() -> None:
    def read(path: str) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    assert siblings.wait(read) == f"what runs can't be seen (/proc/{os.getppid()}/comm: Permission denied)"
