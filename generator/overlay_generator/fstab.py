"""fstab, as systemd-fstab-generator reads it (fstab(5), getmntent(3)). Pure."""

from overlay_generator.model import FstabEntry, Problem
from overlay_generator.names import normalise

# getmntent(3) decodes these four. It decodes a doubled backslash too, libmount (systemd 259) does not: not here.
_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))

# As an upper: refused by the kernel, or mounted and then broken in use (tried on Linux 6.1, 6.12 and 6.18:
# no d_type, RENAME_WHITEOUT or trusted xattrs); remote ones: Documentation/filesystems/overlayfs.rst.
_UNFIT = frozenset((
    "vfat", "msdos", "exfat", "ntfs", "ntfs3", "ntfs-3g", "fuseblk", "iso9660", "udf", "squashfs", "erofs", "cramfs",
    "romfs", "overlay", "ramfs", "jffs2", "jfs", "minix", "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs",
))  # fmt: skip


def unescape(field: str) -> str:
    """`field` with fstab's octal escapes decoded."""
    if "\\" not in field:
        return field
    for escape, character in _ESCAPES:
        field = field.replace(escape, character)
    return field


def parse(text: str, source: str) -> "tuple[list[FstabEntry], list[Problem]]":
    """The entries of `text` that mount something at an absolute path, and one problem for all that is no fstab line."""
    entries = []
    first_bad = bad = 0
    for number, line in enumerate(text.split("\n"), 1):
        # Blanks are spaces and tabs; str.split() alone would also split at U+00A0 and its like.
        fields = [field for field in line.replace("\t", " ").split(" ") if field]
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) < 2 or "\0" in line or not (fields[1].startswith("/") or fields[1] in ("none", "swap")):
            bad += 1
            first_bad = first_bad or number
            continue
        what, where, fstype, options = [*fields, "", ""][:4]
        if where.startswith("/") and fstype not in ("swap", "autofs"):
            where = normalise(unescape(where))
            entries.append(FstabEntry(unescape(what), where, fstype, unescape(options), source, number))
    if not bad:
        return entries, []
    more = f", nor are {bad - 1} more" if bad > 1 else ""
    return entries, [Problem(f"not an fstab line{more}; ignored", source, first_bad)]


def can_be_upper(fstype: str) -> bool:
    """False if a file system of type `fstype` is known not to work as the upper layer of an overlay."""
    return fstype not in _UNFIT
