# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whom the access control lists of an entry name."""

import struct
from collections.abc import Iterator
from os import getxattr

from overlayctl.layers.marks import list_attributes

# Of linux/posix_acl_xattr.h: a version, and then a tag, permissions and the number of a user or group, little-endian.
USER, GROUP = 0x02, 0x08
_VERSION, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_NAMES = ("system.posix_acl_access", "system.posix_acl_default")


def list_named(path: bytes) -> "Iterator[tuple[int, int]]":
    """USER or GROUP, and the number, of each entry with a name in the ACLs of `path`. Raises OSError."""
    names = list_attributes(path)
    for name in _NAMES:
        if name in names:
            data = getxattr(path, name, follow_symlinks=False)[_VERSION.size :]
            for tag, _, number in _ENTRY.iter_unpack(data[: len(data) // _ENTRY.size * _ENTRY.size]):
                if tag in (USER, GROUP):
                    yield tag, number
