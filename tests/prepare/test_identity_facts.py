# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How each fact about an image is spelled, and where it is read: with another text it would be another image."""

import os
from pathlib import Path

import pytest

from overlay_prepare import identity

UUID = bytes(range(1, 17))
UBIFS = b"\x31\x18\x10\x06".ljust(107, b"\0") + b"\xff" + UUID + b"\xff"
NUMBER = os.makedev(0, 21)
MOUNTS = """\
22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
28 1 0:21 / / ro,relatime shared:1 - {fstype} {source} ro,assert=read-only
29 28 0:21 / /again rw - other /dev/other rw
"""


@pytest.mark.parametrize(("start", "text"), [
    (b"hsqs" + b"\0" * 14 + b"\1" * 100, f"squashfs=0:68737173{'00' * 12} 10:0000{'01' * 14} "
     + " ".join(f"{row}:{'01' * 16}" for row in ("20", "30", "40", "50"))),
    (b"\xff" * 1024 + b"\xe2\xe1\xf5\xe0" + b"\0" * 123 + b"\2\3", f"erofs=400:e2e1f5e0{'00' * 12} 470:{'00' * 15}02"),
    (b"XFSB".ljust(31, b"\1") + b"\xff" + UUID + b"\xff", f"xfs={UUID.hex()}"),
    (b"?".ljust(40, b"\0") + b"!".ljust(8152, b"\0") + b"no more", f"start=0:3f{'00' * 15} 20:{'00' * 8}21{'00' * 7}"),
    (b"\xff" * 1024 + b"\0" * 44 + b"\0\0\0\1\0\0".ljust(12, b"\0") + b"\x53\xef".ljust(0x68 - 0x38, b"\0") + UUID
     + b"\0" * (0x108 - 0x78) + b"\2\3\4\5" + b"\6" * 4, f"ext4-made=468:{UUID.hex()} 508:02030405"),
])  # fmt: skip
def test_how_a_file_system_is_spelled(start: bytes, text: str) -> None:
    assert identity.spell_file_system(start) == f"{text}\n"


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> "dict[str, bytes]":
    """All files that there are, by their paths; the mounts are in mountinfo."""
    found: dict[str, bytes] = {}

    def read(path: str, length: int = 1 << 20) -> bytes:
        if path not in found:
            raise FileNotFoundError(2, "No such file or directory", path)
        return found[path][:length]

    monkeypatch.setattr(identity, "_read", read)
    monkeypatch.setattr(identity, "_read_all", read)
    return found


@pytest.mark.parametrize(("uuid", "cmdline", "text"), [
    (b"CRYPT-VERITY-12-root", b"quiet roothash=ab usrhash=cd composefs=ef rw\n", "verity=ab cd\n"),
    (b"CRYPT-VERITY-12-root", b"usrhash=cd", "verity=cd\n"),
    (b"CRYPT-VERITY-12-root", b"roothash= roothash", ""),
    (b"CRYPT-VERITY-12-root", None, ""),
    (b"CRYPT-LUKS2-12-root", b"roothash=ab", ""),
    (None, b"roothash=ab", ""),
])  # fmt: skip
def test_a_root_hash_counts_for_a_device_of_dm_verity(
    uuid: "bytes | None", cmdline: "bytes | None", text: str, files: "dict[str, bytes]"
) -> None:
    files["/sys/dev/block/253:1/uevent"] = b"DEVNAME=dm-1\n"
    files["/dev/dm-1"] = b"?" + bytes(8191)
    for path, content in (("/sys/dev/block/253:1/dm/uuid", uuid), ("/proc/cmdline", cmdline)):
        if content is not None:
            files[path] = content
    assert identity._read_verity(os.makedev(253, 1)) == text


@pytest.mark.parametrize(("fstype", "cmdline", "text"), [
    ("overlay", b"composefs=ab roothash=cd", "on=overlay\ncomposefs=ab\n"), ("overlay", b"quiet", "on=overlay\n"),
    ("tmpfs", b"composefs=ab", "on=tmpfs\n"), ("ubifs", b"composefs=ab", "on=ubifs\n"),
])  # fmt: skip
def test_a_root_without_a_disk_is_named_by_its_type(
    fstype: str, cmdline: bytes, text: str, files: "dict[str, bytes]"
) -> None:
    files["/proc/self/mountinfo"] = MOUNTS.format(fstype=fstype, source="none").encode()
    files["/proc/cmdline"] = cmdline
    assert identity._identify_without_device(NUMBER) == text


def test_a_root_that_is_not_mounted_is_not_known(files: "dict[str, bytes]") -> None:
    assert identity._find_mount(NUMBER) == ("", "")
    files["/proc/self/mountinfo"] = MOUNTS.format(fstype="nfs4", source="host:/export").encode()
    assert identity._find_mount(NUMBER) == ("nfs4", "host:/export"), "the first of them"
    assert identity._find_mount(os.makedev(0, 22)) == ("", "")
    assert identity._identify_without_device(os.makedev(0, 22)) == "on=unknown\n"


@pytest.mark.parametrize(("start", "text"), [
    (UBIFS, f"on=ubifs\nubifs={UUID.hex()}\n"), (b"\x31\x18\x10\x07" + UBIFS[4:], "on=ubifs\n"),
    (UBIFS[:108] + bytes(16) + b"\xff", "on=ubifs\n"), (b"", "on=ubifs\n"),
])  # fmt: skip
def test_an_ubifs_is_known_by_its_uuid(start: bytes, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_find_mount", lambda _device: ("ubifs", "ubi0:rootfs"))
    monkeypatch.setattr(identity, "_read_ubi", lambda source: start if source == "ubi0:rootfs" else b"")
    assert identity._identify_without_device(NUMBER) == text
    monkeypatch.setattr(identity, "_find_mount", lambda _device: ("tmpfs", "ubi0:rootfs"))
    assert identity._identify_without_device(NUMBER) == "on=tmpfs\n", "which anybody can give that source"


def test_how_much_of_os_release_is_read(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("IMAGE_VERSION=12".rjust(65536, "\n") + "3\nBUILD_ID=4\n")
    assert identity.read_names(str(tmp_path)) == "IMAGE_VERSION=12\n"


def test_how_much_of_a_ubi_volume_is_read(files: "dict[str, bytes]") -> None:
    files["/dev/ubi0_0"] = UBIFS.ljust(4096, b"\0") + b"more"
    assert identity._read_ubi("ubi0_0") == UBIFS.ljust(4096, b"\0")


def test_nothing_stays_open() -> None:
    before = os.listdir("/proc/self/fd")
    assert identity.identify("/proc/self") == identity.identify("/proc/self")
    assert identity._find_mount(os.stat("/proc").st_dev)[0] == "proc"
    assert os.listdir("/proc/self/fd") == before
