# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What prepare and its steps do with files and directories by their paths, in the image and below /run.

A backing directory is on a disk that anybody may have written: only folder.py and tree.py access what is in it.
"""

# errno is built into the interpreter: no file is opened for it. On MIPS, SPARC and Alpha most numbers differ from x86.
import errno
import posix

from overlay_prepare.folder import open_top

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

_CHUNK = 1 << 20  # bytes
_O_PATH = getattr(posix, "O_PATH", 0o10000000)

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# The prefix of overlayfs's own extended attributes, which have a meaning only in the layer that they are found in.
MARKS = "trusted.overlay."
# Ours, on what is passed through: its marks are the image's, and those of no overlay of ours. See imagecopy.py.
FOREIGN = "trusted.overlay-generator.foreign"
ACLS = ("system.posix_acl_access", "system.posix_acl_default")
# What list_known() asks for: overlayfs's marks up to Linux 6.18, and what the kernel decides on access by.
_KNOWN = (
    *(MARKS + name for name in ("opaque", "redirect", "origin", "impure", "nlink", "upper", "uuid", "metacopy")),
    *(MARKS + name for name in ("protattr", "xattr", "whiteout", "xwhiteouts", "verity", "generator.times")),
    FOREIGN,
    *ACLS,
    *(f"security.{name}" for name in ("selinux", "capability", "apparmor", "ima", "evm")),
    *(f"security.SMACK64{name}" for name in ("", "EXEC", "TRANSMUTE", "MMAP", "IPIN", "IPOUT")),
)
# What a file system lists by itself: a property of btrfs, which new files inherit; xfs's own form of ACLs.
_OF_DISK = ("btrfs.", "trusted.SGI_ACL_")
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
    from overlay_prepare.fdinfo import find_mount

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
    """The names of the extended attributes of `path` that it takes along to any other place: see is_of_file().

    `path` is a path, where a symbolic link is not followed, or a descriptor. Raises OSError, E2BIG as in list_known().
    """
    return [name for name in _list(path, path) if is_of_file(name)]


def is_of_file(name: str) -> bool:
    """False for an attribute that is a mark of overlayfs, or the disk's."""
    return not name.startswith(MARKS) and not is_of_disk(name)


def is_of_disk(name: str) -> bool:
    """True for an attribute that tells how the disk keeps a file: the same file has another one, or none, elsewhere."""
    return name.startswith(_OF_DISK)


def list_known(at: "str | int", path: str) -> "tuple[list[str], bool]":
    """The names of all extended attributes of `at`, and True; with False there are others.

    The owner of a file can make the list longer than the kernel gives out, 64 KiB (E2BIG; xattr(7)), on xfs and btrfs.
    Each attribute can still be had by its name: then these are the marks of overlayfs and what decides on access. As in
    the other functions, `at` is a path, where a symbolic link is not followed, or a descriptor, and `path` is for
    messages. Raises OSError.
    """
    try:
        return _list(at, path), True
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
    return [name for name in _KNOWN if read_attribute(at, path, name) is not None], False


def find_attributes(at: "str | int", path: str, names: "tuple[str, ...]") -> "list[str]":
    """Those of `names` that `at` has, however many others there are. Raises OSError."""
    try:
        return [name for name in _list(at, path) if name in names]
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
    return [name for name in names if read_attribute(at, path, name) is not None]


def read_attribute(at: "str | int", path: str, name: str) -> "bytes | None":
    """The value of the attribute `name`, None if there is none. Raises OSError."""
    try:
        return _access(posix.getxattr, at, path, name)
    except OSError as error:
        # Longer than any that the kernel lets somebody set: none of ours.
        if error.errno == errno.E2BIG:
            return b"?"
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
    return None


def set_attribute(at: "str | int", path: str, name: str, value: bytes) -> None:
    """Give `at` the attribute `name`. Raises OSError."""
    _access(posix.setxattr, at, path, name, value)


def remove_attribute(at: "str | int", path: str, name: str) -> bool:
    """Remove the attribute `name`; False if there is none. Raises OSError."""
    try:
        _access(posix.removexattr, at, path, name)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return False
    return True


def _list(at: "str | int", path: "str | int") -> "list[str]":
    try:
        return _access(posix.listxattr, at, path)
    except OSError as error:
        # A squashfs without a table of attributes fails like this, instead of giving an empty list (Linux 6.12).
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise


def _access(call: "Callable[..., T]", at: "str | int", path: "str | int", *arguments: object) -> "T":
    try:
        if isinstance(at, int):
            return call(at, *arguments)
        return call(at, *arguments, follow_symlinks=False)
    except OSError as error:
        # A person finds nothing by the number of a descriptor.
        error.filename = path
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
