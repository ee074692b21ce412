# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tests that Debian runs find all they need in what is installed; test_packages_debian.py runs them for real."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from product import ENVIRON, REPOSITORY, skip_without_mount_namespace

INSIDE = 'mount -t overlay -o "lowerdir=$0/usr:/usr" usr /usr && exec packaging/debian/tests/cases'


def test_the_cases_run_with_what_is_installed(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a /usr with the product in it")
    skip_without_mount_namespace()
    subprocess.run(["make", "-s", "install", f"DESTDIR={tmp_path}", "COMPILE=no"], cwd=REPOSITORY, check=True)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    environ = {
        **ENVIRON,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AUTOPKGTEST_TMP": str(scratch),
        "PYTEST_ADDOPTS": "-k 01-default",
    }
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", INSIDE, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
