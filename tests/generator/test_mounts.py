# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real overlay mounts: the emitted commands do what the units promise. Needs root, nothing else."""

import os
import shutil
from pathlib import Path

import pytest

from bootmounts import VAR, Check

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


def test_what_is_written_goes_to_upper_alone(check: Check, tmp_path: Path) -> None:
    check(
        "overlayfs.mounts=/var",
        f"""
        test "$(cat /var/lib/app/conf)" = "from the image"
        test ! -e {VAR}/upper/lib/app/conf
        echo changed >/var/lib/app/conf
        echo new >/var/new
        test "$(cat {VAR}/upper/lib/app/conf)" = changed
        test "$(cat {VAR}/lower/lib/app/conf)" = "from the image"
        test -e {VAR}/upper/new && test ! -e {VAR}/lower/new
        # A directory of the image can be renamed, and hard links stay together.
        mv /var/lib/app /var/lib/moved && test "$(cat /var/lib/moved/conf)" = changed
        test "$(stat -c %a {VAR})" = 700
        """,
    )
    assert (tmp_path / "root/var/lib/app/conf").read_text() == "from the image\n"


def test_lower_is_bound_once_read_only_and_private(check: Check) -> None:
    check(
        "overlayfs.mounts=/var",
        f"""
        test "$(grep -c ' {VAR}/lower ' /proc/self/mountinfo)" = 1
        grep ' {VAR}/lower ' /proc/self/mountinfo | grep -q ' ro,nosuid,nodev,noexec'
        ! grep ' {VAR}/lower ' /proc/self/mountinfo | grep -q shared:
        ! touch {VAR}/lower/file 2>/dev/null
        """,
    )


@pytest.mark.parametrize(
    "name", ["a b", "100%", "it's", 'say "it"', "a\\b", "$HOME", "é-_.", "-dash", "semi;colon", "#hash", "co:lon"]
)
def test_directories_with_odd_names(name: str, check: Check, tmp_path: Path) -> None:
    directory = tmp_path / "root/srv" / name
    directory.mkdir(parents=True)
    quote = "'" if '"' in name else '"'
    script = 'for d in /srv/*/; do touch "$d/new"; done; test -e /run/buildroot/mounts/srv-*/upper/new'
    check(f"overlayfs.mounts={quote}/srv/{name}{quote}", script)
    assert not list(directory.iterdir())


@pytest.mark.parametrize(("mode", "uid", "gid"), [(0o700, 0, 0), (0o1777, 0, 0), (0o2775, 33, 34), (0o750, 1000, 1000)])
def test_the_overlay_has_mode_and_owner_of_the_directory(
    mode: int, uid: int, gid: int, check: Check, tmp_path: Path
) -> None:
    directory = tmp_path / "root/srv"
    directory.mkdir(parents=True)
    os.chown(directory, uid, gid)
    directory.chmod(mode)
    check("overlayfs.mounts=/srv", f'test "$(stat -c "%a %u %g" /srv)" = "{mode:o} {uid} {gid}"')


def test_nested_overlays_have_the_image_below_them(check: Check) -> None:
    inner = "/run/buildroot/mounts/var-lib-app"
    check(
        "overlayfs.mounts=/var,/var/lib/app",
        f"""
        touch /var/lib/app/inner /var/outer
        test -e {inner}/upper/inner && test ! -e {VAR}/upper/lib/app/inner
        test -e {VAR}/upper/outer
        test "$(stat -f -c %T {inner}/lower)" = "$(stat -f -c %T {VAR}/lower)"
        test "$(stat -f -c %T {inner}/lower)" != overlayfs
        """,
    )


def test_a_disk_that_is_missing_is_replaced_by_memory(check: Check) -> None:
    output = check(
        "overlayfs.mounts=/var",
        f"""
        touch /var/new; test "$(stat -f -c %T {VAR})" = tmpfs; test "$(stat -c %a {VAR})" = 700
        cat /run/overlay-generator/var.json /run/motd.d/overlay-generator-var
        """,
        fstab=f"LABEL=none {VAR} ext4 nofail 0 2\n",
    )
    reason = f"{VAR} could not be mounted"
    assert output == (
        "skipped verify-var-overlay.service\n"
        f'{{"where": "/var", "backing": "{VAR}", "fallen_back": "{reason}"}}\n'
        f"WARNING: /var: NOT persistent: {reason}; all that is written is lost at the next boot\n"
    )


def test_without_its_mount_nothing_is_written(check: Check) -> None:
    """No fstab-generator here, so nothing mounts the disk: prepare must not fill /run in its place."""
    output = check(
        "overlayfs.mounts=/var",
        f"test ! -e {VAR}/upper; ! grep -q ' /var ' /proc/self/mountinfo",
        fstab=f"LABEL=data {VAR} ext4 defaults 0 2\n",
    )
    assert output.splitlines() == [
        f"skipped {name}" for name in ("prepare-var-overlay.service", "var.mount", "verify-var-overlay.service")
    ]


def test_a_persistent_upper_is_made_once_and_kept(check: Check, tmp_path: Path) -> None:
    disk, var = tmp_path / "root/disk", tmp_path / "root/var"
    disk.mkdir(parents=True)
    var.mkdir()
    os.chown(var, 3, 4)
    var.chmod(0o2751)
    os.setxattr(var, "user.note", b"of the image")
    script = 'test "$(stat -c "%a %u %g" /var)" = "2751 3 4"; echo mine >/var/mine; chmod 700 /var'
    check("overlayfs.mounts=/var", script, disk="/disk")
    assert os.getxattr(disk / "upper", "user.note") == b"of the image"
    assert (disk / "upper/mine").read_text() == "mine\n"

    shutil.rmtree(tmp_path / "out")
    check("overlayfs.mounts=/var", 'test "$(cat /var/mine)" = mine; test "$(stat -c %a /var)" = 2700', disk="/disk")
    assert disk.stat().st_mode & 0o7777 == 0o700
