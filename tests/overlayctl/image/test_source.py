# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Opening an image: each file system, disks with partitions, what is none, and that nothing is left of it."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from overlayctl.errors import Failure
from overlayctl.image.source import opened
from previewing import Update, make_image
from product import REPOSITORY
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

KINDS = ("squashfs", "erofs", "ext4")
MIB = 1 << 20
LINUX, ESP = "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> "dict[str, Path]":
    """An image of each kind."""
    top = tmp_path_factory.mktemp("images")
    tree = fill(top / "tree", "var/lib/a=1", "usr/lib/os-release=ID=test")
    return {kind: make_image(kind, tree, top / f"image.{kind}") for kind in KINDS}


def make_disk(path: Path, label: str, *parts: "tuple[str, Path | None]") -> Path:
    """A disk with partitions of 4 MiB each."""
    lines = "".join(f"start={4 * number + 4}MiB, size=4MiB, type={kind}\n" for number, (kind, _) in enumerate(parts))
    with path.open("wb") as stream:
        stream.truncate((len(parts) + 2) * 4 * MIB)
    subprocess.run(["sfdisk", "-q", path], input=f"label: {label}\n{lines}", text=True, check=True)
    with path.open("r+b") as stream:
        for number, (_, image) in enumerate(parts):
            stream.seek(4 * (number + 1) * MIB)
            stream.write(image.read_bytes() if image else b"")
    return path


def loops() -> "set[str]":
    """The files behind this machine's loop devices."""
    done = subprocess.run(["losetup", "-nO", "BACK-FILE"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def is_free(path: Path) -> bool:
    """True once no loop device has `path`; udev may look at one for a moment."""
    for _ in range(100):
        if str(path) not in loops():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_system(kind: str, images: "dict[str, Path]") -> None:
    before = images[kind].read_bytes(), images[kind].stat().st_mtime_ns
    mounts = Path("/proc/self/mountinfo").read_text()
    with opened(str(images[kind])) as source:
        place = os.fsdecode(source.find("/var"))
        assert (Path(place) / "lib/a").read_text() == "1"
        assert Path("/proc/self/mountinfo").read_text() == mounts
        flags = os.statvfs(place).f_flag
        assert flags & os.ST_RDONLY
        assert flags & os.ST_NODEV
        assert flags & os.ST_NOSUID
        with pytest.raises(OSError, match="Read-only"):
            (Path(place) / "new").touch()
    assert is_free(images[kind])
    assert (images[kind].read_bytes(), images[kind].stat().st_mtime_ns) == before


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_a_disk_with_one_image(label: str, images: "dict[str, Path]", tmp_path: Path) -> None:
    kinds = (ESP, LINUX) if label == "gpt" else ("ef", "83")
    data = make_image("ext4", fill(tmp_path / "data", "upper/x=1"), tmp_path / "data.ext4")
    disk = make_disk(tmp_path / "disk", label, (kinds[0], None), (kinds[1], images["ext4"]), (kinds[1], data))
    with opened(str(disk)) as source:
        assert source.notes == (f"{disk}: partition 2 is read",)
        assert os.listdir(source.find("/var/lib")) == [b"a"]
    with opened(str(disk), 3) as source:
        assert os.listdir(source.find("/upper")) == [b"x"]
    assert is_free(disk)


def test_a_disk_with_two_images(images: "dict[str, Path]", tmp_path: Path) -> None:
    parts = [(LINUX, images["erofs"]), (LINUX, images["squashfs"])]
    disk = make_disk(tmp_path / "disk", "gpt", *parts)
    with pytest.raises(Failure, match="on each of the partitions 1, 2; choose one by --partition"), opened(str(disk)):
        pass
    with opened(str(disk), 2) as source:
        assert source.start[:4] == b"hsqs"


def damage(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def spoil(name: str, images: "dict[str, Path]", path: Path) -> Path:
    """Something that is no image that could be read."""
    if name in ("cut off", "compressor", "damaged"):
        path.write_bytes(images["squashfs"].read_bytes())
    if name == "cut off":
        os.truncate(path, 200)
    elif name == "compressor":
        damage(path, 20, struct.pack("<H", 2))
    elif name == "damaged":
        damage(path, 48, b"\xee" * 32)
    elif name == "cut ext4":
        path.write_bytes(images["ext4"].read_bytes()[: MIB // 2])
    elif name == "cut erofs":
        path.write_bytes(images["erofs"].read_bytes()[:2048])
    elif name == "text":
        path.write_text("no image at all\n" * 1000)
    elif name == "gzip":
        path.write_bytes(b"\x1f\x8b" + b"x" * 9000)
    elif name == "btrfs":
        path.write_bytes(b"x" * 65600 + b"_BHRfS_M" + b"x" * 9000)
    elif name == "zeros":
        path.write_bytes(bytes(9000))
    elif name == "empty":
        path.touch()
    elif name == "fifo":
        os.mkfifo(path)
    elif name == "no root":
        make_disk(path, "gpt", (LINUX, None))
    return path


BAD = {
    "cut off": "is cut off: its squashfs has",
    "cut ext4": "is cut off: its ext4 has",
    "cut erofs": "is cut off: its erofs has",
    "compressor": "built without lzma for squashfs",
    "damaged": "its squashfs can't be mounted:",
    "text": "holds no file system that is known here (squashfs, erofs, ext4 or xfs), nor a partition table",
    "btrfs": "holds no file system that is known here",
    "gzip": "is compressed with gzip; unpack it first",
    "zeros": "begins with zeros: nothing was written there",
    "empty": "is empty",
    "fifo": "is neither a directory nor the image of a file system",
    "no root": "no partition of it has an image, with an os-release in it (1 begins with zeros",
    "missing": "No such file or directory",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_image(name: str, images: "dict[str, Path]", tmp_path: Path) -> None:
    update = Update(tmp_path)
    path = spoil(name, images, tmp_path / "bad")
    status, out, err = update.run(new=path)
    assert (status, out) == (3, "")
    assert err.startswith(f"overlayctl: {path}: ")
    assert BAD[name] in err
    assert len(err.splitlines()) == 1
    assert is_free(path)


@pytest.fixture
def device(images: "dict[str, Path]", tmp_path: Path) -> "object":
    """A block device with an image."""
    path = tmp_path / "slot"
    path.write_bytes(images["ext4"].read_bytes())
    done = subprocess.run(["losetup", "-f", "--show", path], capture_output=True, text=True, check=True)
    yield done.stdout.strip()
    subprocess.run(["losetup", "-d", done.stdout.strip()], check=True)


def test_a_device(device: str) -> None:
    before = Path(device).read_bytes()
    with opened(device) as source:
        assert os.listdir(source.find("/var/lib")) == [b"a"]
    assert Path(device).read_bytes() == before


def test_a_device_in_use(device: str, tmp_path: Path) -> None:
    at = tmp_path / "at"
    at.mkdir()
    subprocess.run(["mount", device, at], check=True)
    try:
        status, _, err = Update(tmp_path / "update").run(new=Path(device))
    finally:
        subprocess.run(["umount", at], check=True)
    assert (status, err) == (
        3, f"overlayctl: {device}: is in use (mounted at {at}); unmount it, or give the directory\n",
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_by_a_signal(number: int, images: "dict[str, Path]", tmp_path: Path) -> None:
    image = tmp_path / f"image-{number}.squashfs"
    image.write_bytes(images["squashfs"].read_bytes())
    code = (
        "import sys, time; from overlayctl import main; from overlayctl.preview import verb\n"
        "verb._Preview.run = lambda self: (print('there', flush=True), time.sleep(60))\n"
        "sys.exit(main.main(sys.argv[1:]))"
    )
    words = ["preview", str(image), "--upper", str(tmp_path)]
    mounts = Path("/proc/self/mountinfo").read_text()
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "generator")},
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"there\n"
        assert str(image) in loops()
        process.send_signal(number)
        assert process.wait(20) == (130 if number == signal.SIGINT else -number)
    assert is_free(image)
    assert Path("/proc/self/mountinfo").read_text() == mounts
