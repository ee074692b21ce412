# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What identifies an image: what tells two images apart for sure, what does not, and the message if nothing does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from overlay_prepare import identity
from overlay_prepare.identity import OTHER, SAME, UNSURE, compare, find_doubt


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "image/etc").mkdir(parents=True)
    (tmp_path / "image/usr/lib").mkdir(parents=True)
    return tmp_path / "image"


def test_the_words_of_os_release_are_taken(image: Path) -> None:
    (image / "etc/os-release").write_text("NAME=x\nIMAGE_ID=a\nIMAGE_VERSION=7\nBUILD_ID=b\nVERSION_ID=1\n")
    (image / "usr/lib/os-release").write_text("IMAGE_ID=other\n")
    found = identity.identify(str(image), str(image))
    assert found.startswith("IMAGE_ID=a\nIMAGE_VERSION=7\nBUILD_ID=b\n")
    assert "NAME" not in found
    (image / "etc/os-release").unlink()
    assert identity.identify(str(image), str(image)).startswith("IMAGE_ID=other\n")


def test_another_version_is_another_image(image: Path) -> None:
    (image / "etc/os-release").write_text("IMAGE_VERSION=1\n")
    before = identity.identify(str(image), str(image))
    assert identity.identify(str(image), str(image)) == before
    (image / "etc/os-release").write_text("IMAGE_VERSION=2\n")
    assert identity.identify(str(image), str(image)) != before


MAKE = {
    "squashfs": "mksquashfs {tree} {image} -quiet -no-progress -noappend -mkfs-time {time} -all-time 1",
    "ext4": "mkfs.ext4 -q -F -U {uuid} -d {tree} {image} 8M",
    "erofs": "mkfs.erofs -U {uuid} -T 1 {image} {tree}",
}


@pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")
@pytest.mark.parametrize("kind", MAKE)
def test_another_build_of_an_image_is_told_by_its_file_system(kind: str, tmp_path: Path) -> None:
    """Also with a UUID that never changes, as in reproducible builds, and the same inode for every directory."""
    identities = []
    for number, content in enumerate(("one", "", "two and longer")):
        tree, image = tmp_path / f"tree{number}", tmp_path / f"image{number}"
        (tree / "var").mkdir(parents=True)
        (tree / "var/file").write_text(content * 5000)
        uuid = "8d9d2f83-6a1a-4c5e-9e56-1f0f2e0a7b11"
        words = MAKE[kind].format(tree=tree, image=image, time=1, uuid=uuid).split()
        environ = {**os.environ, "E2FSPROGS_FAKE_TIME": "1", "SOURCE_DATE_EPOCH": "1"}
        if kind == "squashfs":
            environ.pop("SOURCE_DATE_EPOCH")
        try:
            if content:
                subprocess.run(words, check=True, capture_output=True, env=environ)
            else:
                shutil.copy(tmp_path / "image0", image)  # the other slot of the device
        except FileNotFoundError:
            pytest.skip(f"{words[0]} is not installed")
        script = 'mount -o loop,ro "$1" "$2" && shift 2 && exec "$@"'
        code = "import sys; from overlay_prepare.identity import identify; print(identify(sys.argv[1], '/nowhere'))"
        source = str(Path(identity.__file__).parents[1])
        at = tmp_path / "at"
        at.mkdir(exist_ok=True)
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", image, at, "/usr/bin/python3", "-c", code, at / "var"],
            env={**os.environ, "PYTHONPATH": source},
            capture_output=True,
            text=True,
            check=True,
        )
        identities.append(done.stdout)
    assert identities[0].startswith((f"{kind}=", f"{kind}-made="))
    assert identities[0] == identities[1]
    assert identities[0] != identities[2]


def test_only_what_is_not_zero_is_noted() -> None:
    assert identity._spell(b"\0" * 32 + b"abc" + b"\0" * 45, 0, 80) == "20:" + (b"abc" + b"\0" * 13).hex()
    assert identity._spell(b"x" * 40, 16, 24) == "10:" + (b"x" * 8).hex()


SQUASHFS = b"hsqs" + b"\0" * 4 + (1700000000).to_bytes(4, "little") + b"\1" * 84
EROFS = b"\0" * 1024 + b"\xe2\xe1\xf5\xe0" + b"\0" * 20 + (1700000000).to_bytes(8, "little") + b"\0" * 12

XFS = b"XFSB" + b"\0" * 28 + b"u" * 16
EXT4 = (b"\0" * (1024 + 0x38) + b"\x53\xef").ljust(1024 + 0x68, b"\0") + b"u" * 16
USED = bytes(EXT4[: 1024 + 0x34]) + b"\1" + EXT4[1024 + 0x35 :]  # mounted once


def spell(start: bytes) -> str:
    """What is noted of a file system that begins with `start`."""
    return identity.spell_file_system(start.ljust(8192, b"\0"))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("IMAGE_VERSION=1\n", "IMAGE_VERSION=1\n", SAME),
        ("IMAGE_VERSION=1\n", "IMAGE_VERSION=2\n", OTHER),
        ("squashfs=0:aa\n", "squashfs=0:bb\n", OTHER),
        # One name is a fact, whatever else could not be read.
        ("IMAGE_VERSION=1\nsquashfs=0:aa\n", "IMAGE_VERSION=2\non=unknown\n", OTHER),
        # What one of them lacks proves nothing: os-release that could not be read, or a disk.
        ("IMAGE_VERSION=1\nsquashfs=0:aa\n", "squashfs=0:aa\n", UNSURE),
        ("squashfs=0:aa\n", "IMAGE_VERSION=1\nsquashfs=0:aa\n", UNSURE),
        ("IMAGE_VERSION=1\nsquashfs=0:aa\n", "on=unknown\n", UNSURE),
        # What 0.1.0 noted of a root without a disk, and of an ext4 that may have been written to.
        ("inode=2 blocks=100 files=0 changed=1\n", "inode=2 blocks=98 files=0 changed=1\n", UNSURE),
        ("inode=2 blocks=100 files=0 changed=1\n", "on=overlay\n", UNSURE),
        ("ext4=400:aa\n", "ext4-made=468:aa\next4-free-00=bb\n", UNSURE),
        # Earlier versions noted what fsck writes, too.
        ("ext4-made=468:aa\next4-tables=400:aa\n", "ext4-made=468:aa\next4-tables=400:bb\n", UNSURE),
        ("ext4-made=468:aa\next4-free-00=aa\n", "ext4-made=468:aa\next4-free-00=bb\n", OTHER),
        ("ext4-made=468:aa\next4-free-00=aa\n", "ext4-made=468:aa\next4-free-01=bb\n", UNSURE),
        ("unknown=0:aa\n", "start=0:bb\n", UNSURE),
        ("on=nfs4\n", "on=overlay\n", UNSURE),
        ("verity=aa\nstart=0:1\n", "verity=bb\nstart=0:1\n", OTHER),
    ],
)
def test_only_a_fact_of_both_tells_them_apart(old: str, new: str, found: str) -> None:
    assert compare(old, new) == found


@pytest.mark.parametrize("value", ["", "rolling", '"rolling"', "Rolling", "unknown", "n/a", "'dev'"])
def test_what_names_nothing_is_no_name(value: str) -> None:
    assert not identity.is_name(value)
    assert find_doubt(f"BUILD_ID={value}\non=overlay\n", "/") != ""
    assert find_doubt(f"BUILD_ID={value}\nIMAGE_VERSION=7\non=overlay\n", "/") == ""


def test_what_can_t_be_told_has_its_reason(tmp_path: Path) -> None:
    where = str(tmp_path)
    assert find_doubt("on=nfs4\n", where) == "it is not a file system on a disk of its own"
    assert find_doubt("IMAGE_ID=x\non=btrfs\n", where) == "it is not a file system on a disk of its own"
    assert find_doubt("on=overlay\ncomposefs=ab\n", where) == ""
    assert find_doubt("on=ubifs\nubifs=ab\n", where) == ""
    assert find_doubt(spell(b"XFSB" + b"\0" * 28 + b"u" * 16), where) == ""
    assert find_doubt(spell(b"unheard of"), where) == "its file system has nothing known to identify it by"
    assert find_doubt(spell(EROFS), where) == "its erofs has no UUID"
    assert find_doubt(spell(SQUASHFS[:8] + b"\0" * 4 + SQUASHFS[12:]), where) == "its squashfs has no creation time"
    os.utime(where, (1600000000, 1600000000))
    assert find_doubt(spell(SQUASHFS), where) == ""
    os.utime(where, (1700000000, 1700000000))
    assert find_doubt(spell(SQUASHFS), where) == "all times in its squashfs are the same"


@pytest.mark.parametrize(("start", "kind", "uuid"), [(EROFS, "erofs", 1024 + 48), (EXT4, "ext4", 1024 + 0x68)])
def test_a_uuid_is_one_that_is_not_all_zero(start: bytes, kind: str, uuid: int) -> None:
    """What is beside it, and the time when an ext4 was made, are none."""
    plain = start[:uuid].ljust(8192, b"\0")

    def doubt(offset: int) -> str:
        return find_doubt(spell(plain[:offset] + b"\1" + plain[offset + 1 :]), "/")

    assert [offset for offset in (uuid, uuid + 15) if doubt(offset)] == []
    others = (uuid - 1, uuid + 16, 1024 + 0x108)
    assert [doubt(offset) for offset in others] == [f"its {kind} has no UUID"] * len(others)


def test_an_os_release_that_can_t_be_read_is_not_one_without_names(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (image / "etc/os-release").write_text("IMAGE_VERSION=1\n")
    (image / "usr/lib/os-release").write_text("IMAGE_VERSION=2\n")
    before = identity.identify(str(image), str(image))
    read = identity._read

    def refuse(path: str, *length: int) -> bytes:
        if path.endswith("etc/os-release"):
            raise PermissionError(13, "Permission denied")
        return read(path, *length)

    monkeypatch.setattr(identity, "_read", refuse)
    assert compare(before, identity.identify(str(image), str(image))) == UNSURE


def test_a_volume_of_ubi_is_found_by_all_its_names(tmp_path: Path) -> None:
    node = b"\x31\x18\x10\x06" + b"\0" * 104 + b"U" * 16
    for name, volume in (("ubi0_0", "rootfs"), ("ubi0_3", "data"), ("ubi1_3", "other")):
        (tmp_path / "sys" / name).mkdir(parents=True)
        (tmp_path / "sys" / name / "name").write_text(f"{volume}\n")
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / name).write_bytes(node if name == "ubi0_3" else b"")
    for source in ("ubi0:data", "ubi0_3", "/dev/ubi0_3", "ubi:data", "ubi0:3", "ubi0!data"):
        assert identity._read_ubi(source, str(tmp_path / "sys"), str(tmp_path / "dev")) == node, source
    for source in ("ubi0:none", "ubi7:data", "", "/dev/mtd0", "ubi0:../x", "ubi0_9"):
        assert identity._read_ubi(source, str(tmp_path / "sys"), str(tmp_path / "dev")) == b"", source


def run_mounted(script: str, *words: "str | Path") -> str:
    """What a shell script prints in a mount namespace of its own; `identify DIRECTORY` prints the facts."""
    code = (
        "import sys; from overlay_prepare.identity import identify; sys.stdout.write(identify(sys.argv[1], '/nowhere'))"
    )
    functions = f"""
set -eu
identify() {{ python3 -c "{code}" "$1"; }}
"""
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", functions + script, "sh", *map(str, words)],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(Path(identity.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_an_overlay_in_memory_is_the_same_with_less_memory(tmp_path: Path) -> None:
    """overlayroot and raspi-config put the root on one: its size, inodes and times are those of the machine's boot."""
    (tmp_path / "lower/var").mkdir(parents=True)
    found = [
        run_mounted(
            'mount -t tmpfs -o size="$2" tmpfs /mnt; mkdir /mnt/u /mnt/w; mkdir -p "$1/at"; '
            'mount -t overlay -o "lowerdir=$1/lower,upperdir=/mnt/u,workdir=/mnt/w" overlay "$1/at"; '
            'touch "$1/at/var/$2"; identify "$1/at/var"',
            tmp_path,
            size,
        )
        for size in ("8M", "7M")
    ]
    assert found == ["on=overlay\n", "on=overlay\n"]


@pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")
def test_a_read_only_ext4_that_was_once_written_to_is_no_other_image(tmp_path: Path) -> None:
    (tmp_path / "tree/var").mkdir(parents=True)
    image = tmp_path / "image"
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tmp_path / "tree", image, "8M"], check=True, capture_output=True)
    at = 'mkdir -p "$1/at"; mount -o loop,ro "$1/image" "$1/at"; '
    before = run_mounted(at + 'identify "$1/at/var"', tmp_path)
    run_mounted('mkdir -p "$1/at"; mount -o loop "$1/image" "$1/at"; echo repaired >"$1/at/var/file"', tmp_path)
    after = run_mounted(at + 'identify "$1/at/var"', tmp_path)
    assert "ext4-made=" in before and "ext4-free-" in before
    assert "ext4-free-" not in after
    assert compare(before, after) == UNSURE
    assert compare(after, run_mounted(at + 'identify "$1/at/var"', tmp_path)) == SAME


@pytest.mark.parametrize("layout", [(), ("-b1024",), ("-O^metadata_csum",), ("-O^has_journal,^64bit,^flex_bg",)])
def test_an_ext4_that_was_checked_is_no_other_image(layout: "tuple[str, ...]", tmp_path: Path) -> None:
    """An initrd runs fsck at each boot, and Policy=reset would empty the upper layer each time."""
    (tmp_path / "tree/var").mkdir(parents=True)
    image = tmp_path / "image"
    make: list[str | Path] = ["mkfs.ext4", "-q", "-F", "-d", tmp_path / "tree", *layout, image, "40M"]
    # As if it was made long ago: fsck writes the present time.
    subprocess.run(make, check=True, capture_output=True, env={**os.environ, "E2FSPROGS_FAKE_TIME": "1600000000"})

    def change(*words: "str | Path") -> str:
        before = image.read_bytes()[:8192]
        subprocess.run(words, check=True, capture_output=True)
        after = image.read_bytes()[:8192]
        # Without a journal there is nothing to be said of a clean one.
        assert before != after or words[1] == "-a"
        return compare(identity.spell_file_system(before), identity.spell_file_system(after))

    assert change("fsck.ext4", "-a", image) == SAME
    assert change("fsck.ext4", "-f", "-y", image) == SAME
    for words in (("-L", "data"), ("-c", "9"), ("-e", "panic"), ("-m", "1"), ("-E", "mount_opts=nodev")):
        assert change("tune2fs", *words, image) == SAME
    assert change("resize2fs", image, "80M") == UNSURE
    assert change("fsck.ext4", "-f", "-y", image) == SAME


@pytest.mark.parametrize(("start", "counts", "does_not"), [
    (SQUASHFS, (4, 8, 95), (96, 8191)), (EROFS, (1028, 1100, 1151), (0, 1023, 1152)),
    (XFS, (32, 47), (4, 31, 48, 8191)),
    (USED, (1024 + 0x68, 1024 + 0x77, 1024 + 0x108, 1024 + 0x10B),
     (1024, 1024 + 0x30, 1024 + 0x67, 1024 + 0x78, 1024 + 0x107, 1024 + 0x10C, 8191)),
    # Of its shape, what is free, the seed, and the descriptors; not what fsck(8), tune2fs(8) and errors write.
    (EXT4, (*range(1024, 1024 + 0x08), 1024 + 0x0C, 1024 + 0x13, 1024 + 0x14, 1024 + 0x2B, 1024 + 0x58, 1024 + 0x67,
            1024 + 0xEC, 1024 + 0xFB, 1024 + 0xFE, 1024 + 0x150, 1024 + 0x15B, 2048, 8191),
     (0, 1023, 1024 + 0x08, 1024 + 0x0B, 1024 + 0x30, 1024 + 0x33, 1024 + 0x36, 1024 + 0x3A, 1024 + 0x3C, 1024 + 0x43,
      1024 + 0x44, 1024 + 0x50, 1024 + 0x57, 1024 + 0x78, 1024 + 0x100, 1024 + 0x10C, 1024 + 0x178, 1024 + 0x17F,
      1024 + 0x194, 1024 + 0x1FF, 1024 + 0x3FC, 1024 + 0x3FF, 8192)),
    (b"unheard of", (0, 1024, 8191), (8192,)),
])  # fmt: skip
def test_which_bytes_of_a_superblock_count(
    start: bytes, counts: "tuple[int, ...]", does_not: "tuple[int, ...]"
) -> None:
    def change(offset: int) -> str:
        data = bytearray(start.ljust(8193, b"\0"))
        data[offset] ^= 0x55
        return identity.spell_file_system(bytes(data))

    same = identity.spell_file_system(start.ljust(8193, b"\0"))
    assert [offset for offset in counts if change(offset) == same] == []
    assert [offset for offset in does_not if change(offset) != same] == []


@pytest.mark.parametrize("offset", [0x2C, 0x2F, 0x34, 0x35])
def test_an_ext4_that_was_ever_mounted_is_known_by_its_making_alone(offset: int) -> None:
    data = bytearray(EXT4.ljust(8192, b"\0"))
    assert "ext4-free-" in identity.spell_file_system(bytes(data))
    data[1024 + offset] = 1
    assert "ext4-free-" not in identity.spell_file_system(bytes(data))


@pytest.mark.parametrize("offset", [0x2B, 0x30, 0x33, 0x36])
def test_what_else_an_ext4_notes_says_nothing_of_a_mount(offset: int) -> None:
    data = bytearray(EXT4.ljust(8192, b"\0"))
    data[1024 + offset] = 1
    assert "ext4-free-" in identity.spell_file_system(bytes(data))


@pytest.mark.parametrize(("start", "expected"), [
    (SQUASHFS, ""), (EXT4, (b"u" * 16).hex()), (b"\0" * 8192, None), (XFS, None),
    (EROFS.ljust(1024 + 48, b"\0") + bytes(range(1, 20)), bytes(range(1, 17)).hex()),
    (EROFS.ljust(1024 + 48, b"\0") + b"\0" * 16 + b"x", ""),
])  # fmt: skip
def test_the_uuid_that_references_carry(start: bytes, expected: "str | None", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_read_start", lambda _device: start.ljust(8192, b"\0"))
    assert identity.find_uuid("/") == expected


def test_where_there_is_no_disk_no_uuid_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_device: int) -> bytes:
        raise FileNotFoundError

    monkeypatch.setattr(identity, "_read_start", refuse)
    assert identity.find_uuid("/") is None


def test_the_number_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for major, minor in ((8, 1), (259, 5), (4095, 1048575), (0, 256), (4095, 0), (0, 1048575)):
        device = os.makedev(major, minor)
        assert identity._sysfs(device) == f"/sys/dev/block/{major}:{minor}"
    read: list[tuple[str, int]] = []

    def note(path: str, length: int = 0) -> bytes:
        read.append((path, length))
        return b"MAJOR=8\nDEVNAME=vda\nDEVTYPE=disk\n"

    monkeypatch.setattr(identity, "_read", note)
    identity._read_start(os.makedev(8, 1))
    assert read == [("/sys/dev/block/8:1/uevent", 0), ("/dev/vda", 8192)]
