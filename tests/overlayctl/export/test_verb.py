# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl export: what is in the tar and in the list, also for things that no tar can hold.

diff_fuzz.py shows that the image with the export laid over it is what the overlay shows.
"""

import io
import os
import socket
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from device import Device, needs_mounts
from handmade import Tree, run_command
from product import REPOSITORY, Run

pytestmark = needs_mounts

OLD = 10**18


class Exported(Tree):
    """Layers made by hand, and overlayctl export run on them."""

    def __init__(self, top: Path) -> None:
        super().__init__(top)
        self.file, self.list = top / "changes.tar", top / "deleted"

    def export(self, *words: str, file: str = "") -> "subprocess.CompletedProcess[str]":
        layers = ["--upper", str(self.upper), "--lower", str(self.lower), "--where", "/var"]
        return run_command("export", *layers, "--deletions", str(self.list), file or str(self.file), *words)

    def members(self) -> "dict[str, tarfile.TarInfo]":
        with tarfile.open(self.file) as tar:
            return {member.name: member for member in tar}


@pytest.fixture
def tree(tmp_path: Path) -> Exported:
    tree = Exported(tmp_path)
    tree.put(tree.lower, "deleted", "x")
    tree.put(tree.lower, "replaced/in", "x")
    tree.put(tree.lower, "equal", "x")
    os.mknod(tree.upper / "deleted", stat.S_IFCHR, 0)
    tree.put(tree.upper, "replaced", "x")
    tree.put(tree.upper, "equal", "x")
    tree.put(tree.upper, "new", "new\n", 0o4751)
    return tree


def test_members_and_deletions(tree: Exported) -> None:
    done = tree.export()
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    members = tree.members()
    assert list(members) == ["var/new", "var/replaced"]
    new = members["var/new"]
    assert (new.mode, new.uid, new.gid, new.uname, new.mtime, new.size) == (0o4751, 0, 0, "", OLD // 10**9, 4)
    assert tree.list.read_text() == "var/deleted\nvar/replaced\n"
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tree.file, tree.list)} == {0o600}


def test_standard_output(tree: Exported) -> None:
    tree.export()
    words = [sys.executable, "-m", "overlayctl", "export", "--upper", str(tree.upper), "--lower", str(tree.lower)]
    done = subprocess.run(
        [*words, "--where", "/var", "-"], capture_output=True, cwd=REPOSITORY / "generator", check=True
    )
    assert done.stdout == tree.file.read_bytes()
    assert b"2 paths have to be deleted: not in the tar, see --deletions" in done.stderr


def test_same_bytes(tree: Exported, tmp_path: Path) -> None:
    """Whatever the order in which the entries were made."""
    tree.export()
    (tmp_path / "other").mkdir()
    other = Exported(tmp_path / "other")
    subprocess.run(["cp", "-a", f"{tree.lower}/.", other.lower], check=True)
    for name in sorted(os.listdir(tree.upper), reverse=True):
        subprocess.run(["cp", "-a", tree.upper / name, other.upper], check=True)
    other.export()
    assert other.file.read_bytes() == tree.file.read_bytes()


def test_attributes(tree: Exported) -> None:
    for name, value in {"trusted.x": b"\0\xff=\n", "trusted.overlay.origin": b"", "security.y": b""}.items():
        os.setxattr(tree.upper / "new", name, value)
    tree.export()
    headers = tree.members()["var/new"].pax_headers
    found = {key: value.encode("utf-8", "surrogateescape") for key, value in headers.items() if "xattr" in key}
    assert found == {"SCHILY.xattr.trusted.x": b"\0\xff=\n", "SCHILY.xattr.security.y": b""}


def test_times_are_exact(tree: Exported) -> None:
    os.utime(tree.upper / "new", ns=(0, 1_795_447_450_402_492_806))
    tree.export()
    # tarfile itself reads a float.
    assert b"mtime=1795447450.402492806\n" in tree.file.read_bytes()


def test_hard_links(tree: Exported) -> None:
    os.link(tree.upper / "new", tree.upper / "z")
    # Equal to the image's, but with another name.
    os.link(tree.upper / "equal", tree.upper / "equal2")
    tree.export()
    members = tree.members()
    assert {name: member.linkname for name, member in members.items() if member.islnk()} == {
        "var/equal2": "var/equal",
        "var/z": "var/new",
    }


def test_special_files(tree: Exported) -> None:
    os.mkfifo(tree.upper / "fifo")
    os.mknod(tree.upper / "device", stat.S_IFBLK | 0o600, os.makedev(7, 300))
    (tree.upper / "link").symlink_to("x" * 200)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tree.upper / "socket"))
    done = tree.export()
    members = tree.members()
    assert members["var/fifo"].isfifo()
    assert (members["var/device"].devmajor, members["var/device"].devminor) == (7, 300)
    assert members["var/link"].linkname == "x" * 200
    assert "var/socket" not in members
    assert (done.returncode, done.stderr) == (0, "overlayctl: /var/socket: a socket can't be in a tar; left out\n")


def test_moved_and_opaque_directories_have_the_content_of_the_image(tree: Exported) -> None:
    tree.put(tree.lower, "old/deep/file", "image\n")
    (tree.upper / "moved").mkdir()
    os.setxattr(tree.upper / "moved", "trusted.overlay.redirect", b"/old")
    os.mknod(tree.upper / "old", stat.S_IFCHR, 0)
    (tree.lower / "hidden").mkdir()
    tree.put(tree.lower, "hidden/file", "x")
    (tree.upper / "hidden").mkdir()
    os.setxattr(tree.upper / "hidden", "trusted.overlay.opaque", b"y")
    tree.export()
    assert {"var/moved", "var/moved/deep", "var/moved/deep/file"} < set(tree.members())
    assert {"var/hidden/file", "var/old"} < set(tree.list.read_text().split())


def test_attribute_taken_from_a_directory(tree: Exported) -> None:
    (tree.lower / "d").mkdir()
    (tree.upper / "d").mkdir()
    os.setxattr(tree.lower / "d", "trusted.x", b"")
    done = tree.export()
    assert done.returncode == 3
    assert done.stderr == "overlayctl: /var/d: a tar can't say that it no longer has trusted.x; left out\n"


def test_names_with_line_breaks_need_null(tree: Exported) -> None:
    tree.put(tree.lower, "a\nb", "")
    os.mknod(tree.upper / "a\nb", stat.S_IFCHR, 0)
    done = tree.export()
    assert (done.returncode, "--null" in done.stderr) == (3, True)
    # No unfinished file is left behind.
    assert sorted(os.listdir(tree.file.parent)) == ["lower", "upper"]
    assert tree.export("--null").returncode == 0
    assert tree.list.read_bytes().split(b"\0") == [b"var/a\nb", b"var/deleted", b"var/replaced", b""]


def test_one_path(tree: Exported) -> None:
    tree.export("new")
    assert (list(tree.members()), tree.list.read_text()) == (["var/new"], "")


def test_a_tar_inside_of_what_it_holds(tree: Exported) -> None:
    done = tree.export(file=str(tree.upper / "x.tar"))
    assert (done.returncode, "which is exported; write it elsewhere" in done.stderr) == (3, True)


def test_a_full_disk(tree: Exported) -> None:
    done = tree.export(file="/dev/full")
    assert (done.returncode, done.stderr) == (3, "overlayctl: /dev/full: No space left on device\n")
    done = tree.export(file="/gone/x.tar")
    assert (done.returncode, done.stderr) == (3, "overlayctl: /gone/x.tar: No such file or directory\n")


def test_other_tools_read_it(tree: Exported, tmp_path: Path) -> None:
    os.setxattr(tree.upper / "new", "trusted.x", b"value")
    tree.export()
    (tmp_path / "out").mkdir()
    words = ["--xattrs", "--xattrs-include=*"]
    done = subprocess.run(["tar", "-C", tmp_path / "out", "-xpf", tree.file, *words], capture_output=True, check=True)
    assert done.stderr == b""
    assert os.getxattr(tmp_path / "out/var/new", "trusted.x") == b"value"


def test_on_a_device(run: Run, image: Path, tmp_path: Path) -> None:
    device = Device(run, image, tmp_path)
    text = device.boot(
        "echo mine >/var/lib/app/conf; rm /var/lib/app/other; overlayctl export --deletions /tmp/list /tmp/x.tar;"
        " overlayctl export /var/x.tar 2>&1 || echo $?"
    )
    assert "/var/x.tar lies in /var, which is exported" in text
    assert (device.root / "tmp/list").read_text() == "var/lib/app/other\n"
    with tarfile.open(fileobj=io.BytesIO((device.root / "tmp/x.tar").read_bytes())) as tar:
        assert tar.getnames() == ["var/lib/app/conf"]
