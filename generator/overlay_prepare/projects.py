# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Project IDs of directories, by which xfs, ext4 and f2fs count quotas (xfs_quota(8), chattr(1)).

A directory whose ID is inherited (FS_XFLAG_PROJINHERIT) accepts no file with another ID: rename(2) fails with EXDEV.
overlayfs makes each copy-up in work and renames it into upper, so the two have to have the same.
"""

from overlay_prepare.projectid import INHERITS, get, read_flags, read_project
from overlay_prepare.report import WARNING, describe, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_prepare.folder import Folder


def warn_of_clash(backing: "Folder", where: str) -> None:
    """Warn if no file can be moved from `backing`/work to its upper, as every first write to a file of `where` is."""
    try:
        (flags, upper), (_, work) = (_read(backing, name) for name in ("upper", "work"))
    except (ImportError, OSError) as error:
        # A minimal Python may lack fcntl: no reason to go without the overlay.
        say(WARNING, f"{where}: it is not known whether upper and work have the same project ID: {describe(error)}")
        return
    if flags & INHERITS and upper != work:
        say(
            WARNING,
            f"{where}: files of the image can't be changed (EXDEV): the project ID of {backing.path}/upper is {upper}, "
            f"that of work {work}; run chattr +P -p {upper} {backing.path}/work, and boot again",
        )


def _read(backing: "Folder", name: str) -> "tuple[int, int]":
    """The flags and the project ID of the directory `name`. Raises OSError."""
    with backing.open(name) as folder:
        state = get(folder.fd)
    return read_flags(state), read_project(state)
