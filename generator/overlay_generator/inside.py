# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a path leads inside the tree of an image, whose links are relative to the tree's root: for --root.

Never at boot: there the root is the machine's own.
"""

import errno
import posix

MOST_LINKS = 40  # as the kernel: path_resolution(7)


_TYPE_BITS, _CHARACTER, _BLOCK = 0o170000, 0o020000, 0o060000  # S_IFMT, S_IFCHR and S_IFBLK of stat(2)


def resolve(root: str, path: str, follow: bool = True) -> str:
    """The absolute path in the tree at `root` that `path` leads to, as after chroot(2): no link leaves the tree.

    What is not there stays as it is written, and without `follow` so does a link at the end. Raises OSError (ELOOP)
    for links in a circle.
    """
    done: list[str] = []
    pending = list(reversed([part for part in path.split("/") if part not in ("", ".")]))
    links = 0
    while pending:
        part = pending.pop()
        if part == "..":
            done = done[:-1]
            continue
        if part in ("", "."):
            continue
        done.append(part)
        if not (pending or follow):
            break
        try:
            target = posix.readlink(f"{root}/{'/'.join(done)}")
        except (OSError, ValueError):
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, "too many symbolic links", root + path)
        done = [] if target.startswith("/") else done[:-1]
        pending += reversed(target.split("/"))
    return f"/{'/'.join(done)}"


def find(root: str, path: str, follow: bool = True) -> str:
    """The path on this machine of what resolve() finds. Raises OSError, with `follow` also for a device."""
    place = root + resolve(root, path, follow)
    if follow:
        refuse_device(place, posix.stat(place))
    return place


def refuse_device(place: str, info: "posix.stat_result") -> None:
    """Raises OSError if `info` of `place` is that of a device: its content would be this machine's."""
    if info.st_mode & _TYPE_BITS in (_CHARACTER, _BLOCK):
        raise OSError(errno.ENXIO, "it is a device, which is not opened in a tree", place)
