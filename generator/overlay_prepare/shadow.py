# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second tree of an upper layer whose files are links to the same files: what is dropped there stays in the first.

For the policies of an update with `Rollback=yes`: they work on the second tree, and a step back finds the first one as
it was. Directories are new ones, with all that those of the first have of attributes, and their times.
"""

import errno
import posix

from overlay_prepare.files import ACLS, find_attributes, list_known, remove_attribute, set_attribute
from overlay_prepare.folder import Folder, look_at
from overlay_prepare.marks import NO_ROOM
from overlay_prepare.pairs import Names, Pairs, walk
from overlay_prepare.projectid import insist
from overlay_prepare.report import WARNING, say
from overlay_prepare.reserve import is_low

_CHUNK = 1 << 20  # bytes
_SEEK_SET, _SEEK_END = 0, 2  # of lseek(2), which posix lacks


def link_tree(source: Folder, target: Folder, spare: Folder) -> None:
    """Fill the empty directory `target` with links to all in `source`. A file that has as many names as it can gets a
    copy, which the names that are left share; each has a name in the directory `spare`. Raises OSError, where a file
    can't have another name for another reason (EPERM: immutable; ENOSPC).
    """
    # The attributes after what is in it, as that changes the times.
    walk(source, target, _Links(spare).link, _copy_all, moving=False)


class _Links:
    def __init__(self, spare: Folder) -> None:
        self.spare = spare

    def link(self, pairs: Pairs) -> Names:
        """Link what is no directory, and make the directories; their names."""
        source, target = pairs.here
        found = Names()
        for entry in source.scan():
            if entry.is_dir(follow_symlinks=False):
                target.mkdir(entry.name)
                found.add(entry.name, pairs.depth)
                continue
            try:
                _link(source, entry.name, target, entry.name)
            except OSError as error:
                if error.errno != errno.EMLINK:
                    raise
                self._link_copy(source, entry, target)
        return found

    def _link_copy(self, source: Folder, entry: "posix.DirEntry[str]", target: Folder) -> None:
        # On the disk, not in memory: anybody can make many such files.
        name = f"{entry.inode()}"
        try:
            _link(self.spare, name, target, entry.name)
            return
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EMLINK):
                raise
            if error.errno == errno.EMLINK:
                self.spare.unlink(name)  # the copy has as many as well
        _copy_file(source, entry.name, self.spare, name)
        _link(self.spare, name, target, entry.name)


def _link(source: Folder, name: str, target: Folder, other: str) -> None:
    def do() -> None:
        posix.link(name, other, src_dir_fd=source.fd, dst_dir_fd=target.fd, follow_symlinks=False)

    try:
        do()
    except OSError as error:
        if error.errno == errno.EXDEV and insist(do, target):
            return
        error.filename, error.filename2 = source.spell(name), target.spell(other)
        raise


def _copy_file(source: Folder, name: str, target: Folder, other: str) -> None:
    """Make a copy of what is no directory, with all that it has."""
    info = look_at(lambda: source.stat(name))
    kind = source.find_kind(name)
    if kind == "l":
        posix.symlink(posix.readlink(name, dir_fd=source.fd), other, dir_fd=target.fd)
    elif kind == "f":
        _copy_content(source, name, target, other)
    elif info:
        target.mknod(other, info.st_mode, info.st_rdev)
    at, to = source.reach(name), target.reach(other)
    if info:
        posix.chown(to, info.st_uid, info.st_gid, follow_symlinks=False)
    # After the owner, which takes capabilities away, and with it those bits that do.
    _copy_attributes(at, to, source.spell(name), target)
    if info and kind != "l":
        posix.chmod(to, info.st_mode & 0o7777)
    if info:
        posix.utime(to, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)


def _copy_content(source: Folder, name: str, target: Folder, other: str) -> None:
    """Copy the content of a file with its holes: they may be larger than the disk."""
    flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
    reader = posix.open(name, flags, dir_fd=source.fd)
    try:
        writer = target.create(other)
        try:
            end = at = 0
            while True:
                try:
                    at = posix.lseek(reader, end, posix.SEEK_DATA)
                except OSError as error:
                    if error.errno != errno.ENXIO:
                        raise
                    break  # nothing but a hole is left
                end = posix.lseek(reader, at, posix.SEEK_HOLE)
                posix.lseek(writer, at, _SEEK_SET)
                while at < end:
                    done = posix.sendfile(writer, reader, at, min(end - at, _CHUNK))
                    if not done:
                        break
                    at += done
            posix.ftruncate(writer, posix.lseek(reader, 0, _SEEK_END))
        finally:
            posix.close(writer)
    finally:
        posix.close(reader)


def _copy_all(source: Folder, target: Folder) -> None:
    """Give the directory `target` mode, owner, times and every attribute of `source`, overlayfs's too."""
    info = posix.fstat(source.fd)
    for name in find_attributes(target.fd, target.path, ACLS):
        remove_attribute(target.fd, target.path, name)
    posix.chown(target.fd, info.st_uid, info.st_gid)
    posix.chmod(target.fd, info.st_mode & 0o7777)
    # The links of a path through the open directory are followed, and no others.
    _copy_attributes(f"/proc/self/fd/{source.fd}/.", f"/proc/self/fd/{target.fd}/.", source.path, target)
    posix.utime(target.fd, ns=(info.st_atime_ns, info.st_mtime_ns))


def _copy_attributes(at: str, to: str, path: str, target: Folder) -> None:
    """Give `to`, in the directory `target`, all attributes of `at`, which messages call `path`."""
    for name in _list_attributes(at, path):
        value = posix.getxattr(at, name, follow_symlinks=False)
        try:
            set_attribute(to, path, name, value)
        except OSError as error:
            # What fits on one inode in the one order need not fit in another (ext4), and its owner has filled it.
            if not name.startswith("user.") or error.errno not in NO_ROOM or is_low(target):
                raise
            say(WARNING, f"{path} is without its {name}, which a step back brings again: {error.strerror}")


def _list_attributes(at: str, path: str) -> "list[str]":
    """The names of its attributes, those of its owner last."""
    names, whole = list_known(at, path)
    if not whole:
        say(WARNING, f"{path} is without its user.* attributes, which a step back brings again: there are too many")
    return sorted(names, key=lambda name: name.startswith("user."))
