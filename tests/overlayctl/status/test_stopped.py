# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk that takes no writes any more, which the overlay on it does not say: status, metrics and the gate."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from device import VAR, Device, needs_mounts
from product import Run

pytestmark = needs_mounts
FIND = f"device=$(sed -n 's,.* {VAR} .* /dev/\\(loop[0-9]*\\) .*,\\1,p' /proc/self/mountinfo)"
READ_ONLY = f"the file system at {VAR} is read-only: see the kernel's messages on that disk (journalctl -k)"
STOPS = {
    "an error of the disk": (f"{FIND}; echo 1 >/sys/fs/ext4/$device/trigger_fs_error", READ_ONLY),
    "an operator": (f"mount -o remount,ro {VAR}", READ_ONLY),
    "xfs shuts itself down": (
        f"xfs_io -x -c shutdown {VAR}",
        f"the file system at {VAR} answers with 'Input/output error': see the kernel's messages on that disk"
        " (journalctl -k)",
    ),
}


@pytest.fixture(params=STOPS)
def stopped(request: pytest.FixtureRequest, run: Run, image: Path, tmp_path: Path) -> "tuple[Device, str, str]":
    """A device, what stops its disk, and the reason that is told."""
    device = Device(run, image, tmp_path)
    disk = device.root / "disk.img"
    if "xfs" in request.param:
        if not shutil.which("mkfs.xfs") or not shutil.which("xfs_io"):
            pytest.skip("xfsprogs are not installed")
        device.add_disk("320M")
        subprocess.run(["mkfs.xfs", "-qf", "-L", "data", disk], check=True)
        device.fstab((device.root / "etc/fstab").read_text().replace("ext4", "xfs"))
    else:
        device.add_disk()
        subprocess.run(["tune2fs", "-e", "remount-ro", disk], check=True, stdout=subprocess.DEVNULL)
    return device, *STOPS[request.param]


def boot(device: Device, script: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `script` prints on the device, whose disk has the type that its fstab says."""
    if "xfs" in (device.root / "etc/fstab").read_text():
        monkeypatch.setattr("device.DISK_UNIT", f"[Mount]\nWhat=/disk.img\nWhere={VAR}\nType=xfs\nOptions=loop\n")
    return device.boot(script)


def test_a_disk_that_takes_no_writes(stopped: "tuple[Device, str, str]", monkeypatch: pytest.MonkeyPatch) -> None:
    device, stop, reason = stopped
    gate = "python3 -ISB /usr/lib/overlay-generator/prepare --boot-check"
    # First that it is as it should be, and at the end that it really is not: else this would show nothing.
    script = f"""
exec 2>/tmp/errors
echo before >/var/file && overlayctl status >/dev/null && {gate} && echo good
{stop}
overlayctl metrics | grep -E '^overlay_(writable|read_only|status)[{{]'
overlayctl status --json || echo
{gate} || echo not good
echo after >/var/file || echo refused
"""
    lines = boot(device, script, monkeypatch).splitlines()
    lines = lines[lines.index("good") + 1 :]
    assert lines[-2:] == ["not good", "refused"]
    assert lines[:3] == [
        'overlay_writable{directory="/var"} 0',
        'overlay_read_only{directory="/var"} 1',
        'overlay_status{directory="/var"} 1',
    ]
    (var,) = json.loads("\n".join(lines[3:-2]))["directories"]
    assert (var["active"], var["writable"], var["status"]) == (True, False, 1)
    assert reason in var["reasons"]
    said = (device.root / "tmp/errors").read_text()
    assert ("its disk takes no writes: " in said) != ("/var can't be checked: " in said)


def test_what_is_mounted_on_top_is_told(run: Run, image: Path, tmp_path: Path) -> None:
    device = Device(run, image, tmp_path)
    text = device.boot("mount -t tmpfs other /var; overlayctl status || :")
    assert "  why       tmpfs other is mounted there, and covers it\n" in text
    assert "nothing is mounted there" not in text


def test_only_who_reads_the_note_tells_the_image(run: Run, image: Path, tmp_path: Path) -> None:
    """The image that runs is not the one that the upper layer of a disk is fit for."""
    device = Device(run, image, tmp_path)
    device.add_disk()
    other = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    text = device.boot(f"overlayctl metrics | grep -c ^overlay_image_info; {other} overlayctl metrics")
    assert "\n1\n" in f"\n{text}"
    assert "overlay_active" in text
    assert "overlay_image_info{" not in text
