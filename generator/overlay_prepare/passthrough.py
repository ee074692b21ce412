"""Directories that are passed through: kept beside the upper layer and bound over the overlay.

For what can't live on an overlay, such as the storage of a container engine. Each is in `direct` of the backing
directory, under the flat name of its path. The first time it takes over what the upper layer has there, then what the
image has. The steps have names of their own on the disk, so that a power cut at any moment is no harm:
NAME.taken or NAME.new (being filled), NAME.full (the upper layer's marks are being taken out), NAME.
"""

import errno
import posix

from overlay_generator.names import backing_name
from overlay_prepare.files import (
    MARKS,
    find_kind,
    is_too_long,
    leads_to_directory,
    list_attributes,
    list_entries,
    make_directory,
    remove_file,
    sync_directory,
)
from overlay_prepare.normalise import OPAQUE, is_whiteout
from overlay_prepare.upper import SCRATCH, make_like

TOP = "direct"
_TAKEN = ".taken"  # from the upper layer
_CHUNK = 1 << 20  # bytes


def make_direct(where: str, backing: str, path: str) -> None:
    """Make the directory for the absolute `path` below `where`, unless it is there already. Raises OSError."""
    top = f"{backing}/{TOP}"
    make_directory(top, 0o700)
    target = f"{top}/{backing_name(path)}"
    if find_kind(target):
        return
    if not find_kind(target + ".full"):
        inner = path[len(where.rstrip("/")) + 1 :]
        scratch = _begin(f"{backing}/upper", inner, path, target)
        try:
            if find_kind(path) == "d":
                _fill(path, scratch, {})
        except OSError:
            # Not passed through then, and what the user has there is seen all the same.
            if scratch.endswith(_TAKEN):
                posix.rename(scratch, f"{backing}/upper/{inner}")
            raise
        posix.sync()
        posix.rename(scratch, target + ".full")
    _clean(target + ".full")
    posix.rename(target + ".full", target)
    sync_directory(top)


def link(name: str, backing: str, state: str) -> None:
    """Make the path by which the units name the directories: a link in the directory `state`. Raises OSError."""
    path = f"{state}/{name}.{TOP}"
    try:
        posix.symlink(f"{backing}/{TOP}", path)
    except FileExistsError:
        pass


def _begin(upper: str, inner: str, image: str, target: str) -> str:
    """The directory to be filled: what was written there before it was passed through, as nobody would find that below
    the bind mount, else a new one.
    """
    taken, new = target + _TAKEN, target + ".new"
    if find_kind(taken):
        return taken
    if leads_to_directory(upper, inner):
        posix.rename(f"{upper}/{inner}", taken)
        return taken
    if not find_kind(new):
        if find_kind(image) == "d":
            make_like(image, new)
        else:
            posix.mkdir(new, 0o755)
    return new


def _fill(source: str, target: str, linked: "dict[int, str]") -> None:
    """Copy what `target` has not from the directory `source`; `linked` are files with several names, by inode."""
    if OPAQUE in posix.listxattr(target):
        return
    for entry in list_entries(source):
        path = f"{target}/{entry.name}"
        kind = find_kind(path)
        if not entry.is_dir(follow_symlinks=False):
            if not kind:
                _copy(entry, path, linked)
            elif kind == "f" and _is_copy(entry, path):
                linked.setdefault(entry.inode(), path)
        elif kind in ("", "d"):
            if not kind:
                make_like(entry.path, path)
            _fill(entry.path, path, linked)
            if not kind:
                info = entry.stat(follow_symlinks=False)
                posix.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def _is_copy(entry: "posix.DirEntry[str]", path: str) -> bool:
    """True for what was copied before a power cut and has more names in the image."""
    info = entry.stat(follow_symlinks=False)
    if info.st_nlink == 1:
        return False
    try:
        other = posix.lstat(path)
    except OSError as error:
        if error.errno != errno.EOVERFLOW:
            raise
        return False  # later than 32 bits of time can say, and no image is so late
    return (info.st_size, info.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _copy(entry: "posix.DirEntry[str]", path: str, linked: "dict[int, str]") -> None:
    info = entry.stat(follow_symlinks=False)
    if info.st_nlink > 1 and info.st_ino in linked:
        posix.link(linked[info.st_ino], path, follow_symlinks=False)
        return
    scratch = path + SCRATCH
    remove_file(scratch)  # of a boot that was cut off
    try:
        _copy_to(entry, info, scratch)
    except OSError:
        remove_file(scratch)
        raise
    posix.rename(scratch, path)
    linked[info.st_ino] = path


def _copy_to(entry: "posix.DirEntry[str]", info: "posix.stat_result", scratch: str) -> None:
    if entry.is_symlink():
        posix.symlink(posix.readlink(entry.path), scratch)
    elif entry.is_file(follow_symlinks=False):
        _copy_content(entry.path, scratch)
    else:
        posix.mknod(scratch, info.st_mode, info.st_rdev)
    posix.chown(scratch, info.st_uid, info.st_gid, follow_symlinks=False)
    if not entry.is_symlink():
        posix.chmod(scratch, info.st_mode & 0o7777)
    for name in list_attributes(entry.path):
        value = posix.getxattr(entry.path, name, follow_symlinks=False)
        posix.setxattr(scratch, name, value, follow_symlinks=False)
    posix.utime(scratch, ns=(info.st_atime_ns, info.st_mtime_ns), follow_symlinks=False)


def _copy_content(source: str, target: str) -> None:
    reader = posix.open(source, posix.O_RDONLY | posix.O_CLOEXEC)
    writer = posix.open(target, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
    try:
        while posix.sendfile(writer, reader, None, _CHUNK):
            pass
    finally:
        posix.close(reader)
        posix.close(writer)


def _clean(top: str) -> None:
    """Take out what only an overlay gives a meaning: whiteouts, and marks on directories and files."""
    pending = [top]
    while pending:
        directory = pending.pop()
        _strip(directory)
        for entry in list_entries(directory):
            if entry.is_dir(follow_symlinks=False):
                if not is_too_long(entry.path):
                    pending.append(entry.path)
            elif is_whiteout(entry):
                posix.unlink(entry.path)
            else:
                _strip(entry.path)


def _strip(path: str) -> None:
    for name in posix.listxattr(path, follow_symlinks=False):
        if name.startswith(MARKS):
            posix.removexattr(path, name, follow_symlinks=False)
