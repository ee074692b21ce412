"""Which image an upper layer was last mounted over: a small text file beside it, compared at each boot."""

import posix

from overlay_prepare.files import NO_SPACE, remove_file, write_over, write_whole

NAME = "image"
_HISTORY = "uuids"
_CHANGING = "changing\n"
_FIELDS = ("IMAGE_ID", "IMAGE_VERSION", "BUILD_ID")

# Where the start of a read-only image tells one build from another, as (offset, end). squashfs: inodes, time, sizes
# and tables; erofs: the superblock; ext4: that and the group descriptors, with their checksums of what is allocated.
# (Kernel's Documentation/filesystems/squashfs.rst, erofs.rst, ext4/super.rst and group_descr.rst.)
_STARTS = {"squashfs": (0, 96), "erofs": (1024, 1152), "ext4": (1024, 8192)}
# Of an ext4 that is written to: its UUID and the time when it was made.
_WRITABLE_EXT4 = ((1024 + 0x68, 1024 + 0x78), (1024 + 0x108, 1024 + 0x10C))
# Where the UUID stands; 0: there is none.
_UUIDS = {"squashfs": 0, "erofs": 1024 + 48, "ext4": 1024 + 0x68}
_ROW = 16
_READ_ONLY = 1  # ST_RDONLY of statvfs(3)


def identify(where: str, root: str = "") -> str:
    """A text that differs for another image: os-release's own words on it, and the file system that holds `where`.

    `root` is the root directory of the image ("": this machine). Raises OSError if `where` can't be looked at.
    """
    return _read_release(root) + _identify_file_system(where)


def is_current(backing: str, identity: str) -> bool:
    """True if the upper layer in `backing` was last mounted over the image of `identity`, and is fit for it."""
    return _read_note(backing) == identity


def read_previous(backing: str) -> str:
    """The identity of the image that the upper layer was last mounted over; "" where nobody knows."""
    text = _read_note(backing)
    return text[len(_CHANGING) :] if text.startswith(_CHANGING) else text


def mark_changing(backing: str) -> None:
    """Note that the upper layer is about to be changed: from now on it is fit for no image. Raises OSError."""
    write(backing, _CHANGING + read_previous(backing))


def write(backing: str, identity: str) -> None:
    """Note `identity`, safe on the disk when this returns, or torn where that is full. Raises OSError."""
    # Torn, also by a power cut, it is no image's identity, and the upper layer is made fit once more.
    _write(f"{backing}/{NAME}", identity)


def find_uuid(where: str) -> "str | None":
    """The UUID of the file system that holds `where`, "" if it has none or zeros, None where that can't be told.

    The kernel follows a reference into the lower layer only where this UUID is the one it was made with, and without
    one not at all as long as the options that need it are off (ovl_lower_uuid_ok(), Linux 5.8 and later).
    """
    try:
        start = _read_start(where)
    except (OSError, StopIteration):
        return None
    kind = _find_type(start)
    if kind not in _UUIDS:
        return None
    return start[_UUIDS[kind] : _UUIDS[kind] + 16].strip(b"\0").hex() if _UUIDS[kind] else ""


def read_uuids(backing: str) -> "list[str] | None":
    """The UUIDs that references in the upper layer may carry, None where that was not noted."""
    try:
        return _read(f"{backing}/{_HISTORY}", 0, 65536).decode("ascii", "replace").split()
    except OSError:
        return None


def write_uuids(backing: str, uuids: "list[str]") -> None:
    """Note `uuids`, safe on the disk when this returns, or nothing where that is full. Raises OSError."""
    path = f"{backing}/{_HISTORY}"
    if not _write(path, "".join(f"{uuid}\n" for uuid in uuids)):
        remove_file(path)


def _write(path: str, text: str) -> bool:
    """Put `text` into the file `path`; False where the disk is full. Raises OSError."""
    for write_file in (_replace, write_over):
        try:
            write_file(path, text, 0o600)
            return True
        except OSError as error:
            # A full disk is no reason not to boot; over the blocks that it has, the file may still be written.
            if error.errno not in NO_SPACE:
                raise
    return False


def _replace(path: str, text: str, mode: int) -> None:
    try:
        write_whole(path, text, mode, durable=True)
    except OSError:
        remove_file(path + ".new")
        raise


def _read_note(backing: str) -> str:
    try:
        return _read(f"{backing}/{NAME}", 0, 65536).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


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
    try:
        start = _read_start(where)
    except (OSError, StopIteration):
        info = posix.stat(where)
        size = posix.statvfs(where)
        return f"inode={info.st_ino} blocks={size.f_blocks} files={size.f_files} changed={info.st_mtime_ns}\n"
    kind = _find_type(start)
    parts: tuple[tuple[int, int], ...] = (_STARTS.get(kind, (0, 8192)),)
    if kind == "ext4" and not posix.statvfs(where).f_flag & _READ_ONLY:
        parts = _WRITABLE_EXT4
    return f"{kind or 'unknown'}={' '.join(_spell(start, *part) for part in parts)}\n"


def _read_start(where: str) -> bytes:
    """The first 8 KiB of the device below `where`. Raises OSError, StopIteration where there is no such device."""
    device = posix.stat(where).st_dev
    uevent = _read(f"/sys/dev/block/{device >> 8 & 0xFFF}:{device & 0xFF | device >> 12 & 0xFFF00}/uevent", 0, 4096)
    node = "/dev/" + next(line[8:] for line in uevent.decode().split("\n") if line.startswith("DEVNAME="))
    return _read(node, 0, 8192)


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
