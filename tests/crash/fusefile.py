# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file whose writes and flushes are recorded in their order: what a disk below a loop device was asked to do.

A process that answers the kernel's FUSE requests itself (Documentation/filesystems/fuse.rst, include/uapi/linux/
fuse.h), for one file that is mounted on a file: no library is needed. Reads and writes go to a file of the same size.
A loop device has a write cache and no FUA, so that each flush of the file system on it arrives as one fsync.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

from mounting import mount, unmount

_HEADER = struct.Struct("<IIQQIIIHH")
_RECORD = struct.Struct("<cQI")
_MOST = 1 << 20  # bytes of a write
_BIG_WRITES, _MAX_PAGES, _DIRECT = 1 << 5, 1 << 22, 1
_FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _STATFS = 2, 3, 4, 14, 15, 16, 17
_RELEASE, _FSYNC, _FLUSH, _INIT, _ACCESS, _INTERRUPT, _DESTROY, _BATCH_FORGET = 18, 20, 25, 26, 34, 36, 38, 42


@dataclass
class Log:
    """What was written, in order: pairs of an offset and data, or None for a flush."""

    records: list[tuple[int, bytes] | None] = field(default_factory=list)


class Recorder:
    """The file `path` over the content of the file `image`, which it changes. Use as a context manager."""

    def __init__(self, path: Path, image: Path) -> None:
        self.path = path
        self.image = image
        self._log = path.with_suffix(".log")
        self._count = mmap.mmap(-1, 8)
        self._child = 0

    def __enter__(self) -> Recorder:
        """Mount it."""
        self.path.touch()
        fuse = os.open("/dev/fuse", os.O_RDWR)
        os.set_inheritable(fuse, True)
        # The kernel waits for the answer to its first request only when the file is used.
        mount("fuse", self.path, "fuse", f"fd={fuse},rootmode=100600,user_id=0,group_id=0,max_read={_MOST}")
        self._child = os.fork()
        if self._child == 0:
            status = 1
            try:
                _Server(fuse, self.image, self._log, self._count).serve()
                status = 0
            finally:
                os._exit(status)
        os.close(fuse)
        return self

    def __exit__(self, *_arguments: object) -> None:
        """Unmount it; what was recorded stays."""
        unmount(self.path)
        os.waitpid(self._child, 0)

    def count(self) -> int:
        """How many writes and flushes have arrived."""
        return int(struct.unpack("<Q", self._count[:8])[0])

    def read(self) -> Log:
        """What was recorded."""
        log = Log()
        data = self._log.read_bytes()
        position = 0
        while position < len(data):
            kind, offset, size = _RECORD.unpack_from(data, position)
            position += _RECORD.size
            log.records.append((offset, data[position : position + size]) if kind == b"W" else None)
            position += size
        return log


class _Server:
    def __init__(self, fuse: int, image: Path, log: Path, count: mmap.mmap) -> None:
        self.fuse = fuse
        self.image = os.open(image, os.O_RDWR)
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.count = count
        self.counted = 0

    def serve(self) -> None:
        # Written back under memory pressure it must never wait for itself.
        ctypes.CDLL(None).mlockall(3)
        while True:
            try:
                data = os.read(self.fuse, _MOST + 4096)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                if error.errno == errno.ENODEV:
                    return  # unmounted
                raise
            _, operation, unique, *_ = _HEADER.unpack_from(data)
            if operation in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            status, answer = self.answer(operation, memoryview(data)[_HEADER.size :])
            os.write(self.fuse, struct.pack("<IiQ", 16 + len(answer), -status, unique) + answer)
            if operation == _DESTROY:
                return

    def answer(self, operation: int, data: memoryview) -> tuple[int, bytes]:
        if operation == _INIT:
            flags = _BIG_WRITES | _MAX_PAGES
            return 0, struct.pack("<IIIIHHIIHHI28x", 7, 31, _MOST, flags, 16, 12, _MOST, 1, 256, 0, 0)
        if operation in (_GETATTR, _SETATTR):
            size = os.fstat(self.image).st_size
            times = struct.pack("<QQQIII", 0, 0, 0, 0, 0, 0)
            return 0, struct.pack("<QII", 3600, 0, 0) + struct.pack("<QQQ", 1, size, size // 512) + times + struct.pack(
                "<IIIIIII", 0o100600, 1, 0, 0, 0, 4096, 0
            )
        if operation == _OPEN:
            return 0, struct.pack("<QII", 1, _DIRECT, 0)
        if operation == _READ:
            offset, size = struct.unpack_from("<QI", data, 8)
            return 0, os.pread(self.image, size, offset)
        if operation == _WRITE:
            offset, size = struct.unpack_from("<QI", data, 8)
            content = bytes(data[40 : 40 + size])
            os.pwrite(self.image, content, offset)
            self.note(b"W", offset, content)
            return 0, struct.pack("<II", size, 0)
        if operation == _FSYNC:
            self.note(b"F", 0, b"")
            return 0, b""
        if operation == _STATFS:
            return 0, bytes(80)
        if operation in (_RELEASE, _FLUSH, _ACCESS, _DESTROY):
            return 0, b""
        return errno.ENOSYS, b""

    def note(self, kind: bytes, offset: int, content: bytes) -> None:
        os.write(self.log, _RECORD.pack(kind, offset, len(content)) + content)
        self.counted += 1
        self.count[:8] = struct.pack("<Q", self.counted)
