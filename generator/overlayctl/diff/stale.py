# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which changes may hide a newer version of the image: what can be known of that from times alone.

The previous image is gone, so nobody can tell for sure which of its files the update has changed. What is known is when
this image came (prepare writes `image` into the backing directory then), when an entry of the upper layer was last
touched (ctime, which no program can set), and the times in the image, which many builds set to the same for all files.
So:

- an entry that was touched after this image came was made or kept over it, and is not stale;
- an older one is `newer` if the image's own file is younger than what hides it, and else `perhaps`.
"""

import os
from os import lstat

from overlay_prepare import stamp
from overlayctl.layers.change import CHANGED, DELETED, OPAQUE, REPLACED, Change

NEWER, PERHAPS = "newer", "perhaps"
EXPLANATIONS = {
    NEWER: "the image's is younger",
    PERHAPS: "from before this image; whether it has another version now can't be told",
}
_LONGEST_BOOT = 3600 * 10**9  # ns
_HIDING = (CHANGED, REPLACED, DELETED, OPAQUE)


def find_arrival(backing: str) -> "int | None":
    """When the present image came below the upper layer in `backing`, in ns; None if nothing was noted.

    The first mount counts as an arrival: then nothing is older.
    """
    try:
        return lstat(os.path.join(backing, stamp.NAME)).st_mtime_ns
    except FileNotFoundError:
        return None


def is_without_clock(arrival: int, root: str = "") -> bool:
    """True if the clock can't have been right at `arrival`, in ns: that is before the image was made, or soon after the
    time that systemd sets.

    A machine without a clock of its own boots in 1970, or at the time that PID 1 sets then: that of
    /usr/lib/clock-epoch, else that of its own build (systemd's NEWS on 250 and 259, clock_apply_epoch()).
    """
    made = _find_times(f"{root}/usr/lib/os-release", f"{root}/etc/os-release")
    epochs = _find_times(f"{root}/usr/lib/clock-epoch", f"{root}/usr/lib/systemd/systemd")
    return any(arrival < time for time in made) or any(time <= arrival < time + _LONGEST_BOOT for time in epochs)


def _find_times(*paths: str) -> "list[int]":
    """When those of the files that exist were last changed, in ns."""
    found = []
    for path in paths:
        try:
            found.append(os.stat(path).st_mtime_ns)
        except OSError:
            continue  # one clue less
    return found


def judge(change: Change, arrival: int) -> str:
    """NEWER or PERHAPS if `change` may hide another version than the previous image had, else "". Raises OSError."""
    if change.kind not in _HIDING or change.old_info is None:
        return ""
    if change.real is None:
        # Hidden by a directory above: that has no time for each of its names.
        return PERHAPS if change.kind == DELETED else ""
    own = change.info or lstat(change.real)
    if own.st_ctime_ns > arrival:
        return ""
    # Whiteouts are hard links of one inode (Linux 5.8): it is as old as the last of them.
    touched = own.st_mtime_ns if change.info else own.st_ctime_ns
    return NEWER if change.old_info.st_mtime_ns > touched else PERHAPS
