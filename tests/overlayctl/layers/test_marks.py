# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The marks of a layer, also of a file whose owner has set more attributes than the kernel lists."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from product import REPOSITORY

SCRIPT = """
    truncate -s 320M "$1/disk"; mkfs.xfs -q "$1/disk" || exit 77
    mkdir "$1/at"; mount -o loop "$1/disk" "$1/at" || exit 77
    cd "$1/at"; mkdir -p upper/d lower/d; echo old >lower/d/x; echo new >upper/d/x
    setfattr -n trusted.overlay.opaque -v y upper/d
    for name in upper/d upper/d/x; do
        "$2" -c 'import os, sys
for number in range(400): os.setxattr(sys.argv[1], f"user.{number:0200}", b"")' $name
    done
    "$2" -m overlayctl diff --upper upper --lower lower --where /var; echo $?
    "$2" -c 'import os; os.listxattr("upper/d")' 2>&1 | tail -n 1
"""


def test_with_more_attributes_than_are_listed(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("mkfs.xfs"):
        pytest.skip("mounts need root, and this one xfs")
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY / "generator"), "LC_ALL": "C"}
    command = ["unshare", "-m", "sh", "-c", SCRIPT, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("xfs can't be mounted here")
    *lines, status, said = done.stdout.splitlines()
    assert said.startswith("OSError: [Errno 7]"), "else this shows nothing"
    assert (status, done.stderr) == ("0", "")
    assert [next(word for word in line.split() if word[0] == "/") for line in lines] == ["/var/d/", "/var/d/x"]
