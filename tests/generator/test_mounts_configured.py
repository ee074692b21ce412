# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real mounts of what the configuration asks for, and of what a reset leaves. Needs root, nothing else."""

import os
import shutil
from pathlib import Path

import pytest

from bootmounts import VAR, Check
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

CONF = "etc/overlay-generator.conf"


@pytest.mark.parametrize("disk", ["", "/disk"])
def test_what_is_passed_through_lies_beside_the_overlay(disk: str, check: Check, tmp_path: Path) -> None:
    root = fill(tmp_path / "root", "disk/", "var/lib/docker/base=image", "var/lib/docker/dir/x")
    (root / "etc").mkdir()
    (root / CONF).write_text("[/var]\nPassthrough=/var/lib/docker '/var/a b'\n")
    os.chown(root / "var/lib/docker", 5, 6)
    check(
        "overlayfs.mounts=yes",
        f"""
        test "$(stat -f -c %T /var/lib/docker)" != overlayfs
        test "$(stat -f -c %T /var/lib)" = overlayfs
        test "$(stat -c "%u %g" /var/lib/docker)" = "5 6"
        test "$(cat /var/lib/docker/base)" = image
        echo mine >/var/lib/docker/mine
        echo mine >"/var/a b/mine"
        test -e {VAR}/direct/var-lib-docker/mine && test -e {VAR}/direct/var-a_20b/mine
        test ! -e {VAR}/upper/lib/docker/mine
        test ! -e {VAR}/lower/lib/docker/mine
        # What the overlay in memory and a disk of its own can do, an overlay on it could as well.
        cd /var/lib/docker
        mkdir l u w m
        mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay m
        touch m/file
        """,
        disk=disk,
    )
    assert not (root / "var/lib/docker/mine").exists()


def test_at_the_next_boot_it_is_as_it_was_left(check: Check, tmp_path: Path) -> None:
    root = fill(tmp_path / "root", "disk/", "var/lib/docker/base=1")
    (root / "etc").mkdir()
    (root / CONF).write_text("[/var]\nPassthrough=/var/lib/docker\n")
    check("overlayfs.mounts=yes", "rm /var/lib/docker/base; echo mine >/var/lib/docker/mine", disk="/disk")
    shutil.rmtree(tmp_path / "out")
    check("overlayfs.mounts=yes", 'test "$(ls /var/lib/docker)" = mine', disk="/disk")


def test_what_was_written_before_it_was_passed_through_is_there(check: Check, tmp_path: Path) -> None:
    root = fill(tmp_path / "root", "disk/", "var/lib/docker/base=1", "var/lib/docker/old=1")
    check("overlayfs.mounts=/var", "rm /var/lib/docker/old; echo mine >/var/lib/docker/mine", disk="/disk")
    shutil.rmtree(tmp_path / "out")
    (root / CONF).write_text("[/var]\nPassthrough=/var/lib/docker\n")
    script = 'test "$(echo $(ls /var/lib/docker))" = "base mine"; test "$(stat -f -c %T /var/lib/docker)" != overlayfs'
    check("overlayfs.mounts=/var", script, disk="/disk")


def test_without_its_disk_nothing_is_passed_through(check: Check, tmp_path: Path) -> None:
    root = fill(tmp_path / "root", "var/lib/docker/base=1")
    (root / "etc").mkdir()
    (root / CONF).write_text("[/var]\nPassthrough=/var/lib/docker\n")
    output = check(
        "overlayfs.mounts=yes",
        "! grep -q ' /var/lib/docker ' /proc/self/mountinfo",
        fstab=f"LABEL=data {VAR} ext4 defaults 0 2\n",
    )
    assert "skipped var-lib-docker.mount" in output.splitlines()


def test_where_memory_replaces_the_disk_it_is_passed_through_in_memory(check: Check, tmp_path: Path) -> None:
    root = fill(tmp_path / "root", "var/lib/docker/base=1")
    (root / "etc").mkdir()
    (root / CONF).write_text("[/var]\nPassthrough=/var/lib/docker\nSize=8M\n")
    check(
        "overlayfs.mounts=yes",
        f"""
        test "$(stat -f -c %T /var/lib/docker)" = tmpfs
        test "$(cat /var/lib/docker/base)" = 1
        grep ' {VAR} ' /proc/self/mountinfo | grep -q size=8192k
        """,
        fstab=f"LABEL=none {VAR} ext4 nofail 0 2\n",
    )


def test_size_inodes_flags_and_options(check: Check, tmp_path: Path) -> None:
    root = fill(tmp_path / "root", "var/lib/tool=#!/bin/sh\n")
    (root / "var/lib/tool").chmod(0o755)
    (root / "etc").mkdir()
    (root / CONF).write_text("[/var]\nSize=1M\nInodes=50\nFlags=noexec nosuid\nOptions=redirect_dir=off\n")
    check(
        "overlayfs.mounts=yes",
        f"""
        grep ' {VAR} ' /proc/self/mountinfo | grep -q 'size=1024k,nr_inodes=50'
        grep ' /var ' /proc/self/mountinfo | grep -q 'nosuid,noexec'
        ! /var/lib/tool 2>/dev/null
        ! python3 -c 'import os; os.rename("/var/lib/app", "/var/lib/moved")' 2>/dev/null
        """,
    )


# Combinations that are accepted in memory: the kernel has to accept each of them too, as a mount that fails ends in an
# emergency shell.
OPTIONS = [
    "redirect_dir=off", "redirect_dir=follow", "redirect_dir=nofollow", "index=off", "xino=auto", "xino=off",
    "metacopy=on", "nfs_export=on", "volatile", "index=off nfs_export=on", "metacopy=on redirect_dir=off",
    "metacopy=on nfs_export=on", "nfs_export=on redirect_dir=nofollow", "index=off metacopy=on xino=off",
]  # fmt: skip


def test_every_combination_of_options_that_is_taken_can_be_mounted(check: Check, tmp_path: Path) -> None:
    names = [f"/srv/{number}" for number in range(len(OPTIONS))]
    root = fill(tmp_path / "root", *(f"{name[1:]}/" for name in names))
    (root / "etc").mkdir()
    (root / CONF).write_text("".join(f"[{name}]\nOptions={option}\n" for name, option in zip(names, OPTIONS)))
    check("overlayfs.mounts=yes", "\n".join(f"touch {name}/new" for name in names), faults=True)


def _change(names: str) -> str:
    """What a user does with a running overlay: all the marks that the kernel has for it."""
    return f"""
        cd /var/lib
        for d in {names}; do
            echo mine >$d/changed; rm $d/deleted; rm -r $d/gone
            rm -r $d/opaque; mkdir $d/opaque; echo mine >$d/opaque/mine
            rm $d/turned; mkdir $d/turned; echo mine >$d/turned/in
            chmod 700 $d/dir; echo mine >$d/own; ln -s own $d/link
        done
        echo mine >/var/mine
    """


def _image(root: Path, *names: str) -> None:
    files = ("changed", "deleted", "gone/a", "gone/b", "opaque/a", "opaque/b/c", "turned", "dir/x")
    fill(root, *(f"var/lib/{name}/{file}=image" for name in names for file in files))


@pytest.mark.parametrize(("request_text", "restored", "left"), [
    ("path /var/lib/a\n", ["a"], ["b"]),
    ("path /var/lib/a/opaque/b\npath /var/lib/a/gone\npath /var/lib/a/turned\n", [], ["b"]),
    ("all\n", ["a", "b"], []),
    ("all\nkeep /var/lib/b\n", ["a"], ["b"]),
])  # fmt: skip
def test_after_a_reset_the_view_is_that_of_the_image(
    request_text: str, restored: "list[str]", left: "list[str]", check: Check, tmp_path: Path
) -> None:
    root = fill(tmp_path / "root", "disk/")
    _image(root, "a", "b")
    check("overlayfs.mounts=/var", _change("a b"), disk="/disk")
    (root / "disk/reset").write_text(request_text)
    shutil.rmtree(tmp_path / "out")
    same = "".join(f"diff -r /var/lib/{name} {VAR}/lower/lib/{name}; test \"$(stat -c %a /var/lib/{name}/dir)\" = 755\n"
                   for name in restored)  # fmt: skip
    user = "".join(
        f"""
        cd /var/lib/{name}
        test "$(cat changed own link opaque/mine turned/in)" = "$(printf 'mine\\nmine\\nmine\\nmine\\nmine')"
        test ! -e deleted && test ! -e gone && test ! -e opaque/a && test ! -e opaque/b
        test "$(stat -c %a dir)" = 700
        """
        for name in left
    )
    parts = f"""
        diff -r /var/lib/a/opaque/b {VAR}/lower/lib/a/opaque/b
        test ! -e /var/lib/a/opaque/a; test -e /var/lib/a/opaque/mine
        diff -r /var/lib/a/gone {VAR}/lower/lib/a/gone
        test "$(cat /var/lib/a/turned)" = image; test "$(cat /var/lib/a/changed)" = mine
    """
    whole = request_text.startswith("all")
    check(
        "overlayfs.mounts=/var",
        f"{same}\n{user}\n{parts if 'gone' in request_text else ''}\ntest {'! -e' if whole else '-e'} /var/mine\n"
        f"test ! -e {VAR}/reset; touch /var/lib/a/changed /var/lib/a/opaque/new",
        disk="/disk",
    )


@pytest.mark.parametrize(("name", "value"), [
    ("security.selinux", b"system_u:object_r:var_t:s0\0"), ("security.SMACK64", b"_"), ("user.note", b"x"),
])  # fmt: skip
@pytest.mark.parametrize("disk", ["", "/disk"])
def test_labels_of_the_directory_are_those_of_the_overlay(
    name: str, value: bytes, disk: str, check: Check, tmp_path: Path
) -> None:
    root = fill(tmp_path / "root", "disk/", "var/")
    try:
        os.setxattr(root / "var", name, value)
    except OSError as error:
        pytest.skip(f"{name} can't be set here: {error.strerror}")
    script = f'import os; assert os.getxattr("{VAR}/upper", "{name}") == {value!r}'
    check("overlayfs.mounts=/var", f"python3 -c {_quote(script)}", disk=disk)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
