# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What prepare and its steps do with files and directories by their paths, in the image and below /run.

A backing directory is on a disk that anybody may have written: only folder.py and tree.py access what is in it.
"""

# errno is built into the interpreter: no file is opened for it. On MIPS, SPARC and Alpha most numbers differ from x86.
import errno
import posix

from overlay_prepare.folder import find_mount, open_top

_CHUNK = 1 << 20  # bytes
_O_PATH = getattr(posix, "O_PATH", 0o10000000)

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# The prefix of overlayfs's own extended attributes, which have a meaning only in the layer that they are found in.
MARKS = "trusted.overlay."
WHITEOUT = 0o020000  # S_IFCHR of stat(2); overlayfs's mark of a deleted file is the character device 0:0
_LONGEST = 3800  # bytes; with one more name it is still below PATH_MAX

_KINDS = {0o100000: "f", 0o040000: "d", 0o120000: "l"}  # S_IFMT of stat(2)


def find_kind(path: str) -> str:
    """f, d, l or o (any other) for what is at `path`, "" for nothing. Raises OSError."""
    try:
        return _KINDS.get(posix.lstat(path).st_mode & 0o170000, "o")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        if error.errno != errno.EOVERFLOW:
            raise
    # The file has a time after 2038, and the C library's time_t has 32 bits: lstat(2) fails, but the directory entry
    # has the type.
    directory, _, name = path.rpartition("/")
    for entry in list_entries(directory or "/"):
        if entry.name == name:
            if entry.is_symlink():
                return "l"
            return "f" if entry.is_file() else "d" if entry.is_dir() else "o"
    return ""


def find_device(path: str) -> int:
    """st_dev of what is at `path`, for is_on(); -1 where lstat(2) fails with a 32-bit time_t. Raises OSError."""
    try:
        return posix.lstat(path).st_dev
    except OSError as error:
        if error.errno != errno.EOVERFLOW:
            raise
        return -1


def has_mode(path: str, mode: int) -> bool:
    """True if the permissions of `path` are `mode`; False also where stat(2) fails with a 32-bit time_t.

    Raises OSError.
    """
    try:
        return posix.stat(path).st_mode & 0o7777 == mode
    except OSError as error:
        if error.errno != errno.EOVERFLOW:
            raise
        return False


def is_on(entry: "posix.DirEntry[str]", device: int) -> bool:
    """True if `entry` is of the same file system as the one that it is in; `device` is find_device() of
    one above. Raises OSError.
    """
    try:
        if device != -1 and entry.stat(follow_symlinks=False).st_dev == device:
            return True
    except OSError as error:
        if error.errno != errno.EOVERFLOW:
            raise
    # A subvolume of btrfs has a device number of its own, and is as good as a directory.
    return _find_mount(entry.path) == _find_mount(entry.path.rpartition("/")[0] or "/")


def _find_mount(path: str) -> bytes:
    # O_PATH: no device is opened, and no server asked that may not answer.
    fd = posix.open(path, _O_PATH | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    try:
        return find_mount(fd)
    finally:
        posix.close(fd)


def leads_to_directory(top: str, path: str) -> bool:
    """True if each part of `path` below `top` is a directory, none a symbolic link. Raises OSError."""
    for part in path.split("/") if path else ():
        top += f"/{part}"
        if find_kind(top) != "d":
            return False
    return True


def is_too_long(path: str) -> bool:
    """True if what is in the directory `path` has paths that are too long for the kernel: anybody can make such a tree,
    level by level.
    """
    # A character has up to four bytes: the first condition saves encoding each path of a large tree.
    return len(path) > 900 and len(path.encode("utf-8", "surrogateescape")) > _LONGEST


def list_entries(path: str) -> "list[posix.DirEntry[str]]":
    """All entries of the directory `path`, which may then be changed; none if it is missing. Raises OSError."""
    try:
        with posix.scandir(path) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def make_directory(path: str, mode: int) -> None:
    """Make the directory `path`, unless it is there already. Raises OSError."""
    try:
        posix.mkdir(path, mode)
    except FileExistsError:
        pass  # which is all that is wanted


def list_attributes(path: "str | int") -> "list[str]":
    """The names of the extended attributes of `path`, without overlayfs's own.

    `path` is a path, where a symbolic link is not followed, or a descriptor. Raises OSError.
    """
    try:
        found = posix.listxattr(path) if isinstance(path, int) else posix.listxattr(path, follow_symlinks=False)
        return [name for name in found if not name.startswith(MARKS)]
    except OSError as error:
        # A squashfs without a table of attributes fails like this, instead of giving an empty list (Linux 6.12).
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


def remove_file(path: str) -> None:
    """Remove the file `path` if it is there. Raises OSError."""
    try:
        posix.unlink(path)
    except FileNotFoundError:
        pass  # which is all that is wanted


def send_all(source: int, target: int) -> None:
    """Copy the rest of the file that `source` has open to `target`. Raises OSError."""
    while posix.sendfile(target, source, None, _CHUNK):
        continue


def write_whole(path: str, text: str, mode: int, durable: bool = False) -> None:
    """Write `text` to the file `path`, whole or not at all; if `durable`, it is on the disk then. Raises OSError."""
    directory, _, name = path.rpartition("/")
    with open_top(directory, keep_quiet) as folder:
        folder.write(name, text.encode("utf-8", "surrogateescape"), mode, durable)


def keep_quiet(_text: str) -> None:
    """Report nothing about what is put aside: nobody would read that, or the person at work sees the new name."""


def sync_directory(path: str) -> None:
    """Flush the entries of the directory `path` to the disk. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        posix.fsync(fd)
    finally:
        posix.close(fd)
