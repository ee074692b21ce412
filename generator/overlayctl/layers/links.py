# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Recognises names of one file (hard links), for what has to be written once for all of them."""

import os
import stat


class Links:
    """Remembers a file with several names until all of these have come, so that it stays small.

    `index` is the index directory of the overlay, b"" without one. The link count of a file in it does not include all
    its names, so with an index nothing is forgotten.
    """

    def __init__(self, index: bytes) -> None:
        self._index = _identify(index) if index else None
        self._found: dict[tuple[int, int], tuple[bytes, int]] = {}

    def find_first(self, name: bytes, real: bytes, info: os.stat_result) -> "bytes | None":
        """The name under which the file `real` has come before; None if this is the first, or it is a directory."""
        if stat.S_ISDIR(info.st_mode):
            return None
        # By the directory itself: what is in it is reached by a descriptor's path.
        if info.st_nlink < 2 and not (self._index and _identify(os.path.dirname(real)) == self._index):
            return None
        key = (info.st_dev, info.st_ino)
        first, left = self._found.pop(key, (None, info.st_nlink))
        if left > 1 or self._index:
            self._found[key] = (first or name, left - 1)
        return first

    def forget(self, info: os.stat_result) -> None:
        """The file could not be written under the name that has just come: another one is the first."""
        self._found.pop((info.st_dev, info.st_ino), None)


def _identify(path: bytes) -> "tuple[int, int] | None":
    try:
        info = os.stat(path)
    except OSError:
        return None  # gone by now; what can't be read is reported by whoever reads it
    return info.st_dev, info.st_ino
