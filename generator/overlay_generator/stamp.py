"""Which image an upper layer was last mounted over: a small text file beside it, compared at each boot."""

import posix

from overlay_generator.files import write_whole

NAME = "image"
_CHANGING = "changing\n"
_FIELDS = ("IMAGE_ID", "IMAGE_VERSION", "BUILD_ID")

# Where the start of a read-only image tells one build from another, as (offset, end). squashfs: inodes, time, sizes
# and tables; erofs: the superblock; ext4: that and the group descriptors, with their checksums of what is allocated.
# (Kernel's Documentation/filesystems/squashfs.rst, erofs.rst, ext4/super.rst and group_descr.rst.)
_STARTS = {"squashfs": (0, 96), "erofs": (1024, 1152), "ext4": (1024, 8192)}
# Of an ext4 that is written to: its UUID and the time when it was made.
_WRITABLE_EXT4 = ((1024 + 0x68, 1024 + 0x78), (1024 + 0x108, 1024 + 0x10C))
_ROW = 16
_READ_ONLY = 1  # ST_RDONLY of statvfs(3)


def identify(where: str, root: str = "") -> str:
    """A text that differs for another image: os-release's own words on it, and the file system that holds `where`.

    `root` is the root directory of the image ("": this machine). Raises OSError if `where` can't be looked at.
    """
    return _read_release(root) + _identify_file_system(where)


def is_current(backing: str, identity: str) -> bool:
    """True if the upper layer in `backing` was last mounted over the image of `identity`."""
    try:
        return _read(f"{backing}/{NAME}", 0, 65536).decode("utf-8", "surrogateescape") == identity
    except OSError:
        return False


def mark_changing(backing: str) -> None:
    """Note that the upper layer is about to be changed: from now on it is no image's. Raises OSError."""
    write(backing, _CHANGING)


def write(backing: str, identity: str) -> None:
    """Note `identity`, whole or not at all, and safe on the disk when this returns. Raises OSError."""
    write_whole(f"{backing}/{NAME}", identity, 0o600, durable=True)


def _read(path: str, offset: int, length: int) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    try:
        return posix.pread(fd, length, offset)
    finally:
        posix.close(fd)


def _read_release(root: str) -> str:
    """The lines of os-release(5) that name the image; an image without them is told by its file system alone."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            text = _read(root + path, 0, 65536).decode("utf-8", "replace")
        except OSError:
            continue
        return "".join(f"{line}\n" for line in text.split("\n") if line.partition("=")[0] in _FIELDS)
    return ""


def _identify_file_system(where: str) -> str:
    """The superblock below `where`, or what statvfs(3) says of it where there is no disk to read."""
    info = posix.stat(where)
    device = f"{info.st_dev >> 8 & 0xFFF}:{info.st_dev & 0xFF | info.st_dev >> 12 & 0xFFF00}"
    try:
        uevent = _read(f"/sys/dev/block/{device}/uevent", 0, 4096).decode()
        node = "/dev/" + next(line[8:] for line in uevent.split("\n") if line.startswith("DEVNAME="))
        start = _read(node, 0, 8192)
    except (OSError, StopIteration):
        size = posix.statvfs(where)
        return f"inode={info.st_ino} blocks={size.f_blocks} files={size.f_files} changed={info.st_mtime_ns}\n"
    kind = _find_type(start)
    parts: tuple[tuple[int, int], ...] = (_STARTS.get(kind, (0, 8192)),)
    if kind == "ext4" and not posix.statvfs(where).f_flag & _READ_ONLY:
        parts = _WRITABLE_EXT4
    return f"{kind or 'unknown'}={' '.join(_spell(start, *part) for part in parts)}\n"


def _spell(data: bytes, start: int, end: int) -> str:
    """The rows of `data` that are not all zero, with their offsets."""
    rows = ((offset, data[offset : min(offset + _ROW, end)]) for offset in range(start, end, _ROW))
    return " ".join(f"{offset:x}:{row.hex()}" for offset, row in rows if row.strip(b"\0"))


def _find_type(start: bytes) -> str:
    if start[:4] == b"hsqs":
        return "squashfs"
    if start[1024:1028] == b"\xe2\xe1\xf5\xe0":
        return "erofs"
    return "ext4" if start[1024 + 0x38 : 1024 + 0x3A] == b"\x53\xef" else ""
