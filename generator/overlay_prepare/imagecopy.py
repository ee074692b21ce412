"""Copies what an image has in a directory, for one that is passed through, beside what the user has there.

Into a tree of its own, which nobody is shown before all of it is on the disk: nothing here is durable by itself.
"""

import posix

from overlay_prepare.files import find_kind, list_attributes, list_entries
from overlay_prepare.opaque import is_opaque
from overlay_prepare.upper import copy_attributes

_CHUNK = 1 << 20  # bytes


def copy_missing(source: str, target: str, mine: str, linked: "dict[int, str]") -> None:
    """Copy into the directory `target` what `source` has, but for what `mine` has or hides. Raises OSError.

    `mine` is a directory of an upper layer, "" for none. Directories that both have are made in `target` for what is
    in them. `linked` are the files with several names so far, by inode.
    """
    if mine and is_opaque(mine):
        return
    for entry in list_entries(source):
        path = f"{target}/{entry.name}"
        inner = f"{mine}/{entry.name}" if mine else ""
        kind = find_kind(inner) if inner else ""
        directory = entry.is_dir(follow_symlinks=False)
        if kind and not (directory and kind == "d"):
            continue
        if directory:
            posix.mkdir(path, 0o700)
            copy_missing(entry.path, path, inner if kind else "", linked)
            # After what is in it, which changes its times.
            copy_attributes(entry.path, path)
        else:
            _copy(entry, path, linked)


def move_below(source: str, target: str) -> None:
    """Move all from the directory `source` into `target`, which has but directories of it. Raises OSError.

    Done again after a half, it moves the rest.
    """
    for entry in list_entries(source):
        path = f"{target}/{entry.name}"
        if entry.is_dir(follow_symlinks=False) and find_kind(path) == "d":
            move_below(entry.path, path)
        else:
            posix.rename(entry.path, path)


def _copy(entry: "posix.DirEntry[str]", path: str, linked: "dict[int, str]") -> None:
    info = entry.stat(follow_symlinks=False)
    if info.st_nlink > 1 and info.st_ino in linked:
        posix.link(linked[info.st_ino], path, follow_symlinks=False)
        return
    if entry.is_symlink():
        posix.symlink(posix.readlink(entry.path), path)
    elif entry.is_file(follow_symlinks=False):
        _copy_content(entry.path, path)
    else:
        posix.mknod(path, info.st_mode, info.st_rdev)
    posix.chown(path, info.st_uid, info.st_gid, follow_symlinks=False)
    if not entry.is_symlink():
        posix.chmod(path, info.st_mode & 0o7777)
    for name in list_attributes(entry.path):
        value = posix.getxattr(entry.path, name, follow_symlinks=False)
        posix.setxattr(path, name, value, follow_symlinks=False)
    posix.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)
    linked[info.st_ino] = path


def _copy_content(source: str, target: str) -> None:
    reader = posix.open(source, posix.O_RDONLY | posix.O_CLOEXEC)
    writer = posix.open(target, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
    try:
        while posix.sendfile(writer, reader, None, _CHUNK):
            pass
    finally:
        posix.close(reader)
        posix.close(writer)
