# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What stat(2) says of an entry, in words and for JSON. Pure."""

import os
import stat

_TYPES = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket", stat.S_IFCHR: "character device", stat.S_IFBLK: "block device",
}  # fmt: skip


def spell_type(info: os.stat_result) -> str:
    """The type of a file in words."""
    return _TYPES.get(stat.S_IFMT(info.st_mode), "unknown")


def describe_entry(info: "os.stat_result | None") -> "dict[str, object] | None":
    """`info` for json.dumps(), None for nothing."""
    if info is None:
        return None
    return {
        "type": spell_type(info),
        "size": info.st_size,
        "mode": f"{stat.S_IMODE(info.st_mode):04o}",
        "uid": info.st_uid,
        "gid": info.st_gid,
        "mtime_ns": info.st_mtime_ns,
    }
