"""Makes the upper layer of an overlay, with all that the directory below it shows of itself."""

import posix

from overlay_prepare.files import find_kind, has_mode, list_attributes, sync_directory

SCRATCH = ".new-by-overlay-generator"


def make_upper(where: str, backing: str) -> "list[str]":
    """Make `backing`/upper with mode, owner, times, ACLs and labels of `where`, unless it is there already.

    Returns warnings about attributes that the file system can't hold. Raises OSError.
    """
    if not has_mode(backing, 0o700):
        # The layers hold files that their owners must not reach around the overlay.
        posix.chmod(backing, 0o700)
    upper = f"{backing}/upper"
    if find_kind(upper):
        return []
    warnings = make_like(where, upper)
    sync_directory(backing)
    return warnings


def make_like(source: str, path: str) -> "list[str]":
    """Make the directory `path` with mode, owner, times, ACLs and labels of `source`; warnings. Raises OSError."""
    # Complete before it has its name: after a power cut in between, this is done again.
    scratch = path + SCRATCH
    try:
        posix.mkdir(scratch, 0o700)
    except FileExistsError:
        posix.rmdir(scratch)
        posix.mkdir(scratch, 0o700)
    warnings = copy_attributes(source, scratch)
    posix.rename(scratch, path)
    return warnings


def copy_attributes(source: str, target: str) -> "list[str]":
    """Give the directory `target` mode, owner, attributes and times of `source`; warnings. Raises OSError."""
    info = posix.stat(source)
    for name in list_attributes(target):
        # Inherited from a default ACL of the backing directory.
        if name.startswith("system.posix_acl_"):
            posix.removexattr(target, name)
    posix.chown(target, info.st_uid, info.st_gid)
    posix.chmod(target, info.st_mode & 0o7777)
    warnings = []
    for name in list_attributes(source):
        try:
            posix.setxattr(target, name, posix.getxattr(source, name))
        except OSError as error:
            warnings.append(f"the upper layer of {source} can't have its {name}: {error.strerror}")
    posix.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
    return warnings
