# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks into a tree without mistaking a refusal for a missing file: EACCES is not ENOENT.

With SELinux a generator runs in a domain of its own, and may look at less than PID 1, which reads the same files
afterwards. Each refusal is reported, with what was assumed instead. The readers of the kernel's files and of unit
files are here, too: one module in place of three, as loading each takes time at boot.
"""

import posix

from overlay_generator.fstab import unescape
from overlay_generator.model import Mounted, Unit

# Options of a superblock that takes no writes: ext4 says the last two of itself after an error (errors=remount-ro,
# Linux 6.18) and for a shutdown.
STOPPED = frozenset(("ro", "emergency_ro", "shutdown"))

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MODULE = b"/overlay.ko"
# systemd's src/libsystemd/sd-path/path-lookup.c, 247 to 262: what outranks a generator's normal directory,
# and what it outranks itself.
_ABOVE_US = (
    "/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient",
    "/etc/systemd/system", "/etc/systemd/system.attached", "/run/systemd/system", "/run/systemd/system.attached",
)  # fmt: skip
# Where packages put units, and masks for them; a look into all directories costs more than it tells.
_PACKAGED = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_BELOW_US = ("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_TYPE_BITS, _SYMLINK, _REGULAR = 0o170000, 0o120000, 0o100000  # S_IFMT, S_IFLNK and S_IFREG of stat(2)


class Look:
    """Looks into the tree at `root` ("": this machine); `refused` has a sentence for each thing that it may not see.

    `read` and `place` are functions of gather.py, which uses this: they return the content of a path in the tree, and
    its path on this machine. `doubt` says what is assumed if something is refused.
    """

    def __init__(
        self, root: str, read: "Callable[[str, str], bytes]", place: "Callable[[str, str, bool], str]"
    ) -> None:
        self.root = root
        self._read = read
        self._place = place
        self.refused: list[str] = []

    def read(self, path: str, doubt: str) -> "bytes | None":
        """The content of `path`, empty if nothing is there, None if it can't be read."""
        try:
            return self._read(self.root, path)
        except OSError as error:
            return b"" if self._is_missing(error, path, "read", doubt) else None

    def list(self, path: str, doubt: str) -> "list[str]":
        """The names in the directory `path`, none if it is not there or refused."""
        try:
            return posix.listdir(self._place(self.root, path, True))
        except OSError as error:
            self._is_missing(error, path, "read", doubt)
            return []

    def stat(self, path: str, doubt: str, follow: bool = False) -> "posix.stat_result | None":
        """What is at `path`, or, with `follow`, where a link there leads; None if nothing is there or it is refused."""
        try:
            return (posix.stat if follow else posix.lstat)(self._place(self.root, path, follow))
        except ValueError:
            return None  # a name that no file can have
        except OSError as error:
            self._is_missing(error, path, "looked at", doubt)
            return None

    def read_link(self, path: str, doubt: str) -> str:
        """Where the link `path` leads, "" if it is gone or refused."""
        try:
            return posix.readlink(self._place(self.root, path, False))
        except OSError as error:
            self._is_missing(error, path, "read", doubt)
            return ""

    def exists(self, path: str, unknown: bool) -> bool:
        """True if something is at `path`; `unknown` where that is refused."""
        try:
            posix.lstat(self._place(self.root, path, False))
        except OSError as error:
            doubt = "it is assumed to exist" if unknown else "it is assumed to be missing"
            return not self._is_missing(error, path, "looked at", doubt) and unknown
        return True

    def identify(self, path: str) -> "tuple[int, int] | None":
        """Device and inode of where `path` leads, None if nothing is there; (0, 0) where that is refused."""
        try:
            info = posix.stat(self._place(self.root, path, True))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            return 0, 0  # whoever looks for something in it tells
        return info.st_dev, info.st_ino

    def _is_missing(self, error: OSError, path: str, verb: str, doubt: str) -> bool:
        if isinstance(error, (FileNotFoundError, NotADirectoryError)):
            return True
        import errno  # loading its hundred names takes as long as a module of ours, and this is rare

        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            return True  # a path that can lead to nothing
        text = f"{path} can't be {verb} ({error.strerror}); {doubt}"
        if text not in self.refused:
            self.refused.append(text)
        return False


def read_kernel(look: "Look") -> "tuple[str, str]":
    """How the kernel has overlayfs (built in, module, absent, unknown), and its release.

    The module lists come first: they say the same before and after the module was loaded.
    """
    releases = _find_releases(look) if look.root else [posix.uname().release]
    doubt = "overlayfs is assumed to be a module"
    hidden = ""
    for release in releases:
        for directory in (f"/usr/lib/modules/{release}", f"/lib/modules/{release}"):
            if is_built_in(look.read(f"{directory}/modules.builtin", doubt) or b""):
                return "built in", release
            listed = look.read(f"{directory}/modules.dep", doubt)
            if listed is None:
                hidden = hidden or release
                continue
            module = find_module(listed)
            if module and look.exists(f"{directory}/{module}", True):
                return "module", release
    if hidden:
        # /proc/filesystems is not asked, as it differs at a reload. modprobe may look where this may not; if it finds
        # nothing, the image's directory stays as it is. A built-in overlayfs has its /sys/module/overlay as well.
        return "module", hidden
    filesystems = look.read("/proc/filesystems", doubt)
    if is_registered(filesystems or b""):
        return "built in", releases[0] if releases else ""
    if filesystems is None:
        return "module", releases[0] if releases else ""
    return ("absent" if filesystems or releases else "unknown"), (releases[0] if releases else "")


def _find_releases(look: "Look") -> "list[str]":
    """The kernels that the tree may run: the one that its /proc names, else all that it has modules for."""
    running = (look.read("/proc/sys/kernel/osrelease", "any kernel may run there") or b"").strip()
    if running:
        return [running.decode("utf-8", "surrogateescape")]
    for directory in ("/usr/lib/modules", "/lib/modules"):
        names = look.list(directory, "it may have a module of overlayfs")
        if names:
            return sorted(names)
    return []


def read_units(look: "Look", names: "Iterable[str]") -> "dict[str, Unit]":
    """The unit files of these `names`, of each the one of highest rank: it overrides ours, or ours overrides it."""
    return _read(look, names, (*_ABOVE_US, *_BELOW_US))


def read_packaged(look: "Look", names: "Iterable[str]") -> "dict[str, Unit]":
    """The same for units that come with packages and don't compete with ours."""
    return _read(look, names, _PACKAGED)


def _read(look: "Look", names: "Iterable[str]", directories: "tuple[str, ...]") -> "dict[str, Unit]":
    units: dict[str, Unit] = {}
    existing = _find_existing(look, directories)
    for name in names:
        for directory in existing:
            path = f"{directory}/{name}"
            info = look.stat(path, "whether it masks or provides something is left to PID 1")
            if info is None:
                continue
            if _is_mask(look, path, info):
                kind = "mask"
            elif directory in _ABOVE_US:
                kind = "provided"
            else:
                # If it can't be read, nobody knows whether ours may take its place.
                text = look.read(path, "it is assumed not to be ours") or b""
                kind = "buildroot" if b"/run/buildroot/mounts/" in text else "vendor"
            units[name] = Unit(kind, path, _is_required(look, kind, name))
            break
    return units


def _find_existing(look: "Look", directories: "tuple[str, ...]") -> "list[str]":
    """Those of `directories` in which a unit may be: most are not there, and /lib mostly leads to /usr/lib. A unit that
    is looked for in vain costs twice as much as one that is found.
    """
    existing: list[str] = []
    known: list[tuple[int, int]] = []
    for directory in directories:
        place = look.identify(directory)
        if place and place not in known:
            existing.append(directory)
            if place[1]:
                known.append(place)
    return existing


def _is_required(look: "Look", kind: str, name: str) -> bool:
    """True unless `name` is an owner's mount at a backing directory, and the boot goes on where it fails.

    Buildroot's own is a tmpfs.
    """
    if kind not in ("provided", "vendor") or not name.startswith("run-buildroot-mounts-"):
        return True
    return any(look.exists(f"{top}/local-fs.target.requires/{name}", True) for top in (*_ABOVE_US, *_BELOW_US))


def _is_mask(look: "Look", path: str, info: "posix.stat_result") -> bool:
    """True for an empty unit file, and a link to one or to /dev/null (null_or_empty() in systemd)."""
    if info.st_mode & _TYPE_BITS == _SYMLINK:
        doubt = "it is assumed not to be a mask"
        link = look.read_link(path, doubt)
        if not link:
            return False
        target: list[str] = []
        for part in (link if link.startswith("/") else f"{path}/../{link}").split("/"):
            if part == "..":
                target = target[:-1]
            elif part not in ("", "."):
                target.append(part)
        if target == ["dev", "null"]:
            return True
        found = look.stat(f"/{'/'.join(target)}", doubt, follow=True)
        if found is None:
            return False
        info = found
    return info.st_size == 0 and info.st_mode & _TYPE_BITS == _REGULAR


def read_text(look: "Look", name: str) -> str:
    """The text of the unit `name` and its drop-ins, with what its directories .wants and .requires have as Wants=; ""
    where there is none.
    """
    at = name.find("@")
    files = [name, name[: at + 1] + name[name.rfind(".") :]] if at > 0 else [name]
    doubt = "the order of units is known only from the rest"
    existing = _find_existing(look, (*_ABOVE_US, *_BELOW_US))
    texts = (look.read(f"{directory}/{file}", doubt) for file in files for directory in existing)
    text = next(filter(None, texts), b"").decode("utf-8", "surrogateescape")
    dropins: dict[str, str] = {}
    for directory in existing:
        for file in files:
            for other in look.list(f"{directory}/{file}.d", doubt):
                if other.endswith(".conf"):
                    dropins.setdefault(other, f"{directory}/{file}.d/{other}")
            for kind in ("wants", "requires") if text else ():
                text += "".join(f"\nWants={other}" for other in look.list(f"{directory}/{file}.{kind}", doubt))
    for other in sorted(dropins):
        text += "\n" + (look.read(dropins[other], doubt) or b"").decode("utf-8", "surrogateescape")
    return text


def is_built_in(modules_builtin: bytes) -> bool:
    """True if modules.builtin (kernel's Documentation/kbuild/kbuild.rst) lists overlayfs."""
    return _MODULE in modules_builtin


def find_module(modules_dep: bytes) -> str:
    """The path of the overlayfs module below its kernel's directory, "" if modules.dep (modules.dep(5)) has none."""
    position = modules_dep.find(_MODULE)
    while position >= 0:
        start = modules_dep.rfind(b"\n", 0, position) + 1
        end = modules_dep.find(b":", start)
        if position < end:
            return modules_dep[start:end].decode("utf-8", "surrogateescape")
        # After the colon it is a dependency of another module.
        position = modules_dep.find(_MODULE, position + 1)
    return ""


def is_registered(filesystems: bytes) -> bool:
    """True if /proc/filesystems has overlayfs. False proves nothing: a module is loaded at its first use."""
    return b"\toverlay\n" in filesystems


def parse_mountinfo(text: str) -> "list[Mounted]":
    """The mounts of /proc/PID/mountinfo (proc_pid_mountinfo(5)), lines that make no sense left out."""
    mounted = []
    for line in text.split("\n"):
        head, separator, tail = line.partition(" - ")
        fields, rest = head.split(" "), tail.split(" ")
        if separator and len(fields) >= 6 and len(rest) >= 3:
            mounted.append(Mounted(unescape(fields[4]), rest[0], rest[2], fields[5]))
    return mounted
