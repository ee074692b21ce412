# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a walk over two layers yields: one change at one path."""

from os import stat_result
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from overlayctl.layers.stack import Merged

ADDED, CHANGED, METADATA, EQUAL = "added", "changed", "metadata", "equal"
DELETED, REPLACED, MOVED, OPAQUE = "deleted", "replaced", "moved", "opaque"

# In the order in which counts are listed.
KINDS = {
    ADDED: "the image has nothing of this name",
    CHANGED: "different content, and perhaps more",
    METADATA: "the same content, with another mode, owner, time or extended attribute",
    EQUAL: "copied up, and nothing differs",
    DELETED: "hidden, with all that the image has below it",
    REPLACED: "the image has something of another type",
    MOVED: "a renamed directory of the image; what is in it is compared with what was moved",
    OPAQUE: "a directory in place of the image's one, whose content is hidden",
}


class Layers(NamedTuple):
    """The layers of one overlay, without a slash at their ends.

    `links` is its index directory (WORK/index), b"" if it is mounted with index=off. `frozen` is a layer between the
    two, which an update has frozen, b"" without one: a part of the upper one or, with `since`, of the lower one.
    """

    upper: bytes
    lower: bytes
    links: bytes = b""
    frozen: bytes = b""
    since: bool = False

    @property
    def data(self) -> bytes:
        """The layer in which the content lies of files that have metadata alone, b"" where that may be either of two.

        With something frozen there are none: Rollback=yes mounts with metacopy=off.
        """
        return b"" if self.frozen else self.lower


class Change(NamedTuple):
    """One change at `path`, relative to the overlay's top; b"" is the top itself. Valid until the walk goes on.

    `what` differs: content, mode, owner, times, xattrs. `info` is what is seen now, `real` the path where it lies; of
    what is deleted `real` is the whiteout, or None, and `info` is None. `old` and `old_info` are what the image has,
    None if nothing. `beside` is the lower directory that shows through the one it is in. `source` is where a moved
    directory was.
    """

    kind: str
    path: bytes
    what: "tuple[str, ...]"
    real: "bytes | None"
    info: "stat_result | None"
    old: "bytes | None" = None
    old_info: "stat_result | None" = None
    beside: "Merged | None" = None
    source: bytes = b""

    @property
    def below(self) -> "bytes | None":
        """The place below it in the lower layer, whether there is something or not; None where that does not show."""
        return None if self.beside is None else self.beside.path + b"/" + self.path.rpartition(b"/")[2]
