# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Static units with real mounts: what they promise, with the commands of coreutils and with BusyBox's."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from product import ENVIRON, REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

VAR = "/run/buildroot/mounts/var"
NOFAIL = f"LABEL=data {VAR} ext4 nofail 0 2\n"
REQUIRED = f"LABEL=data {VAR} ext4 defaults 0 2\n"
# Not with "!": a shell with -e goes on after that.
NO_OVERLAY = "test -z \"$(grep ' /var ' /proc/self/mountinfo)\""
# All commands that the units run, except those of util-linux, which systemd needs too.
APPLETS = ("mkdir", "rmdir", "chmod", "chown", "mv", "rm", "ln", "touch", "echo")

Boot = Callable[..., "list[str]"]


@pytest.fixture(params=["coreutils", "busybox"])
def tools(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    directory = tmp_path / "tools"
    directory.mkdir()
    if request.param == "busybox":
        busybox = shutil.which("busybox")
        assert busybox, "busybox is not installed, see tests/needs"
        for name in APPLETS:
            (directory / name).symlink_to(busybox)
    return directory


@pytest.fixture
def boot(prefix: Path, tools: Path, tmp_path: Path) -> Boot:
    """boot(cmdline, script, fstab="", disk="rw"): render, carry out, run the script; the units that were started.

    What stands for the disk is kept from boot to boot; `disk` is rw, ro, or "" where it is missing.
    """
    root = tmp_path / "root"
    for name in ("bin", "device", "etc", "run", "var/lib/app"):
        (root / name).mkdir(parents=True)
    (root / "var/lib/app/conf").write_text("from the image\n")
    for name in (*APPLETS, "mount", "umount"):
        (root / "bin" / name).touch()

    def boot_it(
        cmdline: str, script: str, fstab: str = "", disk: str = "rw", words: str = "", between: str = ""
    ) -> "list[str]":
        (root / "etc/fstab").write_text(fstab)
        unit = root / "usr/lib/systemd/system/run-buildroot-mounts-var.mount"
        unit.unlink(missing_ok=True)
        command: list[str | Path] = [prefix / "bin/overlayctl", "render", "--root", root, "--output", root]
        command += ["--cmdline", words] if words else []
        result = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        if fstab and disk:
            # systemd-fstab-generator's, for a disk that is a directory here.
            options = "bind,ro" if disk == "ro" else "bind"
            unit.write_text(f"[Mount]\nWhat=/device\nWhere={VAR}\nType=none\nOptions={options}\n")
        runner = REPOSITORY / "tests/support/static_mounts.py"
        last = [script, between] if between else [script]
        done = subprocess.run(
            ["unshare", "-m", "--propagation", "private", sys.executable, runner, root, tools, cmdline, *last],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**ENVIRON, "PYTHONPATH": str(REPOSITORY / "tests")},
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert "\nfailed " not in done.stdout, f"{done.stdout}\n{done.stderr}"
        return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("started ")]

    return boot_it


def test_in_memory_what_is_written_goes_to_upper_alone(boot: Boot, tmp_path: Path) -> None:
    started = boot(
        "quiet overlayfs.mounts=/var",
        f"""
        test "$(cat /var/lib/app/conf)" = "from the image"
        echo changed >/var/lib/app/conf
        test "$(cat {VAR}/upper/lib/app/conf)" = changed
        test "$(cat {VAR}/lower/lib/app/conf)" = "from the image"
        mv /var/lib/app /var/lib/moved && test "$(cat /var/lib/moved/conf)" = changed
        test "$(stat -c %a {VAR} /var | tr '\n' ' ')" = "700 755 "
        grep ' {VAR}/lower ' /proc/self/mountinfo | grep -q ' ro,nosuid,nodev,noexec'
        test -z "$(grep ' {VAR}/lower ' /proc/self/mountinfo | grep shared:)"
        """,
    )
    assert started == ["run-buildroot-mounts-var.mount", "prepare-var-overlay.service", "var.mount"]
    assert (tmp_path / "root/var/lib/app/conf").read_text() == "from the image\n"


@pytest.mark.parametrize("cmdline", ["quiet", "overlayfs.mounts=no", "overlayfs.mounts systemd.volatile=overlay"])
@pytest.mark.parametrize("fstab", ["", NOFAIL])
def test_where_nobody_asks_nothing_is_done(cmdline: str, fstab: str, boot: Boot) -> None:
    script = f"{NO_OVERLAY}; test ! -e {VAR}/upper; test ! -e /run/overlay-generator"
    assert boot(cmdline, script, fstab) == (["run-buildroot-mounts-var.mount"] if fstab else [])


@pytest.mark.parametrize("fstab", [REQUIRED, NOFAIL])
def test_a_disk_keeps_what_was_written(fstab: str, boot: Boot, tmp_path: Path) -> None:
    device = tmp_path / "root/device"
    for name in ("image", "uuids", "names", "reset"):
        (device / name).write_text("of an image with Python\n")
    boot("overlayfs.mounts=/var", "echo mine >/var/lib/app/conf; chmod 750 /var; rm -r /var/lib/app/conf", fstab)
    state = '{"where": "/var", "backing": "/run/buildroot/mounts/var", "fallen_back": ""}'
    started = boot(
        "overlayfs.mounts=/var",
        f"""
        test ! -e /var/lib/app/conf; test "$(stat -c %a /var)" = 750
        test "$(cat /run/overlay-generator/var.json)" = '{state}'
        test ! -e /run/motd.d
        """,
        fstab,
    )
    assert started == ["run-buildroot-mounts-var.mount", "prepare-var-overlay.service", "var.mount"]
    # Another image may come next: nothing in the upper layer depends on this one's directories.
    assert "trusted.overlay.redirect" not in os.listxattr(device / "upper/lib/app")
    assert sorted(path.name for path in device.iterdir()) == ["lower", "upper", "work"]
    assert device.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("disk", ["", "ro"])
def test_memory_takes_the_place_of_a_nofail_disk_and_that_is_said(disk: str, boot: Boot, tmp_path: Path) -> None:
    started = boot(
        "overlayfs.mounts=/var",
        f"""
        touch /var/new
        test "$(stat -f -c %T {VAR})" = tmpfs
        test "$(stat -c %a {VAR})" = 700
        grep -q '"fallen_back": "{VAR} could not be mounted, or only read-only"' /run/overlay-generator/var.json
        grep -q '^WARNING: /var: NOT persistent: ' /run/motd.d/overlay-generator-var
        """,
        NOFAIL,
        disk,
    )
    assert started[-3:] == ["prepare-var-overlay.service", "warn-var-overlay.service", "var.mount"]
    assert not list((tmp_path / "root/device").iterdir())


@pytest.mark.parametrize("disk", ["", "ro"])
def test_without_nofail_nothing_takes_the_place_of_the_disk(disk: str, boot: Boot) -> None:
    script = f"{NO_OVERLAY}; test ! -e {VAR}/upper"
    assert boot("overlayfs.mounts=/var", script, REQUIRED, disk) == (["run-buildroot-mounts-var.mount"] if disk else [])


@pytest.mark.parametrize("word", ["yes", "/var"])
def test_a_reset_is_an_empty_upper_layer_once(word: str, boot: Boot, tmp_path: Path) -> None:
    device = tmp_path / "root/device"
    boot("overlayfs.mounts=/var", "echo mine >/var/lib/app/conf", REQUIRED)
    (device / "trash/0/upper/left").mkdir(parents=True)  # by an earlier boot that was cut off
    (device / "work/old").touch()
    started = boot(
        f"overlayfs.mounts=/var overlayfs.reset={word}",
        """
        test "$(cat /var/lib/app/conf)" = "from the image"
        test -e /run/overlay-generator/var.reset
        echo again >/var/lib/app/conf
        """,
        REQUIRED,
    )
    assert "reset-var-overlay.service" in started
    assert "trash-var-overlay.service" in started
    assert not (device / "work/old").exists()
    assert sorted(path.name for path in device.iterdir()) == ["lower", "upper", "work"]
    boot("overlayfs.mounts=/var", 'test "$(cat /var/lib/app/conf)" = again', REQUIRED)


def test_started_again_in_the_same_boot_nothing_is_reset(boot: Boot) -> None:
    boot("overlayfs.mounts=/var", "echo mine >/var/lib/app/conf", REQUIRED)
    started = boot(
        "overlayfs.mounts=/var overlayfs.reset=yes",
        "test -e /var/new",
        REQUIRED,
        between="touch /device/upper/new",
    )
    assert started.count("reset-var-overlay.service") == 1
    assert started.count("var.mount") == 2


@pytest.mark.parametrize("word", ["overlayfs.reset", "overlayfs.reset=no", "overlayfs.reset=/home", ""])
def test_in_doubt_nothing_is_reset(word: str, boot: Boot) -> None:
    boot("overlayfs.mounts=/var", "echo mine >/var/lib/app/conf", REQUIRED)
    boot(f"overlayfs.mounts=/var {word}", 'test "$(cat /var/lib/app/conf)" = mine', REQUIRED)


def test_a_boot_in_memory_leaves_the_disk_alone(boot: Boot, tmp_path: Path) -> None:
    device = tmp_path / "root/device"
    boot("overlayfs.mounts=/var", "echo mine >/var/lib/app/conf", NOFAIL)
    before = sorted((path, path.stat().st_mtime_ns) for path in device.rglob("*"))
    started = boot(
        "overlayfs.mounts=/var overlayfs.upper=volatile overlayfs.reset=yes",
        """
        test "$(cat /var/lib/app/conf)" = "from the image"
        echo other >/var/lib/app/conf
        test "$(cat /run/buildroot/volatile/var/upper/lib/app/conf)" = other
        test "$(grep -c ' /var ' /proc/self/mountinfo)" = 1
        """,
        NOFAIL,
    )
    assert started.index("volatile-var-overlay.service") < started.index("mount-var-overlay.service")
    assert not {"prepare-var-overlay.service", "var.mount", "reset-var-overlay.service"}.intersection(started)
    assert sorted((path, path.stat().st_mtime_ns) for path in device.rglob("*")) == before
    boot("overlayfs.mounts=/var", 'test "$(cat /var/lib/app/conf)" = mine', NOFAIL)


@pytest.mark.parametrize(("mode", "uid", "gid"), [(0o700, 0, 0), (0o1777, 0, 0), (0o2775, 33, 34), (0o750, 7, 7)])
@pytest.mark.parametrize("fstab", ["", REQUIRED])
def test_mode_and_owner_are_the_image_s_until_somebody_changes_them(
    fstab: str, mode: int, uid: int, gid: int, boot: Boot, tmp_path: Path
) -> None:
    var = tmp_path / "root/var"
    os.chown(var, uid, gid)
    var.chmod(mode)
    boot("overlayfs.mounts", f'test "$(stat -c "%a %u %g" /var)" = "{mode:o} {uid} {gid}"; chown 9:9 /var', fstab)
    if fstab:
        started = boot("overlayfs.mounts", 'test "$(stat -c "%u %g" /var)" = "9 9"; test ! -e /var/upper.new', fstab)
        assert "upper-var-overlay.service" not in started
        script = f'test "$(stat -c "%a %u %g" /var)" = "{mode:o} {uid} {gid}"'
        boot("overlayfs.mounts overlayfs.reset=yes", script, fstab)


@pytest.mark.parametrize("name", ["a b", "100%", "it's", 'say "it"', "a\\b", "$HOME", "-dash", "semi;colon"])
def test_directories_with_odd_names(name: str, boot: Boot, tmp_path: Path) -> None:
    (tmp_path / "root/srv" / name).mkdir(parents=True)
    quote = "'" if '"' in name else '"'
    script = 'for d in /srv/*/; do touch "$d/new"; done; test -e /run/buildroot/*/srv-*/upper/new'
    words = f"overlayfs.mounts={quote}/srv/{name}{quote}"
    for more, fstab in (("", ""), (" overlayfs.upper=volatile", "LABEL=x /run/buildroot/mounts ext4 nofail 0 2\n")):
        boot("overlayfs.mounts" + more, script, fstab, "", words=words)
    assert not list((tmp_path / "root/srv" / name).iterdir())


ALL = "LABEL=data /run/buildroot/mounts ext4 nofail 0 2\n"


@pytest.mark.parametrize(
    ("fstab", "more", "root"),
    [("", "", "mounts"), (ALL, "", "mounts"), (ALL, "overlayfs.upper=volatile", "volatile")],
)
def test_nested_overlays_have_the_image_below_them(fstab: str, more: str, root: str, boot: Boot) -> None:
    boot(
        f"overlayfs.mounts {more}",
        f"""
        touch /var/lib/app/inner /var/outer
        test -e /run/buildroot/{root}/var-lib-app/upper/inner
        test ! -e /run/buildroot/{root}/var/upper/lib/app/inner
        test -e /run/buildroot/{root}/var/upper/outer
        test "$(stat -f -c %T /run/buildroot/{root}/var-lib-app/lower)" != overlayfs
        test "$(cat /var/lib/app/conf)" = "from the image"
        """,
        fstab,
        "",
        words="overlayfs.mounts=/var,/var/lib/app",
    )
