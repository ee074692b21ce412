# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts what is in a layer, for status: it may take no time worth mentioning, whatever users have put there."""

import errno
import os
from typing import NamedTuple

from overlayctl.layers.directory import Directory

# Somebody has just removed it, put something else there, or moved a directory away; or may do so as often as they like.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


class Count(NamedTuple):
    """`files` are all entries but directories, `size` is what they take, in bytes; not `whole`: there are more."""

    files: int
    size: int
    whole: bool


def count(top: Directory, most: int) -> Count:
    """What is below `top`, of which `most` entries are looked at. Raises OSError."""
    files = size = seen = 0
    pending: list[tuple[Directory, bytes]] = [(top, b"")]
    while pending:
        above, name = pending.pop()
        try:
            directory = above.enter(name) if name else above
            names = directory.names()
        except OSError as error:
            if error.errno not in _GONE:
                raise
            continue
        for name in names:
            if seen >= most:
                return Count(files, size, False)
            seen += 1
            try:
                info = os.lstat(name, dir_fd=directory.fd)
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                continue
            if info.st_mode & 0o170000 == 0o040000:
                pending.append((directory, name))
            else:
                files += 1
                size += info.st_blocks * 512
    return Count(files, size, True)
