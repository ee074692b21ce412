# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes tars in the pax format (pax(1)), with what tarfile can't: names of attributes that are not text, holes, times.

Extended attributes are written as GNU tar, star and bsdtar have them (SCHILY.xattr), with `%` and `=` in their names as
in GNU tar 1.30 and later. Sparse files are in GNU's format 1.0, which bsdtar and Python read, too.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from overlayctl.outfile import OutFile

_BLOCK = 512
_RECORD = 20 * _BLOCK  # tar(1) fills up the last one
_ATTRIBUTE = b"SCHILY.xattr."
_LARGEST = {7: 8**7 - 1, 11: 8**11 - 1}
_FILE, _HARD_LINK, _PAX = b"0", b"1", b"x"
_TYPES = {
    stat.S_IFREG: _FILE, stat.S_IFDIR: b"5", stat.S_IFLNK: b"2", stat.S_IFIFO: b"6", stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
}  # fmt: skip
_CHUNK = 1 << 18
_MOST_PARTS = 4096  # of a sparse file; if it has more, its smaller holes are filled in
_SMALLEST_HOLE = 4096


WRITTEN = "was written to while it was read"


class Torn(OSError):
    """A file could not be read to its end: the rest of it is zeros in the tar."""


class Member(NamedTuple):
    """What the tar says of one entry; `link` is the target of a symbolic link, or the first name of a hard link."""

    name: bytes
    info: os.stat_result
    attributes: "dict[str, bytes]"
    link: bytes = b""
    hard: bool = False


class Tar:
    """Writes to `out`. The bytes depend only on what is added, and in which order."""

    def __init__(self, out: OutFile) -> None:
        self._out = out

    def add(self, member: Member, fd: int = -1) -> bool:
        """Add `member`, a regular file with the content of the descriptor `fd` and its holes.

        True if somebody wrote to it meanwhile; one that was truncated is filled up with zeros. Raises Torn, and what
        `out` raises.
        """
        if fd < 0:
            self._write_header(member, 0, [])
            return False
        before = os.fstat(fd)
        size = before.st_size
        parts = find_parts(fd, size) if before.st_blocks * _BLOCK < size else [(0, size)]
        if parts == [(0, size)]:
            self._write_header(member, size, [])
        else:
            self._write_sparse_header(member, size, parts)
        self._copy(fd, parts)
        after = os.fstat(fd)
        return (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns)

    def close(self) -> None:
        """Write the end."""
        self._out.write(bytes(2 * _BLOCK))
        self._out.write(bytes(-self._out.size % _RECORD))

    def _write_sparse_header(self, member: Member, size: int, parts: "list[tuple[int, int]]") -> None:
        numbers = [len(parts), *(number for part in parts for number in part)]
        listed = b"".join(b"%d\n" % number for number in numbers)
        listed = listed.ljust(-(-len(listed) // _BLOCK) * _BLOCK, b"\0")
        length = len(listed) + sum(part[1] for part in parts)
        self._write_header(member, length, [
            (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", member.name),
            (b"GNU.sparse.realsize", b"%d" % size),
        ])  # fmt: skip
        self._out.write(listed)

    def _copy(self, fd: int, parts: "list[tuple[int, int]]") -> None:
        """Write what is in `parts` of a file. Raises Torn once all is written."""
        torn: OSError | None = None
        for start, count in parts:
            offset, end = start, start + count
            while offset < end:
                try:
                    data = b"" if torn else os.pread(fd, min(end - offset, _CHUNK), offset)
                except OSError as error:
                    # Its length is written already, so something has to follow.
                    torn, data = error, b""
                if not data:
                    self._pad(end - offset)
                    break
                self._out.write(data)
                offset += len(data)
        self._fill(sum(count for _, count in parts))
        if torn:
            raise Torn(torn.errno, torn.strerror)

    def _pad(self, count: int) -> None:
        zeros = bytes(_CHUNK)
        while count:
            self._out.write(zeros[:count])
            count -= min(count, _CHUNK)

    def _fill(self, size: int) -> None:
        self._out.write(bytes(-size % _BLOCK))

    def _write_header(self, member: Member, size: int, records: "list[tuple[bytes, bytes]]") -> None:
        info = member.info
        kind = _HARD_LINK if member.hard else _TYPES[stat.S_IFMT(info.st_mode)]
        name = member.name + b"/" if kind == b"5" and not member.name.endswith(b"/") else member.name
        sparse = bool(records)
        if sparse:
            name = b"GNUSparseFile.0/" + name.rpartition(b"/")[2]
        elif not _fits(name):
            records.append((b"path", name))
        if member.link and not _fits(member.link):
            records.append((b"linkpath", member.link))
        numbers = {b"uid": (info.st_uid, 7), b"gid": (info.st_gid, 7), b"size": (size, 11)}
        records += [(key, b"%d" % value) for key, (value, digits) in numbers.items() if value > _LARGEST[digits]]
        seconds, rest = divmod(info.st_mtime_ns, 10**9)
        if rest or not 0 <= seconds <= _LARGEST[11]:
            records.append((b"mtime", spell_time(info.st_mtime_ns)))
        for attribute, value in sorted(member.attributes.items()) if not member.hard else ():
            key = os.fsencode(attribute).replace(b"%", b"%25").replace(b"=", b"%3D")
            records.append((_ATTRIBUTE + key, value))
        if records:
            if not all(_is_text(part) for record in records for part in record):
                records.insert(0, (b"hdrcharset", b"BINARY"))
            data = b"".join(_spell_record(key, value) for key, value in records)
            self._out.write(_spell_header(b"././@PaxHeader", 0, 0, 0, len(data), 0, _PAX))
            self._out.write(data)
            self._fill(len(data))
        device = (os.major(info.st_rdev), os.minor(info.st_rdev)) if kind in (b"3", b"4") else (0, 0)
        mode, time = stat.S_IMODE(info.st_mode), min(max(seconds, 0), _LARGEST[11])
        self._out.write(_spell_header(name, mode, info.st_uid, info.st_gid, size, time, kind, member.link, device))


def can_hold(info: os.stat_result) -> bool:
    """False for a socket, which no tar can hold."""
    return stat.S_IFMT(info.st_mode) in _TYPES


def find_parts(fd: int, size: int) -> "list[tuple[int, int]]":
    """Where the first `size` bytes of the file `fd` have data: offsets and lengths, the last one at the end.

    All of it if the file system does not report holes. Raises OSError.
    """
    smallest = _SMALLEST_HOLE
    parts: list[tuple[int, int]] = []
    for start, end in _walk_data(fd, size):
        if parts and start - sum(parts[-1]) < smallest:
            parts[-1] = (parts[-1][0], end - parts[-1][0])
        else:
            parts.append((start, end - start))
        while len(parts) > _MOST_PARTS:
            smallest *= 2
            parts = _join(parts, smallest)
    if not parts or sum(parts[-1]) < size:
        # As GNU tar: an empty part at the end says how long it is.
        parts.append((size, 0))
    return parts


def spell_time(nanoseconds: int) -> bytes:
    """Seconds since 1970 as a pax header has them: in decimals, with a sign before 1970."""
    seconds, rest = divmod(abs(nanoseconds), 10**9)
    sign = "-" if nanoseconds < 0 else ""
    return f"{sign}{seconds}.{rest:09d}".encode() if rest else f"{sign}{seconds}".encode()


def _walk_data(fd: int, size: int) -> "Iterator[tuple[int, int]]":
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno != errno.ENXIO:  # which means no more data; else nothing is known about holes
                yield end, size
            return
        if start >= size:
            return
        yield start, end


def _join(parts: "list[tuple[int, int]]", smallest: int) -> "list[tuple[int, int]]":
    joined = parts[:1]
    for start, length in parts[1:]:
        if start - sum(joined[-1]) < smallest:
            joined[-1] = (joined[-1][0], start + length - joined[-1][0])
        else:
            joined.append((start, length))
    return joined


def _fits(name: bytes) -> bool:
    return len(name) <= 100 and name.isascii()


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _spell_record(key: bytes, value: bytes) -> bytes:
    """One line of a pax header, which begins with its own length."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d" % length + rest


def _spell_header(
    name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, kind: bytes,
    link: bytes = b"", device: "tuple[int, int]" = (0, 0),
) -> bytes:  # fmt: skip
    octal: Callable[[int, int], bytes] = lambda value, digits: b"%0*o\0" % (digits, min(value, 8**digits - 1))  # noqa: E731
    head = name[:100].ljust(100, b"\0") + octal(mode, 7) + octal(uid, 7) + octal(gid, 7)
    head += octal(size, 11) + octal(mtime, 11)
    tail = kind + link[:100].ljust(100, b"\0") + b"ustar\x0000" + bytes(64)
    tail += octal(device[0], 7) + octal(device[1], 7) + bytes(155 + 12)
    checksum = sum(head) + sum(tail) + 8 * 32
    return head + b"%06o\0 " % checksum + tail
