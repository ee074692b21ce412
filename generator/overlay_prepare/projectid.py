# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Moves files into directories that have a project ID (xfs_quota(8), chattr(1)), see projects.py.

A directory whose ID is inherited (FS_XFLAG_PROJINHERIT) accepts no file with another one: rename(2) and link(2) fail
with EXDEV. Whoever owns a directory may give it one, and a copy-up does not keep it: so no two directories here need to
have the same.
"""

import errno
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from overlay_prepare.folder import Folder

_GET = 0x801C581F  # FS_IOC_FSGETXATTR of <linux/fs.h>: _IOR('X', 31, struct fsxattr)
_SET = 0x401C5820  # FS_IOC_FSSETXATTR: _IOW('X', 32, struct fsxattr)
_DIRECTIONS = 0xC0000000  # the two bits for the direction of an ioctl, which other architectures have the other way
_OTHER_BITS = ("mips", "ppc", "alpha", "sparc", "parisc")
_SIZE = 28  # bytes of struct fsxattr: flags, extent size, extents, project, extent size of copies, padding
INHERITS = 0x200  # FS_XFLAG_PROJINHERIT
_UNABLE = (errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS)


def move(source: "Folder", name: str, target: "Folder", other: str) -> bool:
    """Give `name` of `source` the name `other` in `target`, which failed with EXDEV; False as in insist()."""
    return insist(lambda: posix.rename(name, other, src_dir_fd=source.fd, dst_dir_fd=target.fd), target, source, name)


def insist(call: "Callable[[], object]", target: "Folder", source: "Folder | None" = None, name: str = "") -> bool:
    """Do `call` again, a rename or link into the directory `target` that has failed with EXDEV; False if project IDs
    are not the reason, or can't be changed. `name` in `source` is what is moved, if it may get another ID.

    Raises OSError.
    """
    try:
        state = get(target.fd)
    except (ImportError, OSError):
        return False
    if not read_flags(state) & INHERITS:
        return False
    try:
        if source and _adopt(source, name, read_project(state)):
            try:
                call()
                return True
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        # What can't have the ID, as a whiteout or a link, or has one of its own, which stays. A power cut in between
        # leaves a directory whose new files are not counted: nothing fails for that, as it would with another ID on
        # what is moved, which could be renamed nowhere then.
        change(target.fd, state, read_flags(state) & ~INHERITS, read_project(state))
        try:
            call()
        finally:
            change(target.fd, state, read_flags(state), read_project(state))
    except OSError as error:
        if error.errno == errno.EXDEV or error.errno in _UNABLE:
            return False
        raise
    return True


def _adopt(source: "Folder", name: str, project: int) -> bool:
    """Give what nobody has given an ID that of the directory it goes to, as it would have had if made there: it counts
    for that, and its owner can rename it there. False if that is not done.

    After a power cut it has the ID in its old place, where it does no harm.
    """
    kind = source.find_kind(name)
    if kind not in ("f", "d"):
        return False  # an ioctl needs it open
    flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
    try:
        fd = posix.open(name, flags | (posix.O_DIRECTORY if kind == "d" else 0), dir_fd=source.fd)
    except OSError:
        return False
    try:
        state = get(fd)
        # The other names of a file may be where it has the right ID.
        if read_project(state) or (kind == "f" and posix.fstat(fd).st_nlink > 1):
            return False
        change(fd, state, read_flags(state), project)
        return True
    except OSError:
        return False  # a quota that is used up, an immutable file
    finally:
        posix.close(fd)


def get(fd: int) -> bytes:
    """The struct fsxattr of what is open. Raises OSError, and ImportError where Python is too small."""
    from fcntl import ioctl

    return ioctl(fd, _number(_GET), bytes(_SIZE))


def change(fd: int, state: bytes, flags: int, project: int) -> None:
    """Change the flags and the project ID of what is open and has the struct `state`. Raises OSError."""
    from fcntl import ioctl

    order = sys.byteorder
    ioctl(fd, _number(_SET), flags.to_bytes(4, order) + state[4:12] + project.to_bytes(4, order) + state[16:])


def _number(request: int) -> int:
    return request ^ _DIRECTIONS if posix.uname().machine.startswith(_OTHER_BITS) else request


def read_flags(state: bytes) -> int:
    """The flags in what get() returns."""
    return int.from_bytes(state[:4], sys.byteorder)


def read_project(state: bytes) -> int:
    """The project ID in what get() returns."""
    return int.from_bytes(state[12:16], sys.byteorder)
