"""Makes an upper layer fit for another image: takes out what refers to inodes of the image that it was written over.

overlayfs keeps file handles of the lower layer in `trusted.overlay` attributes. In another image they lead to other
files, or nowhere: a file shows another one's content, or ESTALE (Linux 6.1, 6.12 and 6.18, squashfs always, ext4 and
erofs with a fixed UUID). What says what the user did stays: opaque, redirect, metacopy and whiteouts. Doing it twice,
or half and then whole, comes to the same.
"""

import posix

_ORIGIN = "trusted.overlay.origin"
_STALE = (_ORIGIN, "trusted.overlay.impure", "trusted.overlay.nlink", "trusted.overlay.upper")


def normalise(upper: str, work: str) -> int:
    """Strip all of `upper` and empty `work`; the number of references taken out. Raises OSError.

    Symbolic links are not followed and mount points not entered. `upper` must not be in use by an overlay.
    """
    count = 0
    device = posix.lstat(upper).st_dev
    pending = [upper]
    while pending:
        directory = pending.pop()
        has_whiteout = False
        with posix.scandir(directory) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    count += _strip(entry.path)
                    has_whiteout = has_whiteout or _is_whiteout(entry)
                elif entry.stat(follow_symlinks=False).st_dev == device:
                    pending.append(entry.path)
        count += _strip_directory(directory, has_whiteout)
    remove_below(work)
    return count


def remove_below(top: str) -> None:
    """Remove everything in the directory `top`, which stays itself. Raises OSError."""
    # Not recursive: a work directory's depth is not ours to know.
    pending = [top]
    emptied = []
    while pending:
        directory = pending.pop()
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
    for name in found:
        posix.removexattr(path, name, follow_symlinks=False)
    return len(found)


def _strip_directory(path: str, has_whiteout: bool) -> int:
    found = [name for name in posix.listxattr(path) if name in _STALE]
    # Empty means "copied up from somewhere unknown". Without any, the kernel does not look for whiteouts in a
    # directory that the new image has not: they are listed then, as names that don't exist (Linux 6.18, fs/overlayfs).
    known = _ORIGIN in found and posix.getxattr(path, _ORIGIN) != b""
    if known or (has_whiteout and _ORIGIN not in found):
        posix.setxattr(path, _ORIGIN, b"")
    others = [name for name in found if name != _ORIGIN]
    for name in others:
        posix.removexattr(path, name)
    return len(others) + known


def _is_whiteout(entry: "posix.DirEntry[str]") -> bool:
    if entry.is_file(follow_symlinks=False) or entry.is_symlink():
        return False
    info = entry.stat(follow_symlinks=False)
    return info.st_mode & 0o170000 == 0o020000 and info.st_rdev == 0
