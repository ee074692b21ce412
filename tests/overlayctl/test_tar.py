# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tars as GNU tar and Python read them: whatever a user can make comes back."""

import io
import os
import socket
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from overlayctl import tar
from overlayctl.outfile import whole
from overlayctl.stage import backup
from overlayctl.stage.request import Place
from overlayctl.tar import find_parts, spell_time

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices need root")


def pack(top: Path) -> Path:
    """The upper layer in `top` as a backup of /var."""
    backup.write(str(top / "backup.tar"), [Place("/var", str(top))])
    return top / "backup.tar"


def unpack(top: Path) -> Path:
    """What GNU tar makes of it."""
    out = top / "out"
    out.mkdir()
    words = ["--xattrs", "--xattrs-include=*", "--same-owner", "--numeric-owner"]
    words += ["--warning=no-unknown-keyword", "--warning=no-timestamp"]
    done = subprocess.run(["tar", "-C", out, "-xpf", pack(top), *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return out / "var"


def attributes_of(path: "Path | bytes") -> "dict[str, bytes]":
    names = [name for name in os.listxattr(path, follow_symlinks=False) if name != "security.selinux"]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def describe(path: bytes) -> "tuple[object, ...]":
    info = os.lstat(path)
    content: object = b""
    if stat.S_ISREG(info.st_mode):
        with open(path, "rb") as stream:
            content = stream.read(1 << 20)
    elif stat.S_ISLNK(info.st_mode):
        content = os.readlink(path)
    time = 0 if stat.S_ISLNK(info.st_mode) else info.st_mtime_ns
    return info.st_mode, info.st_uid, info.st_gid, info.st_rdev, time, attributes_of(path), content


def read_all(top: Path) -> "dict[bytes, tuple[object, ...]]":
    start = os.fsencode(top)
    found = {b"": describe(start)}
    for folder, folders, files in os.walk(start):
        found.update({f"{folder.decode('latin-1')}/{name.decode('latin-1')}".encode("latin-1")[len(start) :]: describe(
            folder + b"/" + name) for name in folders + files})  # fmt: skip
    return found


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    upper = tmp_path / "upper"
    upper.mkdir(mode=0o1777)
    os.chmod(upper, 0o1777)
    return upper


def test_everything_comes_back(upper: Path, tmp_path: Path) -> None:
    names = [
        b"\xff\xfe", b"a\nb", b"-rf", b"--checkpoint=1", b"x" * 255, "ä".encode(), b"a b", b"sub/" + b"y" * 200,
        b"deep/" * 30 + b"z", b"\x1b[2J", b"q\\w", b"%s=5",
    ]  # fmt: skip
    for number, name in enumerate(names):
        path = os.fsencode(upper) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(b"x" * number * 300)
        os.chown(path, 70000 * number, 3_000_000 * number)
        os.chmod(path, 0o4755 if number % 2 else 0o600)
        os.utime(path, ns=(0, (number - 4) * 10**18 + 123_456_700))
    for target in ("/absolute", "../" * 300 + "far", "dotted/./x"):
        (upper / f"link-{len(target)}").symlink_to(target)
    os.symlink(b"\xff", os.fsencode(upper) + b"/not-text")
    os.mkfifo(upper / "fifo")
    os.mknod(upper / "whiteout", stat.S_IFCHR, 0)
    os.mknod(upper / "disk", stat.S_IFBLK | 0o640, os.makedev(259, 70000))
    os.link(upper / "a b", upper / "zz-link")
    found = unpack(tmp_path)
    assert read_all(found) == read_all(upper)
    assert (found / "a b").stat().st_ino == (found / "zz-link").stat().st_ino


ATTRIBUTES = [
    (b"trusted.a=b", b"1"), (b"trusted.a", b"2"), (b"trusted.100%", b"3"), (b"trusted.%3D", b"4"),
    (b"trusted.\xff", b"5"), ("trusted.ä".encode(), b"6"), (b"trusted.x", b"\0\xff=\n\x1b"), (b"trusted.y", b""),
    (b"trusted.overlay.opaque", b"y"), (b"security.x", b"\xff" * 2000),
]  # fmt: skip


def test_attributes_whatever_their_names(upper: Path, tmp_path: Path) -> None:
    for path in (upper / "file", upper / "directory"):
        path.touch() if path.name == "file" else path.mkdir()
        for name, value in ATTRIBUTES:
            os.setxattr(path, os.fsdecode(name), value)
        os.setxattr(path, "trusted.overlay.origin", b"x")
    (upper / "link").symlink_to("x")
    os.setxattr(upper / "link", "trusted.x", b"of the link", follow_symlinks=False)
    found = unpack(tmp_path)
    expected = {os.fsdecode(name): value for name, value in ATTRIBUTES}
    for kind in ("file", "directory"):
        assert attributes_of(found / kind) == expected
    assert attributes_of(found / "link") == {"trusted.x": b"of the link"}


@pytest.mark.parametrize("size", [1 << 40, (1 << 20) + 5])
def test_holes_stay_holes(size: int, upper: Path, tmp_path: Path) -> None:
    pieces = {0: b"first", 1 << 19: b"middle" * 1000, size - 3: b"end"}
    with open(upper / "sparse", "wb") as stream:
        for offset, data in pieces.items():
            stream.seek(offset)
            stream.write(data)
    with open(upper / "empty", "wb") as stream:
        stream.truncate(size)
    with open(upper / "behind", "wb") as stream:
        stream.write(b"x" * 10000)
        stream.truncate(size)
    packed = pack(tmp_path)
    assert packed.stat().st_size < 1 << 20
    found = unpack(tmp_path)
    for name in ("sparse", "empty", "behind"):
        info, old = (found / name).stat(), (upper / name).stat()
        assert (info.st_size, info.st_mtime_ns) == (old.st_size, old.st_mtime_ns)
        assert info.st_blocks <= old.st_blocks + 16
    with open(found / "sparse", "rb") as stream:
        for offset, data in pieces.items():
            stream.seek(offset)
            assert stream.read(len(data)) == data
    with tarfile.open(packed) as archive:
        sparse = archive.getmember("var/sparse")
        assert (sparse.size, sparse.issparse()) == (size, True)
        content = archive.extractfile(sparse)
        assert content
        content.seek(size - 3)
        assert content.read() == b"end"


def test_a_file_of_a_million_holes_needs_no_memory(upper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller holes are filled in until few are left."""
    monkeypatch.setattr(tar, "_MOST_PARTS", 50)
    with open(upper / "x", "wb") as stream:
        for number in range(1000):
            stream.seek(number * 16384)
            stream.write(b"x")
        stream.truncate(1 << 30)
    with open(upper / "x", "rb") as stream:
        parts = find_parts(stream.fileno(), 1 << 30)
        assert len(parts) <= 51
        assert sum(length for _, length in parts) <= 1001 * 16384
        stream.seek(0)
        covered = {number for number in range(1000) if any(a <= number * 16384 < a + n for a, n in parts)}
        assert covered == set(range(1000))


TIMES = [
    (0, b"0"), (10**9, b"1"), (1_795_447_450_402_492_806, b"1795447450.402492806"), (-1, b"-0.000000001"),
    (-(10**9), b"-1"), (-1_500_000_000, b"-1.500000000"), (10**20, b"100000000000"), (100, b"0.000000100"),
]  # fmt: skip


@pytest.mark.parametrize(("nanoseconds", "text"), TIMES)
def test_times(nanoseconds: int, text: bytes) -> None:
    assert spell_time(nanoseconds) == text


def test_a_socket_is_left_out(upper: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(upper / "s"))
    with tarfile.open(pack(tmp_path)) as archive:
        assert archive.getnames() == ["var"]


@pytest.mark.parametrize("length", [0, 3, 5000])
def test_a_file_that_is_cut_off_while_it_is_read(length: int, upper: Path, tmp_path: Path) -> None:
    (upper / "x").write_bytes(b"x" * 5000)
    with open(upper / "x", "rb") as stream, whole(str(tmp_path / "t.tar")) as out:
        made = tar.Tar(out)
        info = os.fstat(stream.fileno())
        copy = made._copy

        def cut(fd: int, parts: "list[tuple[int, int]]") -> None:
            os.truncate(upper / "x", length)
            copy(fd, parts)

        made._copy = cut  # type: ignore[method-assign]
        changed = made.add(tar.Member(b"x", info, {}), stream.fileno())
        made.close()
    with tarfile.open(tmp_path / "t.tar") as archive:
        content = archive.extractfile("x")
        assert content
        assert content.read() == (b"x" * length).ljust(5000, b"\0")
    assert changed or length == 5000


def test_what_can_not_be_read_is_zeros_and_the_tar_is_whole(
    upper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (upper / "x").write_bytes(b"x" * 5000)

    def fail(*_: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with open(upper / "x", "rb") as stream, whole(str(tmp_path / "t.tar")) as out:
        made = tar.Tar(out)
        with pytest.raises(tar.Torn, match="Input/output"):
            made.add(tar.Member(b"x", os.fstat(stream.fileno()), {}), stream.fileno())
        made.add(tar.Member(b"y", os.fstat(stream.fileno()), {}, b"x", hard=True))
        made.close()
    with tarfile.open(tmp_path / "t.tar") as archive:
        assert archive.getnames() == ["x", "y"]
        assert archive.extractfile("x").read() == bytes(5000)  # type: ignore[union-attr]


@pytest.mark.usefixtures("upper")
def test_it_ends_as_tar_does(tmp_path: Path) -> None:
    data = pack(tmp_path).read_bytes()
    assert len(data) % 10240 == 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as archive:
        assert [entry.name for entry in archive] == ["var"]
