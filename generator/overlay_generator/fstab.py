# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""fstab, as systemd-fstab-generator of 247 to 262 reads it (fstab(5), getmntent(3), systemd.mount(5)). Pure."""

from overlay_generator.model import FstabEntry, Problem
from overlay_generator.names import normalise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Since this version systemd reads fstab with libmount; before, with getmntent(3) of the C library.
_LIBMOUNT = 259
# Since this version a backslash in the options is taken literally.
_RELAXED = 248
# Since this version a mount point is simplified before its links are followed.
_SIMPLIFIED = 249
# Since this version x-systemd.wanted-by= and required-by= count for automounts too (seen in 257, not in 255).
_BY_OTHERS = 257
# Since this version /usr is as necessary as the root, whatever its options say (seen in 257, not in 252).
_USR_TOO = 257
# What getmntent(3) and the kernel escape.
_ESCAPES = {"040": " ", "011": "\t", "012": "\n", "134": "\\"}
# Bytes of a line that getmntent(3) takes (glibc's buffer without its NUL); the rest is dropped.
_LONGEST = 4095
# A field of more characters may make a name of a unit that is too long, as escaping adds some (255 are allowed).
_LONG_FIELD = 200
# What strtol(3) skips before a number, but for the blanks that separate the fields.
_SKIPPED = "\r\n\v\f"
# Where none of these is, and no field is long, entries.py need not know the version, nor ask whether systemd can use
# the lines: escapes, broken lines, paths with dots, options without a value.
_ODD = (
    "\\", "\0", "\r", "/.", "./", "..", "=.", "=,", "= ", "=\t", "=\n", "timeout,", "timeout ", "timeout\t",
    "timeout\n",
)  # fmt: skip

# How a device is named by what udev reads from it.
TAGS = ("LABEL=", "UUID=", "PARTLABEL=", "PARTUUID=")
# The options that name a unit which has to come first.
ORDER = ("x-systemd.requires", "x-systemd.after", "x-systemd.wants")

# As an upper layer refused by the kernel, or mounted and then broken in use (tried on Linux 6.1, 6.12 and 6.18:
# no d_type, RENAME_WHITEOUT or trusted xattrs); remote ones: Documentation/filesystems/overlayfs.rst.
_UNFIT = frozenset((
    "vfat", "msdos", "exfat", "ntfs", "ntfs3", "ntfs-3g", "fuseblk", "iso9660", "udf", "squashfs", "erofs", "cramfs",
    "romfs", "overlay", "ramfs", "jffs2", "jfs", "minix", "nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs",
))  # fmt: skip

# No units are made for these (mount_point_is_api() and mount_point_ignore() in systemd's src/shared/mount-setup.c).
_API = frozenset((
    "/proc", "/sys", "/dev", "/dev/shm", "/dev/pts", "/run", "/sys/kernel/security", "/sys/fs/smackfs",
    "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/pstore", "/sys/fs/bpf",
    "/sys/firmware/efi/efivars", "/sys/fs/selinux", "/dev/console", "/proc/kmsg", "/proc/sys",
    "/proc/sys/kernel/random/boot_id", "/run/host",
))  # fmt: skip
_API_TREES = ("/sys/fs/cgroup/", "/run/host/")
# fstype_is_network() in systemd's src/basic/mountpoint-util.c; the first of them until 247 only.
_NETWORK = frozenset((
    "gfs", "afs", "ceph", "cifs", "smb3", "smbfs", "sshfs", "ncpfs", "ncp", "nfs", "nfs4", "gfs2", "glusterfs",
    "pvfs2", "ocfs2", "lustre", "davfs",
))  # fmt: skip


def unescape(field: str) -> str:
    """`field` with the escapes decoded that the kernel writes in its lists of mounts (proc_pid_mounts(5))."""
    return _decode(field) if "\\" in field else field


def parse(text: str, source: str, version: int = 0) -> "tuple[list[FstabEntry], list[Problem]]":
    """The entries of `text` that mount something at a path or are swap, and one problem for all lines that are invalid.

    `version` is that of systemd, 0 if it is not known. Mount points are absolute, links in them are not followed; that
    of swap is "".
    """
    entries = []
    bad = []
    libmount = version >= _LIBMOUNT
    numbered = list(enumerate(text.split("\n"), 1))
    lines = iter(numbered)
    for number, line in lines:
        nul = "\0" in line
        if libmount and nul:
            bad.append(number)
            if number < len(numbered):
                continue
            # libmount looks for the end of a line first, and a file may end without one.
            line = line.partition("\0")[0]
        if libmount:
            line = line[:-1] if line.endswith("\r") else line
        elif nul:
            line = line.partition("\0")[0]
            bad.append(number)
            # glibc does not see the end of this line, and drops the next ones up to one whose end it sees.
            for after, rest in lines:
                bad += [after] if rest else []
                if "\0" not in rest:
                    break
        elif len(line) > _LONGEST // 4:
            line = line.encode("utf-8", "surrogateescape")[:_LONGEST].decode("utf-8", "surrogateescape")
        # Blanks are spaces and tabs; str.split() alone would also split at U+00A0 and its like.
        fields = [field for field in line.replace("\t", " ").split(" ") if field]
        if not fields or fields[0].startswith("#"):
            continue
        wrong = len(fields) < 2 or (libmount and not (len(fields) > 2 and all(map(_is_number, fields[4:6]))))
        if "\\" in line:
            fields = [_decode_octal(field) if libmount else _decode(field) for field in fields[:4]]
        what, where, fstype, options = [*fields, "", "", ""][:4]
        if 0 < version < _RELAXED and "\\" in options.replace("\\\\", "").replace("\\,", ""):
            # systemd then writes a unit without options that nothing starts, or no unit.
            wrong = options.endswith("\\")
            options = "noauto"
        if not wrong and fstype == "swap":
            entries.append(FstabEntry(what, "", fstype, options, source, number))
        elif not wrong and "/" in where:
            if fstype != "autofs":
                # A relative one is relative to the working directory of generators, which is the root.
                where = _slash(where) if 0 < version < _SIMPLIFIED else normalise(f"/{where}")
                entries.append(FstabEntry(what, where, fstype, options, source, number))
        elif not nul and (wrong or where != "none"):
            bad.append(number)
    if not bad:
        return entries, []
    more = f", nor are {len(bad) - 1} more" if len(bad) > 1 else ""
    return entries, [Problem(f"not an fstab line{more}; ignored", source, bad[0])]


def is_plain(text: str) -> bool:
    """True if every version of systemd reads the same in `text`, and can use all lines of it."""
    if any(odd in text for odd in _ODD):
        return False
    for line in text.replace("\t", " ").split("\n"):
        # Not at other white space, such as a form feed.
        fields = [field for field in line.split(" ") if field] or ["#"]
        long = len(line) > _LONGEST // 4 or (len(line) > _LONG_FIELD and max(map(len, fields)) > _LONG_FIELD)
        odd = len(fields) < 3 or long or not all(map(_is_number, fields[4:6]))
        if odd and fields[0][0] != "#":
            return False
    return True


def is_ignored(where: str) -> bool:
    """True if systemd makes no mount unit for the mount point `where`, as it or somebody else mounts that anyway."""
    return where in _API or where.startswith(_API_TREES)


def has_option(entry: FstabEntry, name: str) -> bool:
    """True if `name` is one of its options, with or without a value."""
    return name in entry.options and bool(_find_options(entry, name))


def find_values(entry: FstabEntry, name: str) -> "list[str]":
    """The values of its options that are called `name`."""
    start = f"{name}="
    if start not in entry.options:
        return []
    return [word[len(start) :].replace("\\,", ",") for word in _split(entry.options) if word.startswith(start)]


def find_type(entry: FstabEntry) -> str:
    """The type of what it mounts, "" if it does not say: mount(8) ignores the type of a bind mount."""
    fstype = read_value(entry.fstype)
    if is_joined(fstype):
        # With nothing to take in; see unusable.py.
        fstype = fstype[:-1]
    return "" if fstype in ("auto", "none") or is_bind(entry) else fstype


def is_bind(entry: FstabEntry) -> bool:
    """True if it shows a directory at another place."""
    # As systemd reads it from the unit file, where blanks at the end of a line are dropped.
    words = _split(read_value(entry.options)) if "bind" in entry.options else []
    return read_value(entry.fstype) in ("bind", "rbind") or any(
        word.partition("=")[0] in ("bind", "rbind") for word in words
    )


def find_hooks(entry: FstabEntry, version: int = 0) -> "list[tuple[str, str]]":
    """What starts the mount at boot with systemd `version`: units, each with the word wants or requires."""
    if entry.fault or formats_nothing(entry):
        # The unit is written before that is noticed, and the links, which come after it, are not.
        return []
    target = "remote-fs.target" if is_network(entry) else "local-fs.target"
    if entry.where == "/" or (entry.where == "/usr" and version >= _USR_TOO):
        return [(target, "requires")]
    usual = (target, "wants" if is_optional(entry) else "requires")
    asked = _find_asked(entry, "x-systemd.wanted-by", "wants") + _find_asked(entry, "x-systemd.required-by", "requires")
    if is_automount(entry):
        # The automount unit is started instead; other units that ask for it count since _BY_OTHERS.
        return asked if asked and version >= _BY_OTHERS else [usual]
    return asked if asked or is_noauto(entry) else [usual]


def _find_asked(entry: FstabEntry, name: str, kind: str) -> "list[tuple[str, str]]":
    """What find_hooks() gives for the values of the option `name`."""
    end = f".{kind}"
    # They are paths: //foo.target is foo.target, and foo.target/ no unit.
    return [(normalise(f"/{unit}{end}")[1 : -len(end)], kind) for unit in find_values(entry, name)]


def formats_nothing(entry: FstabEntry) -> bool:
    """True if x-systemd.makefs asks to format what systemd does not: no device, or as no type (247 to 262)."""
    if "x-systemd.makefs" not in entry.options or not has_option(entry, "x-systemd.makefs"):
        return False
    return entry.fstype in ("", "auto") or not is_device(entry.what)


def is_device(what: str) -> bool:
    """True if to systemd `what` is a device, which may appear later than it looks for it."""
    return what.startswith(TAGS) or (what.startswith("/") and normalise(what).startswith(("/dev/", "/sys/")))


def read_tag(what: str) -> "tuple[str, str]":
    """The tag by which `what` names a device, without its equals sign, and the value without quotes; "" for both if it
    names it otherwise.
    """
    if not what.startswith(TAGS):
        return "", ""
    tag, _, value = what.partition("=")
    return tag, value[1:-1] if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0] else value


def names_units(entry: FstabEntry) -> bool:
    """False if its options name no unit that has to come first."""
    return "x-systemd." in entry.options and any(name in entry.options for name in ORDER)


def needs_only_device(entry: FstabEntry) -> bool:
    """True if it waits for its device, or its volume of UBI, and for nothing else."""
    found = is_device(entry.what) or entry.what.startswith("ubi")
    return found and not (is_network(entry) or is_bind(entry) or names_units(entry))


def find_mounts(entries: "Iterable[FstabEntry]") -> "dict[str, FstabEntry]":
    """What systemd mounts, by its place: of two lines for one place the first, and none that it can't use."""
    first: dict[str, FstabEntry] = {}
    for entry in entries:
        first.setdefault(entry.where, entry)
    return {where: entry for where, entry in first.items() if not entry.fault}


def is_network(entry: FstabEntry, fstype: str = "") -> bool:
    """True if the mount waits for the network. PID 1 reads `fstype`, without an editor's carriage return at its end."""
    return has_option(entry, "_netdev") or (fstype or entry.fstype).replace("fuse.", "", 1) in _NETWORK


def is_optional(entry: FstabEntry) -> bool:
    """True if nofail counts among its options, or bg of NFS, which mounts in the background."""
    in_background = entry.fstype in ("nfs", "nfs4") and not is_automount(entry) and is_set(entry, "bg", "fg")
    return is_set(entry, "nofail", "fail") or in_background


def is_noauto(entry: FstabEntry) -> bool:
    """True if nothing mounts it at boot unless another unit asks for it: mostly as noauto counts among its options."""
    return is_set(entry, "noauto", "auto") or formats_nothing(entry)


def is_automount(entry: FstabEntry) -> bool:
    """True if it is mounted when somebody first looks there."""
    return has_option(entry, "x-systemd.automount") or "systemd.automount" in find_values(entry, "comment")


def is_required(entry: FstabEntry) -> bool:
    """True if the boot ends in emergency mode when it can't be mounted."""
    return ("local-fs.target", "requires") in find_hooks(entry) and not is_automount(entry)


def is_joined(field: str) -> bool:
    """True if `field`, at the end of a line of a unit, takes in the next line: its last backslash is not escaped."""
    return (len(field) - len(field.rstrip("\\"))) % 2 == 1


def can_be_upper(fstype: str) -> bool:
    """False if a file system of type `fstype` is known not to work as the upper layer of an overlay."""
    return fstype not in _UNFIT


def _split(options: str) -> "list[str]":
    """`options` split at the commas without a backslash before them (fstab_filter_options() in systemd)."""
    if "\\" not in options:
        return options.split(",")
    words = [""]
    escaped = False
    for character in options:
        if character == "," and not escaped:
            words.append("")
        else:
            words[-1] += character
        escaped = character == "\\" and not escaped
    return words


def ends_bare(entry: FstabEntry, name: str) -> bool:
    """True if the last of its options that are called `name` has no equals sign."""
    words = [word for word in _split(entry.options) if word.partition("=")[0] == name]
    return words[-1:] == [name]


def _find_options(entry: FstabEntry, *names: str) -> "list[str]":
    """Which of `names` are options, in the order of the options; nofail=yes is nofail."""
    return [name for name in (word.partition("=")[0] for word in _split(entry.options)) if name in names]


def is_set(entry: FstabEntry, yes: str, no: str) -> bool:
    """True if of the options `yes` and `no` the last one given is `yes`."""
    return yes in entry.options and _find_options(entry, yes, no)[-1:] == [yes]


def read_value(field: str) -> str:
    """`field` as a unit file can hold it, one line without blanks at its ends; an editor's carriage return goes."""
    for end in "\r\n":
        field = field.partition(end)[0]
    return field.strip(" \t")


def _slash(where: str) -> str:
    """`where` as an absolute path without doubled slashes; dots stay."""
    return "/" + "/".join(part for part in where.split("/") if part)


def _is_number(field: str) -> bool:
    field = field.lstrip(_SKIPPED)
    digits = field[1:] if field[:1] in ("+", "-") else field
    return bool(digits) and all(digit in "0123456789" for digit in digits)


def _decode(field: str) -> str:
    """`field` as getmntent(3) decodes it: four characters in octal, and a doubled backslash."""
    head, *parts = field.split("\\")
    decoded = head
    parts.reverse()
    while parts:
        part = parts.pop()
        if part[:3] in _ESCAPES:
            decoded += _ESCAPES[part[:3]] + part[3:]
        elif not part and parts:
            decoded += "\\" + parts.pop()
        else:
            decoded += "\\" + part
    return decoded


def _decode_octal(field: str) -> str:
    """`field` as libmount decodes it: every byte that has an octal escape."""
    data = field.encode("utf-8", "surrogateescape")
    head, *parts = data.split(b"\\")
    for part in parts:
        if len(part) > 2 and all(digit in b"01234567" for digit in part[:3]):
            head += bytes((int(part[:3], 8) & 0xFF,)) + part[3:]
        else:
            head += b"\\" + part
    return head.partition(b"\0")[0].decode("utf-8", "surrogateescape")
