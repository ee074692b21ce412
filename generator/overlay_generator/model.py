# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The values that go from gather to decide to render to write. They do not change once made.

Plain classes: a dataclass costs 12 ms of imports on the boot path, a NamedTuple 7 ms (Python 3.11).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_generator.found import Mounter, OnOverlay, Storage
    from overlay_generator.requirers import Softened


class Value:
    """Equality and representation by the names in `__slots__`, nothing more."""

    __slots__: "tuple[str, ...]" = ()

    def __eq__(self, other: object) -> bool:
        """True for the same type with equal attributes."""
        return type(self) is type(other) and all(getattr(self, n) == getattr(other, n) for n in self.__slots__)

    # Values hold dictionaries and are never keys.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Type(name=value, ...), for test failures and bug reports."""
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in self.__slots__)})"


class Problem(Value):
    """Bad input: what is wrong and what was done instead; `source` and `line` (from 1, 0: none) say where.

    `hides` are the mount points that are unknown because of it, `/` if that may be any.
    """

    __slots__ = ("hides", "line", "source", "text")

    def __init__(self, text: str, source: str = "", line: int = 0, hides: "tuple[str, ...]" = ()) -> None:
        self.hides = hides
        self.text = text
        self.source = source
        self.line = line

    def __str__(self) -> str:
        """The sentence that the log, the dry run and the operator's command all show."""
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.text}" if place else self.text


class FstabEntry(Value):
    """One mount or swap asked for in fstab, on the kernel command line or in a credential (fstab(5)).

    `where` is the mount point as systemd has it, "" for swap; `written` is how the file has it, if links were followed.
    `fault` says why systemd has a unit of that name and can't use it, "" if it can.
    """

    __slots__ = ("fault", "fstype", "line", "options", "source", "what", "where", "written")

    def __init__(
        self, what: str, where: str, fstype: str, options: str, source: str, line: int = 0, written: str = "",
        fault: str = "",
    ) -> None:  # fmt: skip
        self.fault = fault
        self.what = what
        self.where = where
        self.fstype = fstype
        self.options = options
        self.source = source
        self.line = line
        self.written = written

    def __str__(self) -> str:
        """Where the entry stands, e.g. `/etc/fstab:7`."""
        return f"{self.source}:{self.line}" if self.line else self.source


class Request(Value):
    """What the kernel command line asks for; `source` is the file it was read from.

    `mounts` are normalised absolute paths, without duplicates, in the order given. `volatile` is
    the value of systemd.volatile= ("" where it is off), `masked` the unit names of systemd.mask=.
    `in_memory`: overlayfs.upper=volatile. `reset`: the paths of overlayfs.reset=, `/` where it means all.
    `keep_newer`: overlayfs.rollback=no. `luks`: the words luks= and luks.*=, as they are.
    """

    __slots__ = (
        "entries", "in_memory", "keep_newer", "luks", "masked", "mounts", "problems", "read_fstab", "reset", "source",
        "volatile",
    )  # fmt: skip

    def __init__(
        self, source: str, mounts: "tuple[str, ...]" = (), problems: "tuple[Problem, ...]" = (),
        masked: "tuple[str, ...]" = (), volatile: str = "", read_fstab: bool = True,
        entries: "tuple[FstabEntry, ...]" = (), in_memory: bool = False, reset: "tuple[str, ...]" = (),
        keep_newer: bool = False, luks: "tuple[str, ...]" = (),
    ) -> None:  # fmt: skip
        self.keep_newer = keep_newer
        self.luks = luks
        self.source = source
        self.mounts = mounts
        self.in_memory = in_memory
        self.reset = reset
        self.problems = problems
        self.masked = masked
        self.volatile = volatile
        self.read_fstab = read_fstab
        self.entries = entries


class Directory(Value):
    """What is at a path in the image.

    `state` is directory, symlink, file, missing, or unseen (on another file system, which may not be mounted yet).
    `detail` is the symlink found. `mode` holds permission bits. `labelled`: it carries ACLs or extended attributes.
    """

    __slots__ = ("detail", "gid", "labelled", "mode", "state", "uid")

    def __init__(
        self, state: str, detail: str = "", mode: int = 0o755, uid: int = 0, gid: int = 0, labelled: bool = False
    ) -> None:
        self.state = state
        self.detail = detail
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.labelled = labelled


class Unit(Value):
    """A unit file found on disk.

    `kind` is mask, provided (it outranks a generator's normal directory), vendor (it does not), or
    buildroot (a vendor's unit over our backing directory: the static unit that ours replaces). `required`: a mount
    without which local-fs.target fails, which is emergency mode.
    """

    __slots__ = ("kind", "path", "required")

    def __init__(self, kind: str, path: str, required: bool = True) -> None:
        self.kind = kind
        self.path = path
        self.required = required


class Mounted(Value):
    """One line of mountinfo: `options` are the superblock's (proc_pid_mountinfo(5), field 11), `flags` the mount's."""

    __slots__ = ("flags", "fstype", "options", "where")

    def __init__(self, where: str, fstype: str, options: str, flags: str = "rw") -> None:
        self.where = where
        self.fstype = fstype
        self.options = options
        self.flags = flags


class Word(Value):
    """One word of a configuration file and where it stands."""

    __slots__ = ("line", "source", "text")

    def __init__(self, text: str, source: str, line: int) -> None:
        self.text = text
        self.source = source
        self.line = line

    def __str__(self) -> str:
        """Where the word stands, e.g. `/etc/overlay-generator.conf:7`."""
        return f"{self.source}:{self.line}"


class Settings(Value):
    """What a section of the configuration says of one directory.

    `policy` is keep, refresh, prune or reset, `notify` fail or notice, `require` what makes a boot good. `size` and
    `inodes` are the limits of a tmpfs as tmpfs(5) takes them, "" where nothing is said; `flags` are the overlay's mount
    flags, `options` its options, `passthrough` paths. `rollback` is no, yes, or hold where this boot neither freezes
    nor steps back; `commit` is good, next-update, manual, or a time in seconds.
    """

    __slots__ = (
        "commit", "flags", "inodes", "notify", "options", "passthrough", "policy", "require", "rollback", "size",
    )  # fmt: skip

    def __init__(
        self, policy: str = "keep", size: str = "", inodes: str = "", flags: "tuple[str, ...]" = (),
        options: "tuple[Word, ...]" = (), passthrough: "tuple[Word, ...]" = (), notify: str = "fail",
        require: "tuple[str, ...]" = ("writable", "current-image"), rollback: str = "no", commit: str = "good",
    ) -> None:  # fmt: skip
        self.rollback = rollback
        self.commit = commit
        self.policy = policy
        self.require = require
        self.notify = notify
        self.size = size
        self.inodes = inodes
        self.flags = flags
        self.options = options
        self.passthrough = passthrough


class Inputs(Value):
    """All that was read from the machine, for the paths and units that `request` concerns.

    `context` is initrd, user or "". `kernel` is "built in", module, absent or unknown, `release` the
    kernel asked about. `library` is the directory of our package as the booted system sees it.
    `settings` are the sections of the configuration by their paths; `shell`: there is a /bin/sh. `swaps` are the
    entries of fstab for swap, `crypttab` is the text of that file, `texts` are those of the units that entries name
    and of units that these wait for. `wide`: as far as known it is a 64-bit kernel. `mounter`: None without SELinux.
    `unseen` says what was refused, `storage` where software of the image keeps overlays of its own.
    """

    __slots__ = (
        "context", "crypttab", "directories", "entries", "kernel", "library", "mounted", "mounter", "problems",
        "release", "request", "settings", "shell", "storage", "swaps", "texts", "units", "unseen", "wide",
    )  # fmt: skip

    def __init__(
        self, request: Request, entries: "tuple[FstabEntry, ...]" = (), problems: "tuple[Problem, ...]" = (),
        directories: "dict[str, Directory] | None" = None, units: "dict[str, Unit] | None" = None,
        mounted: "tuple[Mounted, ...]" = (), kernel: str = "built in", release: str = "", context: str = "",
        library: str = "/usr/lib/overlay-generator", settings: "dict[str, Settings] | None" = None,
        shell: bool = True, swaps: "tuple[FstabEntry, ...]" = (), crypttab: str = "",
        texts: "dict[str, str] | None" = None, wide: bool = True, mounter: "Mounter | None" = None,
        unseen: "tuple[str, ...]" = (), storage: "tuple[Storage, ...]" = (),
    ) -> None:  # fmt: skip
        self.request = request
        self.mounter = mounter
        self.unseen = unseen
        self.storage = storage
        self.wide = wide
        self.swaps = swaps
        self.crypttab = crypttab
        self.texts = texts or {}
        self.entries = entries
        self.problems = problems
        self.directories = directories or {}
        self.units = units or {}
        self.mounted = mounted
        self.kernel = kernel
        self.release = release
        self.context = context
        self.library = library
        self.settings = settings or {}
        self.shell = shell


class Backing(Value):
    """What holds upper and work of a directory.

    `path` is the backing directory; `mount` the mount point that must be there before anything is written: `path`
    itself or a directory above it. `tmpfs`: the mount is ours, in memory. `volatile`: it is empty at each boot, whoever
    mounts it. `nofail`: boot goes on, in memory, where it is missing. `fstype`: the type that fstab gives it, "" if it
    says none. `growfs`: fstab wants it grown after the mount. `automount`: fstab wants it mounted on first access.
    `bind`: it is a bind mount. `lost`: why this is memory though a disk was asked for, if that is known before the disk
    is tried. `after_swap`: a bind mount that fstab calls a tmpfs. `endless`: the unit of its device, if fstab would
    wait for that without limit.
    """

    __slots__ = (
        "after_swap", "automount", "bind", "endless", "fstype", "growfs", "lost", "mount", "nofail", "path", "source",
        "tmpfs", "volatile",
    )  # fmt: skip

    def __init__(
        self, path: str, mount: str, tmpfs: bool, volatile: bool, nofail: bool, source: str, fstype: str = "",
        growfs: bool = False, automount: bool = False, bind: bool = False, lost: str = "", after_swap: bool = False,
        endless: str = "",
    ) -> None:  # fmt: skip
        self.path = path
        self.after_swap, self.endless = after_swap, endless
        self.lost = lost
        self.bind, self.automount = bind, automount
        self.mount = mount
        self.tmpfs = tmpfs
        self.volatile = volatile
        self.nofail = nofail
        self.source = source
        self.fstype = fstype
        self.growfs = growfs


class OverlayMount(Value):
    """One overlay to be made.

    `parent` is the directory whose mounts must be there before `lower` is bound. `before` are overlays around this one
    that must not be mounted before it. `optional`: local-fs.target only wants it. `reset`: this boot starts with an
    empty upper layer. `settings` has only what can be done. `yields`: it gives way to a unit of any other generator.
    """

    __slots__ = ("backing", "before", "directory", "name", "optional", "parent", "reset", "settings", "where", "yields")

    def __init__(
        self,
        where: str,
        name: str,
        backing: Backing,
        directory: Directory,
        parent: str = "/",
        before: "tuple[str, ...]" = (),
        optional: bool = False,
        reset: bool = False,
        settings: "Settings | None" = None,
        yields: bool = False,
    ) -> None:
        self.where = where
        self.name = name
        self.yields = yields
        self.settings = settings or Settings()
        self.backing = backing
        self.directory = directory
        self.parent = parent
        self.before = before
        self.optional = optional
        self.reset = reset


class Skipped(Value):
    """A directory asked for and not overlaid. `level` is quiet, notice or error (the boot goes on in all three);
    `notify` is fail or notice: whether a unit of systemd's fails for an error; `require` is what makes a boot good.
    """

    __slots__ = ("level", "notify", "reason", "require", "where")

    def __init__(self, where: str, reason: str, level: str = "notice") -> None:
        self.where = where
        self.reason = reason
        self.level = level
        self.notify = "fail"
        self.require = Settings().require

    def __str__(self) -> str:
        """The sentence that the log, the dry run and the operator's command all show."""
        return f"{self.where} is not overlaid: {self.reason}"


class Plan(Value):
    """What will be done, what will not and why, what was wrong with the input, and `hints` on what won't work well.

    `size` is the limit of each tmpfs in per cent of memory; `load_module`: overlayfs is a module. `early` are units
    that have to be told to wait for /var. `shell`: the image has one. `swaps` are swap files that lie on an overlay,
    each with the overlaid directory. `wide`, `mounter`: as in Inputs. `static`: what is known is done without Python.
    `storage` is what keeps overlays of its own on one of ours, `softened` what units of ours are not to require.
    """

    __slots__ = (
        "early", "hints", "library", "load_module", "mounter", "mounts", "problems", "shell", "size", "skipped",
        "softened", "source", "static", "storage", "swaps", "wide",
    )  # fmt: skip

    def __init__(
        self, mounts: "tuple[OverlayMount, ...]" = (), skipped: "tuple[Skipped, ...]" = (),
        problems: "tuple[Problem, ...]" = (), source: str = "/proc/cmdline", size: int = 25,
        load_module: bool = False, library: str = "/usr/lib/overlay-generator", hints: "tuple[str, ...]" = (),
        early: "tuple[str, ...]" = (), shell: bool = True, swaps: "tuple[tuple[str, str], ...]" = (),
        wide: bool = True, static: bool = False, mounter: "Mounter | None" = None,
        storage: "tuple[OnOverlay, ...]" = (), softened: "tuple[Softened, ...]" = (),
    ) -> None:  # fmt: skip
        self.mounter = mounter
        self.storage = storage
        self.softened = softened
        self.wide = wide
        self.static = static
        self.swaps = swaps
        self.early = early
        self.shell = shell
        self.hints = hints
        self.mounts = mounts
        self.skipped = skipped
        self.problems = problems
        self.source = source
        self.size = size
        self.load_module = load_module
        self.library = library


class UnitFile(Value):
    """A unit to write: `directory` is normal, early or late, `group` what is dropped together if one write fails."""

    __slots__ = ("directory", "group", "path", "text")

    def __init__(self, directory: str, path: str, text: str, group: str) -> None:
        self.directory = directory
        self.path = path
        self.text = text
        self.group = group


class UnitLink(Value):
    """A symbolic link to write; the rest as in UnitFile."""

    __slots__ = ("directory", "group", "path", "target")

    def __init__(self, directory: str, path: str, target: str, group: str) -> None:
        self.directory = directory
        self.path = path
        self.target = target
        self.group = group
