# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What preview finds, one at one path: its kinds, and the finding itself."""

from os import stat_result
from typing import NamedTuple

HIDDEN, CLASH, DELETED, DROPPED, FOLLOWS, OPENED, SHOWN = (
    "hidden", "clash", "deleted", "dropped", "follows", "opened", "shown",
)  # fmt: skip
GONE, SEEDED, LEFT, UNDONE, OWNER, SPACE = "gone", "seeded", "left", "undone", "owner", "space"

# In the order in which counts are listed.
KINDS = {
    HIDDEN: "changed here, and the new image's newer version stays hidden",
    CLASH: "of another type in the new image, whose entry stays hidden with all that is in it",
    DELETED: "deleted here, and new or changed in the new image: it stays deleted",
    DROPPED: "what was written here is dropped by the policy",
    FOLLOWS: "the same as in the previous image, and follows the new one",
    OPENED: "a directory made anew here, opened for what the new image adds",
    SHOWN: "of the new image, seen in such a directory from then on",
    GONE: "the new image no longer has it; the device's stays",
    SEEDED: "becomes a directory of its own (Passthrough=), with what the new image has there",
    LEFT: "is no longer a directory of its own: what was written there is not seen",
    UNDONE: "written or deleted since the last update, which the new image undoes: it is kept aside",
    OWNER: "owned by a number, or with an ACL for one, that means another user or group in the new image",
    SPACE: "the disk has no room for the step",
}


class Finding(NamedTuple):
    """One finding at `path` below the overlay's top; b"" is the top itself. Valid until the walk goes on.

    `here` is what the device has, None for nothing, `old` and `new` what the two images have. `size` are the bytes that
    are hidden, dropped or shown. `what` says how the new image's differs from the old one's: content, mode, owner,
    xattrs; of what is dropped or undone `deleted` means that it was a mark of a deletion. `text` is more for a person.
    `entries` is the number of entries that it stands for.
    """

    kind: str
    path: bytes
    here: "stat_result | None" = None
    old: "stat_result | None" = None
    new: "stat_result | None" = None
    size: int = 0
    what: "tuple[str, ...]" = ()
    text: str = ""
    entries: int = 1
