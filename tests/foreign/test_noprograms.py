# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The plugin for other architectures leaves out what starts a program, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = """
import os, subprocess

def test_that_computes():
    assert 1 + 1 == 2

def test_that_forks():
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3

def test_that_starts_a_program():
    assert subprocess.run(["false"]).returncode == 0

def test_whose_child_starts_one():
    pid = os.fork()
    if pid == 0:
        try:
            subprocess.run(["true"])
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

def test_that_spawns_one():
    os.posix_spawn("/bin/false", ["false"], {})
"""


def test_what_starts_a_program_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "noprograms", "-p", "no:cacheprovider", "-q", str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "2 passed, 3 skipped" in done.stdout, done.stdout
