# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A fixture that boots a small tree by the emitted units, with real mounts in a namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from bootmounts import VAR, Check
from product import REPOSITORY, Run


@pytest.fixture
def check(run: Run, image: Path, tmp_path: Path) -> Check:
    """check(cmdline, script, fstab="", disk="", faults=False): generate for tmp_path/root, mount all, run the script;
    its output.

    `disk` is a directory of the tree that stands in for a disk at the backing directory of /var. With `faults` the
    generator may find something wrong. `other` is somebody else's unit for the backing directory of /var, "" if nothing
    is mounted there.
    """

    def check_it(
        cmdline: str, script: str, fstab: str = "", disk: str = "", faults: bool = False, other: "str | None" = None
    ) -> str:
        root, out = tmp_path / "root", tmp_path / "out"
        for name in ("etc", "run", "var/lib/app"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "var/lib/app/conf").write_text("from the image\n")
        if not (root / "bin").exists():
            # The image has a shell, which mountns.py brings.
            (root / "usr/bin").mkdir(parents=True)
            (root / "usr/bin/sh").touch()
            (root / "bin").symlink_to("usr/bin")
        (root / "etc/fstab").write_text(f"{disk} {VAR} none bind 0 0\n" if disk else fstab)
        for name in ("normal", "early", "late"):
            (out / name).mkdir(parents=True, exist_ok=True)
        result = run(f"--root={root}", f"--cmdline={cmdline}", out / "normal", out / "early", out / "late")
        assert faults or (result.returncode, result.stderr) == (0, "")
        if disk:
            text = f"[Mount]\nWhat={disk}\nWhere={VAR}\nType=none\nOptions=bind\n"
            (out / "normal/run-buildroot-mounts-var.mount").write_text(text)
        if other is not None:
            (out / "late/run-buildroot-mounts-var.mount").unlink(missing_ok=True)
            if other:
                (out / "normal/run-buildroot-mounts-var.mount").write_text(other)
        script_runner = REPOSITORY / "tests/support/mountns.py"
        done = subprocess.run(
            ["unshare", "-m", "--propagation", "private", sys.executable, script_runner, root, out, image, script],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout if other is None else done.stdout + done.stderr

    return check_it
