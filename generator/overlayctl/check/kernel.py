# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel's configuration: what overlays and their upper layers need of it."""

import zlib

from overlayctl.check.finding import Finding, make
from overlayctl.check.image import Image

_LONGEST = 16 << 20  # bytes; that of a distribution's kernel has a quarter of a million
_OVERLAY = ("OVERLAY_FS", "y", "it has no overlayfs")
# Marks of overlayfs are extended attributes; without them on tmpfs no directory can be renamed or made anew.
_MEMORY = (
    ("TMPFS", "y", "there is no memory to write to"),
    ("TMPFS_XATTR", "y", "an upper layer in memory needs it"),
)
# Needed if the image has ACLs: overlayfs does not copy up a file whose ACL it can't keep.
_ACLS = {
    "tmpfs": "TMPFS_POSIX_ACL", "ext4": "EXT4_FS_POSIX_ACL", "ext3": "EXT4_FS_POSIX_ACL", "xfs": "XFS_POSIX_ACL",
    "btrfs": "BTRFS_FS_POSIX_ACL", "f2fs": "F2FS_FS_POSIX_ACL",
}  # fmt: skip
_DISKS = {
    "ext4": ("EXT4_FS",), "xfs": ("XFS_FS",), "btrfs": ("BTRFS_FS",), "f2fs": ("F2FS_FS", "F2FS_FS_XATTR"),
    "ubifs": ("UBIFS_FS", "UBIFS_FS_XATTR"), "ext3": ("EXT4_FS",), "ext2": ("EXT4_FS|EXT2_FS",), "tmpfs": (),
}  # fmt: skip


def find(image: Image, given: "str | None") -> "tuple[str, str]":
    """The text of the configuration and where it stands, both "" if it is not there. Raises OSError for `given`."""
    if given is not None:
        with open(given, "rb") as stream:
            return _decode(image, stream.read(_LONGEST), given), given
    paths = [f"/boot/{name}" for name in image.names("/boot", "config-*")]
    for folder in ("/usr/lib/modules", "/lib/modules"):
        paths += [f"{folder}/{name}/config" for name in image.names(folder)]
    if not image.root:
        import os

        release = os.uname().release
        running = [path for path in paths if path.startswith(f"/boot/config-{release}") or f"/{release}/" in path]
        paths = ["/proc/config.gz", *running]
    for path in paths:
        data = image.read(path)
        if data:
            return _decode(image, data, path), path
    return "", ""


def check(text: str, source: str, in_memory: bool, types: "tuple[str, ...]", with_acl: str = "") -> "list[Finding]":
    """What is missing in the configuration `text`; `types` are the file systems of persistent upper layers, `with_acl`
    is something in the image that has an ACL, "" for nothing. Pure.
    """
    wanted = [_OVERLAY, *(_MEMORY if in_memory else ())]
    if with_acl:
        kinds = (*(("tmpfs",) if in_memory else ()), *types)
        wanted += [(_ACLS[kind], "y", f"{with_acl} has an ACL") for kind in kinds if kind in _ACLS]
    for fstype in types:
        wanted += [(option, "y", f"fstab has an upper layer on {fstype}") for option in _DISKS.get(fstype, ())]
    lines: dict[str, int] = {}
    chosen = set()
    for number, line in enumerate(text.split("\n"), 1):
        key, equals, setting = line.partition("=")
        if equals and setting.strip() in ("y", "m"):
            chosen.add(key[7:])
        elif line.startswith("# CONFIG_") and line.endswith(" is not set"):
            lines[line[9:-11]] = number
    findings = []
    for names, value, reason in wanted:
        alternatives = names.split("|")
        if not chosen.intersection(alternatives):
            place = lines.get(alternatives[0], 0)
            findings.append(make("kernel-option", source, place, option=alternatives[0], value=value, reason=reason))
    return findings


def _decode(image: Image, data: bytes, path: str) -> str:
    if data[:2] == b"\x1f\x8b":
        try:
            # Not more than a configuration can have: gzip packs a gigabyte into a megabyte.
            unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            data = unpacker.decompress(data, _LONGEST)
        except zlib.error:
            return ""
        if unpacker.unconsumed_tail:
            image.too_large[path] = _LONGEST
            return ""
    return data.decode("utf-8", "replace")
