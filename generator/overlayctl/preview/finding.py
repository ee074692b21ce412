# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What preview finds, one at one path: its kinds, and the finding itself."""

from os import stat_result
from typing import NamedTuple

HIDDEN, CLASH, DELETED, DROPPED, FOLLOWS, OPENED, SHOWN = (
    "hidden", "clash", "deleted", "dropped", "follows", "opened", "shown",
)  # fmt: skip
GONE, SEEDED, LEFT, OWNER, SPACE = "gone", "seeded", "left", "owner", "space"

# In the order in which they are counted up.
KINDS = {
    HIDDEN: "changed here, and the new image's newer version stays hidden",
    CLASH: "of another type in the new image, whose stays hidden with all that is in it",
    DELETED: "deleted here, and new or changed in the new image: it stays deleted",
    DROPPED: "what was written here is dropped by the policy",
    FOLLOWS: "only repeats the image before, and follows the new one",
    OPENED: "a directory made anew here, opened for what the new image adds",
    SHOWN: "of the new image, seen in such a directory from then on",
    GONE: "the new image has it no longer; the device's stays",
    SEEDED: "becomes a directory of its own (Passthrough=), with what the new image has there",
    LEFT: "is a directory of its own no longer: what was written there is not seen",
    OWNER: "owned by a number that means another user or group in the new image",
    SPACE: "the disk has no room for the step",
}


class Finding(NamedTuple):
    """One finding at `path` below the overlay's top, b"" is that itself. Good until the walk goes on.

    `here` is what the device has, None for nothing, `old` and `new` what the two images have. `size` are the bytes that
    are hidden, dropped or shown. `what` tells the new image's from the old one's: content, mode, owner, xattrs; of what
    is dropped `deleted` means that it was a mark of a deletion. `text` is more for a person. It stands for so many
    `entries`.
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
