# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What identifies an image: facts of its own, one per line as KEY=VALUE, and whether two such texts are of one image.

Only what can't change while the image stays the same counts: its own names in os-release(5), the root hash that the
kernel verifies it against, the UUID of its file system, and the superblock if nothing ever writes to it. What
statvfs(3) or a directory's times say of an overlay in memory, of NFS, btrfs, 9p or virtiofs depends on the machine and
the server: 8 KiB less memory would be taken for another image, and a policy would empty the upper layer.
"""

import posix

SAME, OTHER, UNSURE = "same", "other", "unsure"

_NAMES = ("IMAGE_ID", "IMAGE_VERSION", "BUILD_ID")
# A new value of these means a new image. Other fields of os-release change while a writable root is updated.
_VERSIONS = ("IMAGE_VERSION", "BUILD_ID")
# What distributions write where they have no versions, such as BUILD_ID=rolling of Arch Linux.
_NAMELESS = ("", "rolling", "unknown", "none", "n/a", "dev", "devel", "latest", "unstable")
# The words of the kernel command line with the digest that all of a root of this kind is verified against.
_HASHES = {"verity": ("roothash", "usrhash"), "composefs": ("composefs",)}

# Facts that prove nothing: noted so that a note is never empty, or of what may change while the image is the same, or
# of both kinds and noted by earlier versions.
_UNOWNED = ("on", "start", "inode", "ext4", "ext4-tables", "unknown")

# Superblocks of what is never written to, as (offset, end). squashfs: inodes, time, sizes and tables; erofs: all.
# (Kernel's Documentation/filesystems/squashfs.rst, erofs.rst.)
_STARTS = {"squashfs": (0, 96), "erofs": (1024, 1152)}
# ext4 (Documentation/filesystems/ext4/super.rst, group_descr.rst): its UUID and the time when it was made. The seed of
# its hashes and what is allocated, by the numbers of free blocks and inodes and the group descriptors with checksums of
# the bitmaps, only as long as it was never mounted read-write: else one such mount, for a repair, would make it another
# image.
_EXT4 = 1024
_EXT4_MADE = ((_EXT4 + 0x68, _EXT4 + 0x78), (_EXT4 + 0x108, _EXT4 + 0x10C))
_EXT4_UNIT = _EXT4 + 0x18  # s_log_block_size
_EXT4_FREE = ((_EXT4 + 0x0C, _EXT4 + 0x14), (_EXT4 + 0x158, _EXT4 + 0x15C), (_EXT4 + 0xEC, _EXT4 + 0xFC))
_EXT4_WRITTEN = ((_EXT4 + 0x2C, _EXT4 + 0x30), (_EXT4 + 0x34, _EXT4 + 0x36))  # s_mtime, s_mnt_count
# Its size, the layout and the features. Nothing else counts: fsck(8), which an initrd runs before each mount, notes in
# the superblock when it did (1.47), tune2fs(8) the owner's wishes, and the kernel errors of a read-only mount.
_EXT4_SHAPE = ((_EXT4, _EXT4 + 0x08), (_EXT4 + 0x14, _EXT4 + 0x2C), (_EXT4 + 0x58, _EXT4 + 0x68),
               (_EXT4 + 0xFE, _EXT4 + 0x100), (_EXT4 + 0x150, _EXT4 + 0x154))  # fmt: skip
_XFS_UUID = (32, 48)
_UBIFS_MAGIC = b"\x31\x18\x10\x06"
_UBIFS_UUID = (108, 124)  # fs/ubifs/ubifs-media.h, struct ubifs_sb_node
# The offset of the UUID in a lower layer's file system; 0: it has none.
_UUIDS = {"squashfs": 0, "erofs": 1024 + 48, "ext4": 1024 + 0x68}
_SQUASHFS_TIME = (8, 12)
_EROFS_UUID = (1024 + 48, 1024 + 64)
_ROW = 16
_MOST = 65536  # bytes that are read of a text


def identify(where: str, root: str = "") -> str:
    """The facts about the image that the directory `where` is in, at least one line.

    `root` is the root directory of the image ("": this machine). Raises OSError if `where` can't be looked at.
    """
    device = posix.stat(where).st_dev
    text = read_names(root)
    try:
        start = _read_start(device)
    except (OSError, StopIteration):
        return text + _identify_without_device(device)
    return text + _read_verity(device) + spell_file_system(start)


def compare(old: str, new: str) -> str:
    """SAME, OTHER or UNSURE: whether two texts of identify() are of one image. Pure.

    OTHER only if a fact that both texts have differs. A fact that one of them lacks proves nothing: it may not have
    been readable, or another version of this program, which did not know it, wrote the text.
    """
    if old == new:
        return SAME
    before = _read_facts(old)
    if any(key in before and before[key] != value for key, value in _read_facts(new).items()):
        return OTHER
    return UNSURE


def find_doubt(identity: str, where: str) -> str:
    """Why the next image may have the same `identity`, as half a sentence; "" where it can't. Raises OSError."""
    facts = _read_facts(identity)
    if any(is_name(facts.get(key, "")) for key in _VERSIONS):
        return ""
    if any(key in facts for key in (*_HASHES, "ubifs", "xfs")):
        return ""
    start = _read_rows(facts.get("squashfs") or facts.get("erofs") or facts.get("ext4-made") or "")
    if "squashfs" in facts:
        made = int.from_bytes(_cut(start, *_SQUASHFS_TIME), "little")
        times = [int(posix.stat(path).st_mtime) for path in (where, "/")]
        if not made:
            return "its squashfs has no creation time"
        # As with SOURCE_DATE_EPOCH; else the directories would be older than the file system that was made of them.
        return "all times in its squashfs are the same" if made in times else ""
    if "erofs" in facts:
        return "" if any(_cut(start, *_EROFS_UUID)) else "its erofs has no UUID"
    if "ext4-made" in facts:
        return "" if any(_cut(start, *_EXT4_MADE[0])) else "its ext4 has no UUID"
    if "\nstart=" in f"\n{identity}":
        return "its file system has nothing known to identify it by"
    return "it is not a file system on a disk of its own"


def is_name(value: str) -> bool:
    """True if `value` of IMAGE_VERSION or BUILD_ID, as os-release has it, tells one image from another. Pure."""
    return value.strip("\"' ").lower() not in _NAMELESS


def find_uuid(where: str) -> "str | None":
    """The UUID of the file system that holds `where`, "" if it has none or zeros, None if it is not known.

    The kernel follows a reference into the lower layer only if it was made with the same UUID, and without a UUID not
    at all as long as the options that need one are off (ovl_lower_uuid_ok(), Linux 5.8 and later).
    """
    try:
        start = _read_start(posix.stat(where).st_dev)
    except (OSError, StopIteration):
        return None
    kind = find_type(start)
    if kind not in _UUIDS:
        return None
    return start[_UUIDS[kind] : _UUIDS[kind] + 16].strip(b"\0").hex() if _UUIDS[kind] else ""


def _read_facts(identity: str) -> "dict[str, str]":
    lines = (line.partition("=") for line in identity.split("\n"))
    return {key: value for key, equals, value in lines if equals and key not in _UNOWNED}


def read_names(root: str) -> str:
    """The lines of os-release(5) that name the image; an image without them is known by its file system alone."""
    place = _place if root else lambda _root, path: path
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            text = _read(place(root, path)).decode("utf-8", "replace")
        except FileNotFoundError:
            continue
        except OSError:
            return ""  # no fact, see compare(); the second file need not say what this one does
        return "".join(f"{line}\n" for line in text.split("\n") if line.partition("=")[0] in _NAMES)
    return ""


def _place(root: str, path: str) -> str:
    """Where `path` of the tree `root` is on this machine: links of a tree are the tree's. Raises OSError."""
    from overlay_generator.inside import find

    return find(root, path)


def _read_verity(device: int) -> str:
    """The root hash if `device` is one of dm-verity: the kernel has verified what was read so far against it."""
    try:
        if not _read(f"{_sysfs(device)}/dm/uuid").startswith(b"CRYPT-VERITY-"):
            return ""
    except OSError:
        return ""  # not a device of the device mapper
    return _read_hash("verity")


def _read_hash(kind: str) -> str:
    try:
        words = _read("/proc/cmdline").decode("utf-8", "replace").split()
    except OSError:
        return ""
    found = [value for key, _, value in (word.partition("=") for word in words) if key in _HASHES[kind] and value]
    return f"{kind}={' '.join(found)}\n" if found else ""


def _identify_without_device(device: int) -> str:
    """The facts about an image whose root is not on a block device."""
    fstype, source = _find_mount(device)
    text = f"on={fstype or 'unknown'}\n"
    if fstype == "overlay":
        text += _read_hash("composefs")
    if fstype == "ubifs":
        start = _read_ubi(source)
        if start[:4] == _UBIFS_MAGIC and any(start[slice(*_UBIFS_UUID)]):
            text += f"ubifs={start[slice(*_UBIFS_UUID)].hex()}\n"
    return text


def _find_mount(device: int) -> "tuple[str, str]":
    """Type and source of what is mounted from `device`, by /proc/self/mountinfo (proc_pid_mountinfo(5)); "" if none."""
    number = f"{_major(device)}:{_minor(device)}"
    try:
        lines = _read_all("/proc/self/mountinfo").decode("utf-8", "replace").split("\n")
    except OSError:
        return "", ""
    for line in lines:
        head, _, tail = line.partition(" - ")
        if head.split(" ")[2:3] == [number]:
            fstype, _, rest = tail.partition(" ")
            return fstype, rest.partition(" ")[0]
    return "", ""


def _read_ubi(source: str, sysfs: str = "/sys/class/ubi", dev: str = "/dev") -> bytes:
    """The start of the UBI volume `source`, ubiX_Y, ubiX:NAME, ubiX:Y or ubi:NAME for ubifs; b"" if unknown."""
    name = source.rpartition("/")[2]
    unit, colon, volume = name.partition(":") if ":" in name else name.partition("!")
    try:
        if colon:
            prefix = "ubi0_" if unit == "ubi" else f"{unit}_"
            units = [entry for entry in posix.listdir(sysfs) if entry.startswith(prefix)]
            named = [entry for entry in units if _read(f"{sysfs}/{entry}/name").decode().strip() == volume]
            name = (named or [entry for entry in units if entry.partition("_")[2] == volume] or [""])[0]
        return _read(f"{dev}/{name}", 4096) if name.startswith("ubi") else b""
    except (OSError, UnicodeDecodeError):
        return b""


def spell_file_system(start: bytes) -> str:
    """What identify() notes of a file system that begins with the 8 KiB `start`. Pure."""
    kind = find_type(start)
    if kind in _STARTS:
        return f"{kind}={_spell(start, *_STARTS[kind])}\n"
    if kind == "xfs":
        return f"xfs={start[slice(*_XFS_UUID)].hex()}\n"
    if kind != "ext4":
        # It may be written to while the image is the same.
        return f"start={_spell(start, 0, 8192)}\n"
    text = f"ext4-made={' '.join(_spell(start, *part) for part in _EXT4_MADE)}\n"
    if not any(byte for part in _EXT4_WRITTEN for byte in start[slice(*part)]):
        free = b"".join(start[slice(*part)] for part in _EXT4_FREE)
        # In the block after that of the superblock; of a block size of more than 4 KiB, behind what was read.
        unit = min(int.from_bytes(start[_EXT4_UNIT : _EXT4_UNIT + 4], "little"), 3)
        descriptors = _spell(start, max(2048, 1024 << unit), 8192)
        # As resize2fs(8) may make room before the mount, one of another shape is not known to be another image.
        shape = b"".join(start[slice(*part)] for part in _EXT4_SHAPE)
        text += f"ext4-free-{shape.hex()}={free.hex()} {descriptors}\n"
    return text


def _sysfs(device: int) -> str:
    return f"/sys/dev/block/{_major(device)}:{_minor(device)}"


def _major(device: int) -> int:
    return device >> 8 & 0xFFF


def _minor(device: int) -> int:
    return device & 0xFF | device >> 12 & 0xFFF00


def _read_start(device: int) -> bytes:
    """The first 8 KiB of the block device `device`. Raises OSError, StopIteration where there is no such device."""
    uevent = _read(f"{_sysfs(device)}/uevent")
    node = "/dev/" + next(line[8:] for line in uevent.decode().split("\n") if line.startswith("DEVNAME="))
    return _read(node, 8192)


def _read(path: str, length: int = _MOST) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    try:
        return posix.read(fd, length)
    finally:
        posix.close(fd)


def _read_all(path: str) -> bytes:
    """The content of a file in /proc, which comes page by page. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = b""
        while chunk := posix.read(fd, _MOST):
            data += chunk
        return data
    finally:
        posix.close(fd)


def _spell(data: bytes, start: int, end: int) -> str:
    """The rows of `data` that are not all zero, with their offsets."""
    rows = ((offset, data[offset : min(offset + _ROW, end)]) for offset in range(start, end, _ROW))
    return " ".join(f"{offset:x}:{row.hex()}" for offset, row in rows if row.strip(b"\0"))


def _read_rows(text: str) -> "dict[int, int]":
    """Each byte that _spell() has put into `text`, by its offset."""
    found = {}
    for row in text.split():
        offset, _, digits = row.partition(":")
        for number, byte in enumerate(bytes.fromhex(digits)):
            found[int(offset, 16) + number] = byte
    return found


def _cut(data: "dict[int, int]", start: int, end: int) -> bytes:
    return bytes(data.get(offset, 0) for offset in range(start, end))


def find_type(start: bytes) -> str:
    """squashfs, erofs, ext4 (also ext2 and ext3) or xfs for a file system that begins with `start`, else "". Pure."""
    if start[:4] == b"hsqs":
        return "squashfs"
    if start[:4] == b"XFSB":
        return "xfs"
    if start[1024:1028] == b"\xe2\xe1\xf5\xe0":
        return "erofs"
    return "ext4" if start[1024 + 0x38 : 1024 + 0x3A] == b"\x53\xef" else ""
