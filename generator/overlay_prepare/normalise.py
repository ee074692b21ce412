"""Makes an upper layer fit for another image: takes out what refers to inodes of the image that it was written over.

overlayfs keeps file handles of the lower layer in `trusted.overlay` attributes. In another image they lead to other
files, or nowhere: a file shows another one's content, or ESTALE (Linux 6.1, 6.12 and 6.18, squashfs always, ext4 and
erofs with a fixed UUID). What says what the user did stays: opaque, redirect, metacopy and whiteouts. Doing it twice,
or half and then whole, comes to the same.
"""

import errno
import posix

from overlay_prepare.files import MARKS, find_device, find_kind, is_on

OPAQUE, ORIGIN = MARKS + "opaque", MARKS + "origin"
_LONGEST = 2000  # bytes; PATH_MAX is 4096
_STALE = (ORIGIN, MARKS + "impure", MARKS + "nlink", MARKS + "upper")


def normalise(upper: str, work: str, files: bool = True) -> "tuple[int, list[str]]":
    """Strip all of `upper` and empty `work`; the number of references taken out, and the paths below `upper` of its
    opaque directories. Raises OSError.

    Without `files` only directories are stripped: right where no reference of a file can be followed in the new
    image, and it spares a look at each inode. Symbolic links are not followed and mount points not entered. `upper`
    must not be in use by an overlay.
    """
    count = 0
    opaque = []
    device = find_device(upper)
    pending = [upper]
    while pending:
        directory = pending.pop()
        has_whiteout = False
        try:
            with posix.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        if files:
                            count += _strip(entry.path)
                    elif entry.is_dir(follow_symlinks=False):
                        if is_on(entry, device):
                            pending.append(entry.path)
                    else:
                        has_whiteout = has_whiteout or is_whiteout(entry)
                        if files:
                            count += _strip(entry.path)
        except OSError as error:
            # Made by somebody who went there step by step; no image has anything so deep.
            if error.errno != errno.ENAMETOOLONG:
                raise
            continue
        found = posix.listxattr(directory)
        count += _strip_directory(directory, found, has_whiteout)
        if OPAQUE in found and posix.getxattr(directory, OPAQUE) == b"y":
            opaque.append(directory[len(upper) + 1 :])
    remove_below(work)
    return count, opaque


def remove(path: str) -> bool:
    """Remove what stands at `path`, with all that is in it; False if there is nothing. Raises OSError."""
    kind = find_kind(path)
    if kind == "d":
        remove_below(path)
        posix.rmdir(path)
    elif kind:
        posix.unlink(path)
    return bool(kind)


def remove_below(top: str) -> None:
    """Remove everything in the directory `top`, which stays itself. Raises OSError."""
    # Not recursive: a work directory's depth is not ours to know.
    pending = [top]
    emptied: list[str] = []
    moved = 0
    while pending:
        directory = pending.pop()
        if len(directory) > _LONGEST:
            # A path can be made longer than any system call takes: what lies deep is brought up first.
            moved += 1
            shorter = f"{top}/.deep-{moved}"
            posix.rename(directory, shorter)
            emptied.remove(directory)
            emptied.append(shorter)
            directory = shorter
        # overlayfs makes work/work with mode 000, which holds root back where it lacks CAP_DAC_OVERRIDE.
        with posix.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    emptied.append(entry.path)
                else:
                    posix.unlink(entry.path)
    for directory in reversed(emptied):
        posix.rmdir(directory)


def _strip(path: str) -> int:
    found = [name for name in posix.listxattr(path, follow_symlinks=False) if name in _STALE]
    return sum(_remove(path, name) for name in found)


def _remove(path: str, name: str) -> bool:
    try:
        posix.removexattr(path, name, follow_symlinks=False)
    except PermissionError:
        # An immutable file. That it may be shown wrong is no reason to have no directory at all.
        return False
    return True


def _strip_directory(path: str, present: "list[str]", has_whiteout: bool) -> int:
    found = [name for name in present if name in _STALE]
    # Empty means "copied up from somewhere unknown". Without any, the kernel does not look for whiteouts in a
    # directory that the new image has not: they are listed then, as names that don't exist (Linux 6.18, fs/overlayfs).
    known = ORIGIN in found and posix.getxattr(path, ORIGIN) != b""
    if known or (has_whiteout and ORIGIN not in found):
        try:
            posix.setxattr(path, ORIGIN, b"")
        except PermissionError:
            known = False
    return sum(_remove(path, name) for name in found if name != ORIGIN) + known


def is_whiteout(entry: "posix.DirEntry[str]") -> bool:
    """True if `entry` of an upper layer marks a deleted file. Raises OSError."""
    if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False) or entry.is_symlink():
        return False
    try:
        info = entry.stat(follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.EOVERFLOW:
            raise
        # See find_kind(). Nobody asks a device or a whiteout for its time: it gets the present one.
        posix.utime(entry.path, follow_symlinks=False)
        info = posix.lstat(entry.path)
    return info.st_mode & 0o170000 == 0o020000 and info.st_rdev == 0
