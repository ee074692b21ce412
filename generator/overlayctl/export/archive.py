# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Changes as members of a tar."""

import errno
import os
import stat
from contextlib import closing

from overlayctl.layers.change import Change, Layers
from overlayctl.layers.held import REPLACED, Held, drop_marks
from overlayctl.layers.links import Links
from overlayctl.outfile import OutFile
from overlayctl.tar import WRITTEN, Member, Tar, can_hold


class Archive:
    """Writes to `out`, which may be a pipe. The bytes depend only on what is added, and in which order."""

    def __init__(self, out: OutFile) -> None:
        self._tar = Tar(out)

    def add(self, name: bytes, change: Change, layers: Layers, links: Links) -> str:
        """Add what is now at `change`, as `name`. Returns a remark on it, or "".

        `links` are the files that have been added before from the same layers. Raises OSError if it can't be read,
        Failure if the tar can't be written.
        """
        assert change.real is not None
        assert change.info is not None
        with closing(Held(change.real)) as held:
            # All that goes into the tar is of the inode that is held: somebody may have put another in its place.
            info = held.info
            if stat.S_IFMT(info.st_mode) != stat.S_IFMT(change.info.st_mode):
                raise OSError(errno.ESTALE, REPLACED)
            if not can_hold(info):
                return "a socket can't be in a tar; left out"
            first = links.find_first(name, change.real, info)
            if first is not None:
                self._tar.add(Member(name, info, {}, first, hard=True))
                return ""
            try:
                attributes = held.read_all_attributes()
                shown = drop_marks(attributes)
                if stat.S_ISREG(info.st_mode):
                    return self._add_file(name, held, shown, held.open_data(attributes, layers.data, change.below))
                target = held.read_target() if stat.S_ISLNK(info.st_mode) else b""
            except OSError:
                # It is left out, and no other name may be a link to it.
                links.forget(info)
                raise
            self._tar.add(Member(name, info, shown, target))
        return ""

    def close(self) -> None:
        """Write the end of the archive. Raises Failure."""
        self._tar.close()

    def _add_file(self, name: bytes, held: Held, attributes: "dict[str, bytes]", fd: int) -> str:
        try:
            return WRITTEN if self._tar.add(Member(name, held.info, attributes), fd) else ""
        finally:
            os.close(fd)
