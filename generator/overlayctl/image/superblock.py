# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the start of an image says: its file system, a table of partitions, or why it is neither. Pure.

After Documentation/filesystems of the kernel (squashfs, erofs, ext4, xfs) and the UEFI specification (GPT).
"""

from typing import NamedTuple

from overlay_prepare.identity import find_type

START = 8192  # bytes that are looked at
KNOWN = "squashfs, erofs, ext4 or xfs"
_COMPRESSORS = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
# What may be given as an image by mistake: the offset of its magic number, that, and what to do.
_OTHERS = (
    (0, b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (0, b"\xfd7zXZ\0", "is compressed with xz; unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it first"),
    (0, b"BZh", "is compressed with bzip2; unpack it first"),
    (0, b"LUKS\xba\xbe", "is encrypted (LUKS); open it, and give the device that this makes"),
    (0, b"UBI#", "is an image of UBI; mount what is in it, and give the directory"),
    (0, b"\x31\x18\x10\x06", "is an image of UBIFS, which no loop device can hold; mount it, and give the directory"),
    (0, b"QFI\xfb", "is a qcow2 disk; convert it to a raw one first"),
    (257, b"ustar", "is a tar; unpack it, and give the directory"),
)
_SECTORS = (512, 4096)
_EXTENDED = (0x05, 0x0F, 0x85)
_GPT = 0xEE
_MOST_PARTITIONS = 128


class Partition(NamedTuple):
    """Number as the kernel counts, offset and size in bytes."""

    number: int
    offset: int
    size: int


def find_size(start: bytes) -> int:
    """The bytes that the file system in `start` says it has, 0 if that is not known."""
    kind = find_type(start)
    if kind == "squashfs":
        return _little(start, 40, 8)
    if kind == "erofs":
        return _little(start, 1024 + 36, 4) << min(start[1024 + 12], 16)
    if kind == "xfs":
        return int.from_bytes(start[8:16], "big") * int.from_bytes(start[4:8], "big")
    if kind == "ext4":
        high = _little(start, 1024 + 0x150, 4) if _little(start, 1024 + 0x60, 4) & 0x80 else 0
        return (_little(start, 1024 + 4, 4) | high << 32) << (10 + min(_little(start, 1024 + 0x18, 4), 6))
    return 0


def name_compressor(start: bytes) -> str:
    """What the squashfs in `start` is compressed with."""
    number = _little(start, 20, 2)
    return _COMPRESSORS.get(number, f"method {number}")


def needs_journal(start: bytes) -> bool:
    """True if the ext4 in `start` was not unmounted: what its journal has is not in its place."""
    return find_type(start) == "ext4" and bool(_little(start, 1024 + 0x60, 4) & 4)


def explain(start: bytes) -> str:
    """What the file that begins with `start` is in place of an image."""
    for offset, magic, text in _OTHERS:
        if start[offset : offset + len(magic)] == magic:
            return text
    if not start.strip(b"\0"):
        return "begins with zeros: nothing was written there"
    return f"holds no file system that is known here ({KNOWN}), nor a partition table"


def has_table(start: bytes) -> bool:
    """True if `start` has a table of partitions."""
    return bool(_find_gpt(start)) or (start[510:512] == b"\x55\xaa" and bool(_list_primary(start)))


def list_partitions(start: bytes, read: "object") -> "list[Partition]":
    """The partitions of a disk that begins with `start`; `read(offset, length)` gives more of it. Raises OSError."""
    assert callable(read)
    sector = _find_gpt(start)
    if sector:
        return _list_gpt(start, sector, read)
    found = []
    for number, kind, first, count in _list_primary(start):
        if kind in _EXTENDED:
            found += _list_logical(first, read)
        else:
            found.append(Partition(number, first * 512, count * 512))
    return sorted(found)


def _find_gpt(start: bytes) -> int:
    """The size of the disk's sectors, 0 without a GPT."""
    return next((sector for sector in _SECTORS if start[sector : sector + 8] == b"EFI PART"), 0)


def _list_gpt(start: bytes, sector: int, read: "object") -> "list[Partition]":
    assert callable(read)
    header = start[sector : sector + 92]
    table, count, length = _little(header, 72, 8), _little(header, 80, 4), _little(header, 84, 4)
    if not 128 <= length <= 4096:
        return []
    data = read(table * sector, min(count, _MOST_PARTITIONS) * length)
    found = []
    for number in range(len(data) // length):
        entry = data[number * length : (number + 1) * length]
        first, last = _little(entry, 32, 8), _little(entry, 40, 8)
        if entry[:16].strip(b"\0") and first <= last:
            found.append(Partition(number + 1, first * sector, (last - first + 1) * sector))
    return found


def _list_primary(start: bytes) -> "list[tuple[int, int, int, int]]":
    """Number, type, first sector and sectors of each entry, none where one of them makes no sense: a boot sector of
    FAT has the same mark.
    """
    found = []
    for number in range(4):
        entry = start[446 + 16 * number : 462 + 16 * number]
        if entry[:1] not in (b"\0", b"\x80"):
            return []
        if entry[4] and _little(entry, 12, 4):
            found.append((number + 1, entry[4], _little(entry, 8, 4), _little(entry, 12, 4)))
    return [] if [one for one in found if one[1] == _GPT] else found


def _list_logical(first: int, read: "object") -> "list[Partition]":
    assert callable(read)
    found = []
    at = first
    for number in range(5, 5 + _MOST_PARTITIONS):
        data = read(at * 512, 512)
        if data[510:512] != b"\x55\xaa":
            break
        kind, begin, count = data[450], _little(data, 454, 4), _little(data, 458, 4)
        if kind and count:
            found.append(Partition(number, (at + begin) * 512, count * 512))
        if data[466] not in _EXTENDED or not _little(data, 470, 4):
            break
        at = first + _little(data, 470, 4)
    return found


def _little(data: bytes, offset: int, length: int) -> int:
    return int.from_bytes(data[offset : offset + length], "little")
