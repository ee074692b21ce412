# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One entry of a layer, held: type, mode, owner, attributes and content are of one inode, whatever is renamed."""

import errno
import os
import stat
from contextlib import closing

from overlayctl.layers.directory import open_quietly
from overlayctl.layers.marks import METACOPY, find_data, is_shown

_GONE = (errno.ENODATA, errno.ENOTSUP)
REPLACED = "it was replaced while it was read"


class Held:
    """What is at `path`; a link is not followed. Holding it has no effect on a device, and does not wait for a FIFO.

    Raises OSError.
    """

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.info = os.fstat(self._fd)

    def close(self) -> None:
        """Close it."""
        os.close(self._fd)

    def read_all_attributes(self) -> "dict[str, bytes]":
        """All its extended attributes, those of overlayfs too. Raises OSError."""
        path = self._own_path()
        found = {}
        try:
            # Through the descriptor, which for a link leads to the link.
            for name in os.listxattr(path):
                try:
                    found[name] = os.getxattr(path, name)
                except OSError as error:
                    if error.errno not in _GONE:
                        raise
        except OSError as error:
            if error.errno not in _GONE:
                raise
        return found

    def read_target(self) -> bytes:
        """Where the link leads. Raises OSError."""
        return os.readlink(b"", dir_fd=self._fd)

    def open(self) -> int:
        """A descriptor to read the regular file. Raises OSError."""
        if not stat.S_ISREG(self.info.st_mode):
            raise OSError(errno.ESTALE, REPLACED)
        # O_NOATIME: reading must not change the layers.
        return open_quietly(self._own_path(), os.O_RDONLY | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC)

    def open_data(self, attributes: "dict[str, bytes]", lower: bytes, below: "bytes | None") -> int:
        """As open(), for a file whose content may have been left in the lower layer. Raises OSError."""
        if METACOPY not in attributes:
            return self.open()
        place, _directory = find_data(self._path, lower, below)
        return open_regular(place)

    def _own_path(self) -> bytes:
        return b"/proc/self/fd/%d" % self._fd


def open_regular(path: bytes) -> int:
    """A descriptor to read the regular file at `path`. Raises OSError, also for anything else."""
    with closing(Held(path)) as held:
        return held.open()


def drop_marks(attributes: "dict[str, bytes]") -> "dict[str, bytes]":
    """Those of `attributes` that an overlay shows."""
    return {name: value for name, value in attributes.items() if is_shown(name)}
