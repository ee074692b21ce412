# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the upper layer of an overlay, with mode, owner, times and attributes of the directory below it."""

import posix

from overlay_prepare.files import ACLS, find_attributes, is_of_file, list_known, read_attribute, remove_attribute
from overlay_prepare.folder import Folder
from overlay_prepare.tree import remove

SCRATCH = ".new-by-overlay-generator"


def make_upper(where: str, backing: Folder) -> "list[str]":
    """Make `backing`/upper with mode, owner, times, ACLs and labels of `where`, unless it is there already.

    Returns warnings about attributes that the file system can't hold. Raises OSError.
    """
    if not backing.has_mode(0o700):
        # The layers hold files that their owners must not reach other than through the overlay.
        posix.chmod(backing.fd, 0o700)
    backing.expect("upper", "d")
    try:
        backing.open("upper").close()
        return []
    except FileNotFoundError:
        pass  # a new one is made now
    warnings = make_like(where, backing, "upper")
    backing.sync()
    return warnings


def make_like(source: str, folder: Folder, name: str) -> "list[str]":
    """Make the directory `name` with mode, owner, times, ACLs and labels of `source`; warnings. Raises OSError."""
    # Complete before it has its name: after a power cut in between, this is done again.
    scratch = name + SCRATCH
    try:
        folder.mkdir(scratch, 0o700)
    except FileExistsError:
        remove(folder, scratch)
        folder.mkdir(scratch, 0o700)
    with folder.open(scratch) as made:
        warnings = copy_attributes(source, made.fd, _name(source, made.path))
        posix.fsync(made.fd)
    folder.rename(scratch, name)
    return warnings


def copy_attributes(source: str, target: "str | int", path: str = "") -> "list[str]":
    """Give the directory `target`, a path or a descriptor, mode, owner, attributes and times of `source`; warnings,
    with `path` for `source` if it is given.

    Raises OSError.
    """
    path = path or source
    info = posix.stat(source)
    for name in find_attributes(target, path, ACLS):
        # Inherited from a default ACL of the backing directory.
        remove_attribute(target, path, name)
    posix.chown(target, info.st_uid, info.st_gid)
    posix.chmod(target, info.st_mode & 0o7777)
    warnings = []
    names, whole = list_known(source, path)
    if not whole:
        warnings.append(f"{path} has too many attributes to be listed: of those that users have set none is copied")
    for name in names:
        if not is_of_file(name):
            continue
        try:
            posix.setxattr(target, name, posix.getxattr(source, name))
        except OSError as error:
            warnings.append(f"the upper layer of {path} can't have its {name}: {error.strerror}")
    posix.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
    return warnings


def follow_attributes(source: str, target: int, path: str) -> "list[str]":
    """copy_attributes() for an open directory that has attributes already: those that `source` lacks are removed.

    Returns warnings, with the `path` of `target`: an attribute that the kernel does not let go must not keep the
    others, mode and owner from being changed. Raises OSError.
    """
    origin = _name(source, path)
    wanted, whole = list_known(source, origin)
    names, all_told = list_known(target, path)
    warnings = []
    if not all_told:
        warnings.append(f"{path} has too many attributes to be listed, and keeps those that users have set")
    for name in names:
        if not is_of_file(name):
            continue
        # SELinux lets nobody remove a label as long as a policy is loaded, also in permissive mode (EACCES of
        # selinux_inode_removexattr(), Linux 6.12); it is replaced below, or stays if `source` has none.
        if name in wanted or name == "security.selinux":
            continue
        if not whole and read_attribute(source, origin, name) is not None:
            continue
        try:
            posix.removexattr(target, name)
        except OSError as error:
            warnings.append(f"{path} keeps its {name}: {error.strerror}")
    return warnings + copy_attributes(source, target, origin)


def _name(source: str, path: str) -> str:
    """What messages call `source`: a path through a descriptor means nothing to a person, `path` is near it."""
    return path if source.startswith("/proc/self/fd/") else source
