# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Copies what the image has, and the user does not have, in a directory that is passed through.

The copy is a tree of its own, which nobody sees before all of it is on the disk: nothing here is durable by itself.

The image may have the storage of a container engine, with layers of that one's overlays: their whiteouts and marks are
copied like all else. Where the copy is to be mixed with what an upper layer has, of which all marks go, they are
labelled: FOREIGN. A directory that both have is the user's, and gets none of the image's marks.
"""

import errno
import posix

from overlay_prepare.files import FOREIGN, MARKS, WHITEOUT, is_of_disk, list_known, send_all
from overlay_prepare.folder import Folder
from overlay_prepare.opaque import is_opaque
from overlay_prepare.report import WARNING, say
from overlay_prepare.tree import list_by_parts
from overlay_prepare.upper import copy_attributes


def copy_missing(source: str, target: Folder, mine: "Folder | None", hidden: bool = False) -> None:
    """Copy the image's `source` into the new directory `target`, except for what `mine` has or hides. `hidden`: the
    user sees nothing of what is in it, and it is empty.

    `mine` is a directory of an upper layer. Directories that both have are made in `target` for what is in them.
    Raises OSError.
    """
    copy = _Copy(target, label=mine is not None)
    if not hidden:
        copy.fill(source, target, mine, "")
    copy.lose(*copy_attributes(source, target.fd))
    if copy.lost:
        say(WARNING, f"{copy.first}; all in all {copy.lost} attributes were not copied")


def move_below(source: Folder, target: Folder) -> None:
    """Move everything from `source` into `target`, where only directories may have the same names. Raises OSError.

    Called again after an interruption, it moves the rest.
    """
    for entry in list_by_parts(source):
        if entry.is_dir(follow_symlinks=False) and target.find_kind(entry.name) == "d":
            with source.open(entry.name) as inner, target.open(entry.name) as other:
                move_below(inner, other)
        else:
            source.rename(entry.name, entry.name, target)


class _Copy:
    """`linked`: the first place below `top` of each file with several hard links, by device and inode in the image: a
    subvolume of btrfs has numbers of its own, from 256 on.

    `label` what has a meaning in an overlay.
    """

    def __init__(self, top: Folder, label: bool = False) -> None:
        self.top = top
        self.label = label
        self.first, self.lost = "", 0
        self.linked: dict[tuple[int, int], str] = {}

    def fill(self, source: str, target: Folder, mine: "Folder | None", inside: str) -> None:
        """Fill the directory `target`, which is at `inside` below the top."""
        if mine and is_opaque(mine.fd):
            return
        with posix.scandir(source) as entries:
            for entry in entries:
                kind = mine.find_kind(entry.name) if mine else ""
                place = f"{inside}{entry.name}"
                if not entry.is_dir(follow_symlinks=False):
                    if not kind:
                        self.copy(entry, target, place)
                elif kind in ("", "d"):
                    target.mkdir(entry.name)
                    with target.open(entry.name) as made:
                        with mine.open(entry.name) if mine and kind else _Nothing() as inner:
                            self.fill(entry.path, made, inner, f"{place}/")
                        # After what is in it, which changes its times.
                        self.lose(*copy_attributes(entry.path, made.fd))
                        if not kind:
                            self.copy_marks(entry.path, made.fd)

    def copy(self, entry: "posix.DirEntry[str]", target: Folder, place: str) -> None:
        """Copy what is not a directory to the `place` below the top, which is in `target`."""
        info = entry.stat(follow_symlinks=False)
        inode = info.st_dev, info.st_ino
        if info.st_nlink > 1 and inode in self.linked:
            # This copy made all directories above it, so that no link leads its path elsewhere.
            posix.link(
                self.linked[inode],
                entry.name,
                src_dir_fd=self.top.fd,
                dst_dir_fd=target.fd,
                follow_symlinks=False,
            )
            return
        if entry.is_symlink():
            posix.symlink(posix.readlink(entry.path), entry.name, dir_fd=target.fd)
        elif entry.is_file():
            _copy_content(entry.path, target.create(entry.name))
        else:
            target.mknod(entry.name, info.st_mode, info.st_rdev)
        path = target.reach(entry.name)
        posix.chown(path, info.st_uid, info.st_gid, follow_symlinks=False)
        if not entry.is_symlink():
            posix.chmod(path, info.st_mode & 0o7777)
        names = [name for name in list_known(entry.path, entry.path)[0] if not is_of_disk(name)]
        for name in names:
            value = posix.getxattr(entry.path, name, follow_symlinks=False)
            try:
                posix.setxattr(path, name, value, follow_symlinks=False)
            except OSError as error:
                # One of a kind that the disk does not know is no reason to pass nothing through.
                if error.errno != errno.EOPNOTSUPP:
                    raise
                self.lose(f"the copy of {entry.path} can't have its {name}: {error.strerror}")
        is_whiteout = info.st_mode & 0o170000 == WHITEOUT and info.st_rdev == 0
        if self.label and (is_whiteout or any(name.startswith(MARKS) for name in names)):
            posix.setxattr(path, FOREIGN, b"", follow_symlinks=False)
        posix.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)
        if info.st_nlink > 1:
            self.linked[inode] = place

    def lose(self, *warnings: str) -> None:
        """Count what the disk can't have, of which there may be any number."""
        self.first = self.first or next(iter(warnings), "")
        self.lost += len(warnings)

    def copy_marks(self, source: str, target: int) -> None:
        """Give the directory `target` the marks of an overlay that `source` has."""
        names = [name for name in list_known(source, source)[0] if name.startswith(MARKS)]
        for name in names:
            posix.setxattr(target, name, posix.getxattr(source, name))
        if names and self.label:
            posix.setxattr(target, FOREIGN, b"")


class _Nothing:
    """Stands in for a directory that the user does not have."""

    def __enter__(self) -> None:
        """None."""

    def __exit__(self, *_arguments: object) -> None:
        """Do nothing."""


def _copy_content(source: str, writer: int) -> None:
    """Copy the file `source` to `writer`, which is closed."""
    try:
        reader = posix.open(source, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            send_all(reader, writer)
        finally:
            posix.close(reader)
    finally:
        posix.close(writer)
