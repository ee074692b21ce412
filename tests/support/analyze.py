# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What systemd-analyze(1) says of units: this machine's, and those of other releases' trees that FSTAB_TREES names."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from product import ENVIRON, REPOSITORY

TREES = ["/", *filter(None, os.environ.get("FSTAB_TREES", "").split(":"))]
# $0 is a tree, which stays as it is, $1 the directory of units, $2 the product; each has the same path inside.
_INSIDE = """
mount -t tmpfs layers /mnt && mkdir /mnt/upper /mnt/work /mnt/root &&
mount -t overlay -o "lowerdir=$0,upperdir=/mnt/upper,workdir=/mnt/work" root /mnt/root &&
mount -t proc proc /mnt/root/proc && mount --rbind /dev /mnt/root/dev && mount --rbind /sys /mnt/root/sys &&
mount -t tmpfs run /mnt/root/run || exit 125
# systemd 258 and later run with the unified hierarchy of control groups alone.
[ ! -d /mnt/root/sys/fs/cgroup/unified ] || mount --bind /mnt/root/sys/fs/cgroup/unified /mnt/root/sys/fs/cgroup
for name in "$1" "$2"; do
    mkdir -p "/mnt/root$name" && mount --bind "$name" "/mnt/root$name" || exit 125
done
shift 2
exec chroot /mnt/root systemd-analyze "$@"
"""


def verify(units: Path, tree: str = "/") -> "list[str]":
    """What the systemd-analyze of `tree` complains about in the units of the directory, without others that they pull
    in. Another tree than this machine's needs root.
    """
    names = sorted(path.name for path in units.iterdir() if path.is_file())
    words = ["verify", "--man=no", *(str(units / name) for name in names)]
    if tree == "/":
        tool = shutil.which("systemd-analyze")
        if not tool:
            pytest.skip("systemd-analyze is not installed")
        command = [tool, *words]
    else:
        command = ["unshare", "--mount", "sh", "-c", _INSIDE, tree, str(units), str(REPOSITORY), *words]
    environ = {**ENVIRON, "SYSTEMD_UNIT_PATH": f"{units}:", "SYSTEMD_LOG_TARGET": "console", "LC_ALL": "C.UTF-8"}
    result = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode != 125 and "Failed to initialize manager" not in result.stderr, result.stderr
    return [line for line in result.stderr.splitlines() if any(name in line for name in (*names, str(units)))]
