# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A device for tests of overlayctl: real overlays by the emitted units, in a mount namespace (mountns.py)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from product import REPOSITORY, Run

VAR = "/run/buildroot/mounts/var"
FSTAB = f"LABEL=data {VAR} ext4 defaults,nofail,x-systemd.device-timeout=30s 0 2\n"
DISK_UNIT = f"[Mount]\nWhat=/disk.img\nWhere={VAR}\nType=ext4\nOptions=loop\n"

needs_mounts = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


def install(image: Path, target: Path) -> Path:
    """`image` with overlayctl in it, even if `make install` does not install that."""
    shutil.copytree(image, target, symlinks=True, dirs_exist_ok=True)
    library = target / "usr/lib/overlay-generator"
    if not (library / "overlayctl").is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "generator/overlayctl", library / "overlayctl", ignore=ignored)
    (target / "usr/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "generator/bin/overlayctl", target / "usr/bin/overlayctl")
    return target


class Device:
    """The tree of a machine, booted as often as a test likes; its disk, if it has one, keeps what was written."""

    def __init__(self, run: Run, image: Path, top: Path) -> None:
        self.run = run
        self.root, self.top = top / "root", top
        self.image = install(image, top / "image")
        for name in ("etc", "run", "tmp", "var/lib/app", "var/log"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "var/lib/app/conf").write_text("from the image\n")
        (self.root / "var/lib/app/other").write_text("from the image\n")
        (self.root / "etc/os-release").write_text("IMAGE_ID=test\nIMAGE_VERSION=1\n")
        self.fstab("")
        self.cmdline = "quiet overlayfs.mounts=/var"

    def fstab(self, text: str) -> None:
        """Let fstab be `text`."""
        (self.root / "etc/fstab").write_text(text)

    def add_disk(self, size: str = "32M") -> None:
        """A disk for /var, as fstab has it."""
        with open(self.root / "disk.img", "wb") as stream:
            stream.truncate(int(size[:-1]) << 20)
        subprocess.run(["mkfs.ext4", "-q", "-L", "data", self.root / "disk.img"], check=True)
        self.fstab(FSTAB)

    def boot(self, script: str, disk: "bool | None" = None, status: int = 0, before: str = "") -> str:
        """Boot, and run the shell `script` on the device. Returns what it printed. `disk`: the disk is there.

        `before` runs in the machine's namespace before anything is mounted.
        """
        out = self.top / "units"
        shutil.rmtree(out, ignore_errors=True)
        for name in ("normal", "early", "late"):
            (out / name).mkdir(parents=True)
        self.run(f"--root={self.root}", f"--cmdline={self.cmdline}", out / "normal", out / "early", out / "late")
        for unit in out.glob("*/verify-*.service"):
            unit.unlink()  # its conditions are not among those that mountns.py knows
        if disk if disk is not None else (self.root / "disk.img").exists():
            (out / "normal/run-buildroot-mounts-var.mount").write_text(DISK_UNIT)
        # /run starts empty, as it does at a boot.
        setup = f"mount -t tmpfs tmpfs {self.root}/run; {before}\n" if before else ""
        runner = REPOSITORY / "tests/support/mountns.py"
        command = f'{setup} exec "$@"'
        arguments = [sys.executable, runner, self.root, out, self.image, script]
        for path in (self.root / "run").iterdir():
            shutil.rmtree(path)
        done = subprocess.run(
            ["unshare", "-m", "--propagation", "private", "sh", "-euc", command, "sh", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={
                **os.environ,
                "SYSTEMD_PROC_CMDLINE": self.cmdline,
                "TERM": "dumb",
                "PATH": "/usr/bin:/usr/sbin:/bin:/sbin",
            },
        )
        assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout
