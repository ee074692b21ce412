# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attributes that anybody may set on files of their own: so many that the kernel lists none costs no boot."""

import errno
import os
import posix
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import stamp
from overlay_prepare.files import (
    find_attributes,
    list_attributes,
    list_known,
    read_attribute,
    remove_attribute,
    set_attribute,
)
from overlay_prepare.imagecopy import copy_missing
from overlay_prepare.manifest import describe
from overlay_prepare.marks import mark_whiteouts
from overlay_prepare.normalise import normalise
from overlay_prepare.opaque import is_opaque
from overlay_prepare.report import describe as spell_error
from overlay_prepare.upper import copy_attributes, follow_attributes
from overlayctl.layers.compare import find_differences
from persistentdevice import NEW, Device, pretend
from policyupdate import Update
from tree import OPAQUE, ORIGIN, fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and trusted attributes need root")

ACL = bytes.fromhex("02000000 01000700ffffffff 0200 0700 d2040000 04000500ffffffff 10000500ffffffff 20000000ffffffff")
ACCESS = "system.posix_acl_access"
MANY = "has too many attributes to be listed"


@pytest.fixture(params=["xfs", "btrfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[Path]":
    """A file system that limits the attributes of one file only by its size."""
    yield from mount_new(tmp_path, request.param)


def mount_new(tmp_path: Path, kind: str) -> "Iterator[Path]":
    image, at = tmp_path / "disk.img", tmp_path / "disk"
    at.mkdir()
    with image.open("w") as file:
        file.truncate(320 << 20)
    for command in ([f"mkfs.{kind}", "-qf", image], ["mount", "-o", "loop", image, at]):
        try:
            subprocess.run([str(word) for word in command], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("can't be made or mounted here")
    yield at
    # Lazily: where a test fails, its exception keeps directories open.
    subprocess.run(["umount", "-l", str(at)], check=True)


def crowd(*paths: Path) -> None:
    """Make the list of names longer than 64 KiB, as the owner of the file may."""
    for path in paths:
        for number in range(400):
            os.setxattr(path, f"user.{number}{'x' * 200}", b"")
        with pytest.raises(OSError, match="Argument list too long"):
            os.listxattr(path)


def test_what_is_asked_for_by_name_is_found_in_a_crowd(disk: Path) -> None:
    fill(disk, "file")
    path, text = disk / "file", str(disk / "file")
    for name, value in ((OPAQUE, b"y"), (ORIGIN, b""), (ACCESS, ACL)):
        os.setxattr(path, name, value)
    assert set(list_known(text, text)[0]) >= {OPAQUE, ORIGIN, ACCESS}
    assert list_known(text, text)[1]
    crowd(path)
    fd = os.open(path, os.O_RDONLY)
    for at in (text, fd):
        assert list_known(at, text) == ([OPAQUE, ORIGIN, ACCESS], False)
        assert find_attributes(at, text, (ORIGIN, "trusted.none", "user.0" + "x" * 200)) == [
            ORIGIN,
            "user.0" + "x" * 200,
        ]
        assert read_attribute(at, text, OPAQUE) == b"y"
        with pytest.raises(OSError, match="Argument list too long"):
            list_attributes(at)
    assert remove_attribute(fd, text, OPAQUE)
    assert not remove_attribute(text, text, OPAQUE)
    assert not is_opaque(fd)
    os.close(fd)


def test_marks_are_found_and_references_go_in_a_crowd(disk: Path) -> None:
    upper = fill(disk / "upper", "d/ opaque", "d/file", "e/gone!")
    (disk / "work").mkdir()
    for name in ("d", "d/file"):
        os.setxattr(upper / name, ORIGIN, b"x")
        os.setxattr(upper / name, "trusted.overlay.nlink", b"x")
    crowd(upper / "d", upper / "d/file", upper / "e")
    assert normalise(hold(upper), hold(disk / "work")) == (4, ["d"])
    assert os.getxattr(upper / "d", ORIGIN) == os.getxattr(upper / "e", ORIGIN) == b""
    for name, mark in (("d/file", ORIGIN), ("d/file", "trusted.overlay.nlink"), ("d", "trusted.overlay.nlink")):
        assert read_attribute(str(upper / name), "", mark) is None
    assert is_opaque(hold(upper / "d").fd)


@pytest.mark.parametrize("policy", ["keep", "refresh", "prune", "reset"])
def test_no_user_keeps_an_update_from_its_end(
    policy: str, disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend(disk, monkeypatch)
    device = Device(disk)
    device.boot()
    fill(device.where, "lib/user/old=1")
    device.use()
    fill(device.upper, "lib/user/mine", "lib/docker/ opaque")
    crowd(device.upper / "lib/user", device.upper / "lib/user/mine", device.upper / "o", device.upper / "lib/docker")
    crowd(device.upper / "lib/docker/layer", device.upper)
    device.update()
    fill(device.where, "lib/user/new=2")
    (device.where / "lib/user").chmod(0o700)
    capsys.readouterr()
    device.boot(policy, direct=("lib/docker",) if policy != "reset" else ())
    said = capsys.readouterr().err
    assert stamp.is_current(hold(device.backing), NEW)
    assert "Argument list too long" not in said
    if policy == "reset":
        return
    (passed,) = device.backing.glob("direct/*")
    assert (passed / "layer").read_text() == "mine"
    assert read_attribute(str(passed), "", OPAQUE) is None
    assert (device.upper / "lib/user/mine").is_file()
    assert read_attribute(str(device.upper / "o"), "", OPAQUE) is None, "opened for what the image adds"
    if policy == "prune":
        assert (device.upper / "lib/user").stat().st_mode & 0o7777 == 0o700
        path = f"{device.upper}/lib/user"
        assert f"<4>{path} {MANY}, and keeps those that users have set\n" in said


@pytest.mark.parametrize("had", ["source", "target"])
def test_access_follows_where_not_all_can_be_told(had: str, disk: Path) -> None:
    source, target = disk / "source", disk / "target"
    source.mkdir()
    target.mkdir()
    os.setxattr(disk / had, ACCESS, ACL)
    crowd(source, target)
    source.chmod(0o750)
    with hold(source) as of, hold(target) as made:
        assert follow_attributes(f"/proc/self/fd/{of.fd}/.", made.fd, "/the/path") == [
            f"/the/path {MANY}, and keeps those that users have set",
            f"/the/path {MANY}: of those that users have set none is copied",
        ]
    assert target.stat().st_mode == source.stat().st_mode
    assert read_attribute(str(target), "", ACCESS) == read_attribute(str(source), "", ACCESS)


def test_a_copy_of_what_can_not_be_told_is_told(disk: Path) -> None:
    source, target = disk / "source", disk / "target"
    source.mkdir()
    target.mkdir()
    crowd(source)
    os.setxattr(source, OPAQUE, b"y")
    assert copy_attributes(str(source), str(target)) == [
        f"{source} {MANY}: of those that users have set none is copied"
    ]
    assert os.listxattr(target) == []
    assert describe(str(source)) == ""


def give(disk: Path, path: Path) -> bool:
    """Give `path` what the disk lists by itself, and false if it lists nothing."""
    if "btrfs" in subprocess.run(["stat", "-fc", "%T", str(disk)], check=True, capture_output=True, text=True).stdout:
        os.setxattr(path, "btrfs.compression", b"zstd")
    else:
        try:
            os.setxattr(path, ACCESS, ACL)
        except OSError:
            pytest.skip("has no ACLs")
    return any(name.startswith(("btrfs.", "trusted.SGI_")) for name in os.listxattr(path))


def test_what_the_disk_adds_makes_no_copy_another_file(disk: Path, tmp_path: Path) -> None:
    """A property of btrfs, which new files inherit; on xfs an ACL is listed twice."""
    update = Update(disk)
    update.where = tmp_path / "var"
    fill(update.where, "d/x=1", "conf=1")
    update.copy_up("d", "d/x", "conf")
    for name in ("d", "d/x", "conf"):
        assert give(disk, update.upper / name)
        if ACCESS in os.listxattr(update.upper / name):
            assert not give(tmp_path, update.where / name)
    for name in ("d/x", "conf"):
        old, real = update.where / name, update.upper / name
        os.utime(real, ns=(old.stat().st_atime_ns, old.stat().st_mtime_ns))
        assert find_differences(bytes(real), real.stat(), bytes(old), old.stat(), b"", None) == ()
    update.note_image()
    update.change_image("d/x=2", "conf=2", "d/y=2")
    fill(update.upper, "d/mine")
    (update.where / "d").chmod(0o700)
    assert update.apply("refresh") == (2, "")
    assert update.kinds() == {"d": "directory", "d/mine": "file"}
    assert (update.upper / "d").stat().st_mode & 0o7777 == 0o700


def test_what_the_image_s_disk_adds_is_not_copied(disk: Path, tmp_path: Path) -> None:
    image, made = fill(disk / "image", "d/x", "y"), fill(tmp_path / "made")
    for path in (image, image / "d", image / "d/x", image / "y"):
        assert give(disk, path)
    with hold(made) as target:
        copy_missing(str(image), target, None)
    for path in (made, made / "d", made / "d/x", made / "y"):
        assert [name for name in os.listxattr(path) if name != ACCESS] == []


def test_a_message_has_a_path_and_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: object, *_arguments: object, **_options: object) -> None:
        raise OSError(errno.EIO, "Input/output error", path)

    for name in ("listxattr", "getxattr", "setxattr", "removexattr"):
        monkeypatch.setattr(posix, name, fail)
    with hold(tmp_path) as folder:
        for act in (
            lambda: list_known(folder.fd, folder.path),
            lambda: find_attributes(folder.fd, folder.path, (OPAQUE,)),
            lambda: read_attribute(folder.fd, folder.path, OPAQUE),
            lambda: set_attribute(folder.fd, folder.path, OPAQUE, b"y"),
            lambda: remove_attribute(folder.fd, folder.path, OPAQUE),
            lambda: mark_whiteouts(folder),
        ):
            with pytest.raises(OSError, match="Input/output error") as caught:
                act()
            assert spell_error(caught.value) == f"{tmp_path}: Input/output error"
        with pytest.raises(OSError, match="Input/output error") as caught:
            is_opaque(folder.fd)
        assert spell_error(caught.value) == "Input/output error"
    assert spell_error(OSError(errno.EIO, "Input/output error", 8)) == "Input/output error"


def test_a_value_that_is_longer_than_any_is_none_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only another system can have written it."""

    def fail(path: object, *_arguments: object, **_options: object) -> None:
        raise OSError(errno.E2BIG, "Argument list too long", path)

    monkeypatch.setattr(posix, "getxattr", fail)
    assert not is_opaque(hold(tmp_path).fd)
    assert read_attribute(str(tmp_path), "", ORIGIN)
