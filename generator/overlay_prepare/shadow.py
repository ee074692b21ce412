# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A second tree of an upper layer whose files are links to the same files: what is dropped there stays in the first.

For the policies of an update with `Rollback=yes`: they work on the second tree, and a step back finds the first one as
it was. Directories are new ones, with all that those of the first have of attributes, and their times.
"""

import posix

from overlay_prepare.folder import Folder
from overlay_prepare.pairs import Names, Pairs, walk


def link_tree(source: Folder, target: Folder) -> None:
    """Fill the empty directory `target` with links to all in `source`. Raises OSError, where a file can't have
    another name as well (EPERM: immutable; EMLINK; ENOSPC).
    """
    # The attributes after what is in it, as that changes the times.
    walk(source, target, _link_files, _copy_all, moving=False)


def _link_files(pairs: Pairs) -> Names:
    """Link what is no directory, and make the directories; their names."""
    source, target = pairs.here
    found = Names()
    for entry in source.scan():
        if entry.is_dir(follow_symlinks=False):
            target.mkdir(entry.name)
            found.add(entry.name, pairs.depth)
        else:
            posix.link(entry.name, entry.name, src_dir_fd=source.fd, dst_dir_fd=target.fd, follow_symlinks=False)
    return found


def _copy_all(source: Folder, target: Folder) -> None:
    """Give the directory `target` mode, owner, times and every attribute of `source`, overlayfs's too."""
    info = posix.fstat(source.fd)
    wanted = posix.listxattr(source.fd)
    for name in posix.listxattr(target.fd):
        if name not in wanted and name.startswith("system.posix_acl_"):
            posix.removexattr(target.fd, name)
    posix.chown(target.fd, info.st_uid, info.st_gid)
    posix.chmod(target.fd, info.st_mode & 0o7777)
    for name in wanted:
        posix.setxattr(target.fd, name, posix.getxattr(source.fd, name))
    posix.utime(target.fd, ns=(info.st_atime_ns, info.st_mtime_ns))
