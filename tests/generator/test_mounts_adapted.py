# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real mounts where memory was planned and something else is mounted: what is mounted decides."""

import os
from pathlib import Path

import pytest

from bootmounts import VAR, Check

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

DISK = f"[Mount]\nWhat=/disk\nWhere={VAR}\nType=none\nOptions=bind\n"
PERSISTENT = f"""
    echo changed >/var/lib/app/conf
    test "$(cat /disk/upper/lib/app/conf)" = changed
    test -s {VAR}/image
    # With index=on the kernel makes this, and refuses the upper layer on the next image.
    test ! -e {VAR}/work/index
    test "$(grep -c ' /var ' /proc/self/mountinfo)" = 1
    grep -q ' {VAR}/lower ro,nosuid,nodev,noexec' /proc/self/mountinfo
"""


@pytest.fixture
def _disk(tmp_path: Path) -> None:
    (tmp_path / "root/disk").mkdir(parents=True)


@pytest.mark.usefixtures("_disk")
@pytest.mark.parametrize("labelled", [False, True])
def test_a_disk_by_another_generator_is_persistent(labelled: bool, check: Check, tmp_path: Path) -> None:
    (tmp_path / "root/var").mkdir(exist_ok=True)
    if labelled:
        os.setxattr(tmp_path / "root/var", "user.x", b"y")
    said = check("overlayfs.mounts=/var", PERSISTENT, other=DISK)
    assert f"is mounted at {VAR}, where memory was planned: the upper layer is persistent" in said
    assert "skipped var.mount" in said
    assert (tmp_path / "root/disk/upper/lib/app/conf").read_text() == "changed\n"


@pytest.mark.usefixtures("_disk")
def test_a_disk_in_the_place_of_the_owners_tmpfs_is_persistent(check: Check) -> None:
    said = check("overlayfs.mounts=/var", PERSISTENT, fstab=f"tmpfs {VAR} tmpfs size=1M 0 0\n", other=DISK)
    assert "the upper layer is persistent" in said


@pytest.mark.usefixtures("_disk")
def test_a_disk_that_can_hold_no_upper_layer_gives_way_to_memory(check: Check) -> None:
    said = check(
        "overlayfs.mounts=/var",
        f"echo new >/var/new; grep -q ' {VAR} .* - tmpfs ' /proc/self/mountinfo; test ! -e /disk/upper",
        other=DISK.replace("Options=bind", "Options=bind,ro"),
    )
    assert "is mounted read-only" in said


def test_where_nothing_is_mounted_there_is_memory_all_the_same(check: Check) -> None:
    said = check(
        "overlayfs.mounts=/var",
        f"echo new >/var/new; test -e {VAR}/upper/new; grep -q ' {VAR} .* - tmpfs ' /proc/self/mountinfo",
        other="",
    )
    assert f"nothing is mounted at {VAR}" in said


def test_memory_by_somebody_else_is_memory(check: Check) -> None:
    tmpfs = f"[Mount]\nWhat=x\nWhere={VAR}\nType=tmpfs\nOptions=size=1M\n"
    said = check("overlayfs.mounts=/var", f"echo new >/var/new; test -e {VAR}/upper/new", other=tmpfs)
    assert "prepare" not in said
