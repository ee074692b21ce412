# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Hard links of the image that changed under one of their names: what index=on keeps in the work directory.

With it all names of such a file show the changed one, even those that the upper layer does not have. The index has an
entry for each file, named by its file handle in the lower layer (struct ovl_fb, fs/overlayfs/overlayfs.h).
"""

import ctypes
import errno
import os
import stat
from os import lstat

from overlayctl.layers.directory import Directory

# version, magic, length, flags, type, UUID of the file system (16 bytes); the handle follows.
_HEADER = 21
_MAGIC = 0xFB
_LONGEST = 128  # MAX_HANDLE_SZ of name_to_handle_at(2)

Handle = tuple[int, bytes]


class _FileHandle(ctypes.Structure):
    _fields_ = (
        ("length", ctypes.c_uint),
        ("type", ctypes.c_int),
        ("bytes", ctypes.c_ubyte * _LONGEST),
    )


class Index:
    """The entries of an index for all but directories, by the handle of the lower file; it may have none."""

    def __init__(self, path: bytes) -> None:
        """Read the index at `path`, if there is one; nothing else in its place is followed. Raises OSError."""
        self._names: dict[Handle, bytes] = {}
        above, _, last = path.rpartition(b"/")
        try:
            self._directory = Directory.open_top(above).enter(last)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return
        for name in self._directory.names():
            handle = _parse(name)
            try:
                mode = lstat(name, dir_fd=self._directory.fd).st_mode
            except FileNotFoundError:
                continue  # somebody has just removed its last name
            # A character device is a whiteout: the file is gone under all its names.
            if handle and not stat.S_ISDIR(mode) and not stat.S_ISCHR(mode):
                self._names[handle] = name

    def __bool__(self) -> bool:
        """True if it has any entry."""
        return bool(self._names)

    def find(self, path: bytes) -> "bytes | None":
        """Where the file `path` of the lower layer really lies; None if that is there. Raises OSError."""
        handle = read_handle(path)
        name = self._names.get(handle) if handle else None
        return b"%b/%b" % (self._directory.path, name) if name else None


def read_handle(path: bytes) -> "Handle | None":
    """The file handle of `path`, None where its file system has none. A symbolic link is not followed."""
    handle = _FileHandle(length=_LONGEST)
    mount = ctypes.c_int()
    library = ctypes.CDLL(None, use_errno=True)
    at_cwd = -100
    if library.name_to_handle_at(at_cwd, os.fspath(path), ctypes.byref(handle), ctypes.byref(mount), 0) != 0:
        return None
    return handle.type, bytes(handle.bytes[: handle.length])


def _parse(name: bytes) -> "Handle | None":
    try:
        data = bytes.fromhex(name.decode("ascii"))
    except ValueError:
        return None  # a whiteout, or a file that is being made
    if len(data) <= _HEADER or data[1] != _MAGIC:
        return None
    # Padding rounds the length up to that of the name in some kernels; the header has the right one.
    return data[4], data[_HEADER : data[2]]
