"""The only reader of the machine: everything that a decision rests on is read here, once.

Nothing here may block: no file system that fstab mounts is touched, and a FIFO in place of a file is not waited for.
`posix` and not `os`: os costs a tenth of the interpreter's start, and nothing of it is needed (Python 3.11).
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from overlay_generator.model import Directory, FstabEntry, Inputs, Mounted, Problem, Request, Settings, Unit

# systemd's src/libsystemd/sd-path/path-lookup.c, 247 to 262: what outranks a generator's normal directory,
# and what it outranks itself.
_ABOVE_US = (
    "/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient",
    "/etc/systemd/system", "/etc/systemd/system.attached", "/run/systemd/system", "/run/systemd/system.attached",
)  # fmt: skip
# Where packages put units, and masks for them; a look into all directories costs more than it tells.
_PACKAGED = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_BELOW_US = ("/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")

_GENERATORS = ("/usr/lib/systemd/system-generators", "/lib/systemd/system-generators")

# S_IFMT, S_IFLNK, S_IFREG and S_IFDIR of stat(2); the module stat would be one more to load.
_TYPE_BITS, _SYMLINK, _REGULAR, _DIRECTORY = 0o170000, 0o120000, 0o100000, 0o040000
# systemd.syntax(7), the highest first.
_CONFIGURED_IN = ("/etc", "/run", "/usr/local/lib", "/usr/lib")
_CONFIGURATION = "overlay-generator.conf"
_READ_LIMIT = 16 << 20
# Machines of 64 bits whose name does not say so; armv8l is one that runs programs of 32 bits.
_WIDE = ("s390x", "alpha", "armv8l", "armv8b")
_INSTALLED = "/usr/lib/overlay-generator"


def read_environ() -> "dict[str, str]":
    """The environment of this process. Bytes that are not UTF-8 become surrogates, as in file names."""
    return {
        key.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
        for key, value in posix.environ.items()
    }


def read_file(path: str) -> bytes:
    """The content of `path`, its first 16 MiB at most. Raises OSError."""
    # O_NONBLOCK: opening a FIFO would wait for a writer, and PID 1 for us.
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    try:
        # The kernel's virtual files have no size, and a small buffer does for nearly all of them.
        data = chunk = posix.read(fd, 65536)
        while chunk and len(data) < _READ_LIMIT:
            chunk = posix.read(fd, 1 << 20)
            data += chunk
        return data
    finally:
        posix.close(fd)


def _place(root: str, path: str, follow: bool = True) -> str:
    """Where `path` of the machine at `root` is on this one. Raises OSError."""
    if not root:
        return path
    # Links of a tree are the tree's: an absolute one would lead to a file of this machine.
    from overlay_generator.inside import find

    return find(root, path, follow)


def _read(root: str, path: str) -> bytes:
    """read_file() for `path` of the machine at `root`. Raises OSError."""
    return read_file(_place(root, path))


def read_context(root: str, environ: "Mapping[str, str]") -> str:
    """initrd or user where no generator of ours has anything to do, else "" (systemd.generator(7))."""
    if environ.get("SYSTEMD_SCOPE", "system") == "user":
        return "user"
    in_initrd = environ.get("SYSTEMD_IN_INITRD", "")
    if in_initrd == "0":
        return ""
    if in_initrd:
        from overlay_generator.cmdline import parse_boolean

        return "initrd" if parse_boolean(in_initrd) else ""
    # Before systemd 251 nothing in the environment tells.
    return "initrd" if exists(root, "/etc/initrd-release") else ""


def read_command_line(root: str, environ: "Mapping[str, str]") -> "tuple[str, str]":
    """The kernel command line and the file it stands in; in a container the arguments of PID 1. Raises OSError."""
    given = environ.get("SYSTEMD_PROC_CMDLINE")
    if given is not None:
        return given, "/proc/cmdline"
    source = "/proc/1/cmdline" if _in_container(root, environ) else "/proc/cmdline"
    return _decode(_read(root, source)), source


def read_configuration(root: str) -> "tuple[dict[str, Settings], list[Problem]]":
    """The sections of the configuration files and drop-ins, and what was wrong with them.

    The main file of the highest directory is read alone; drop-ins of all directories follow, sorted by their names,
    and of those with one name the highest is read (systemd.syntax(7)).
    """
    texts: list[tuple[str, str]] = []
    unread: list[tuple[str, str]] = []
    dropins: dict[str, str] = {}
    for directory in _CONFIGURED_IN:
        path = f"{directory}/{_CONFIGURATION}"
        if not texts and not unread:
            _read_into(texts, unread, root, path)
        try:
            names = posix.listdir(_place(root, f"{path}.d"))
        except OSError:
            continue
        for name in names:
            if name.endswith(".conf") and not name.startswith("."):
                dropins.setdefault(name, f"{path}.d/{name}")
    for name in sorted(dropins):
        _read_into(texts, unread, root, dropins[name])
    # Most machines end here, without another module.
    if not texts and not unread:
        return {}, []
    from overlay_generator.config import read_settings
    from overlay_generator.model import Problem

    settings, problems = read_settings(texts)
    return settings, [
        Problem(f"can't be read ({why}), and was taken as empty", path) for path, why in unread
    ] + problems


def gather(
    root: str, environ: "Mapping[str, str]", request: "Request", settings: "dict[str, Settings] | None" = None
) -> "Inputs":
    """All that `request` makes worth knowing about the machine whose root directory is `root` ("": this one)."""
    from overlay_generator.model import Inputs
    from overlay_generator.names import EARLY_UNITS, ENGINES, backing_path, mount_unit, unit_names

    every = _read_mountinfo(root)
    found, problems = read_entries(root, environ, request, every)
    entries = [entry for entry in found if entry.where]
    kernel, release = _read_kernel(root)
    elsewhere = {entry.where for entry in entries if entry.where != "/"}
    settings = {where: settings[where] for where in request.mounts if where in settings} if settings else {}
    passed = [word.text for asked in settings.values() for word in asked.passthrough]
    names = [name for where in request.mounts for name in unit_names(where)] + [mount_unit(path) for path in passed]
    units = _read_units(root, names, (*_ABOVE_US, *_BELOW_US))
    if "/var" in request.mounts or "/var/lib" in request.mounts:
        units.update(_read_units(root, (*ENGINES, *EARLY_UNITS), _PACKAGED))
    return Inputs(
        request,
        entries=tuple(entries),
        crypttab=_decode(_read_if_there(root, "/etc/crypttab")) if entries else "",
        texts=_read_named(root, entries) if entries else {},
        swaps=tuple(entry for entry in found if not entry.where),
        problems=tuple(problems),
        directories={where: _read_directory(root, where, elsewhere) for where in (*request.mounts, *passed)},
        units=units,
        settings=settings,
        mounted=tuple(_select_mounted(every, request.mounts, [backing_path(where) for where in request.mounts])),
        kernel=kernel,
        release=release,
        context=read_context(root, environ),
        library=_INSTALLED if root else __file__.rsplit("/", 2)[0],
        shell=exists(root, "/bin/sh"),
        wide=_is_wide(root),
    )


def read_entries(
    root: str, environ: "Mapping[str, str]", request: "Request", mounted: "list[Mounted] | None" = None
) -> "tuple[list[FstabEntry], list[Problem]]":
    """What systemd-fstab-generator will mount: fstab, systemd.mount-extra=, the credential fstab.extra.

    The entries, and what was wrong. One with where "" is swap. `mounted` is what is mounted now, where that is known.
    """
    from overlay_generator.model import Problem

    texts: list[tuple[str, str]] = []
    unread: list[tuple[str, str]] = []
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if request.read_fstab:
        _read_into(texts, unread, root, environ.get("SYSTEMD_FSTAB") or "/etc/fstab")
    if credentials:
        _read_into(texts, unread, root, credentials + "/fstab.extra")
    problems = [Problem(f"can't be read ({why}), and was taken as empty", path) for path, why in unread]
    encrypted = environ.get("ENCRYPTED_CREDENTIALS_DIRECTORY", "")
    if encrypted and exists(root, f"{encrypted}/fstab.extra"):
        text = "is encrypted and can't be read this early; mounts that it has are not taken into account"
        problems.append(Problem(text, encrypted + "/fstab.extra"))
    texts = [(path, text) for path, text in texts if _has_lines(text)]
    if not texts and not request.entries:
        return [], problems
    from overlay_generator.entries import complete

    # Nobody needs to look beyond a mount point, but for those that are there at each boot, and our overlays.
    aside = {one.where for one in mounted or _read_mountinfo(root)}.difference(("/", "/usr", "/run"), request.mounts)
    entries, wrong = complete(root, environ, request, texts, aside, lambda: read_generator(root))
    return entries, problems + wrong


def read_generator(root: str) -> bytes:
    """systemd's own reader of fstab, b"" where there is none."""
    found = (_read_if_there(root, f"{directory}/systemd-fstab-generator") for directory in _GENERATORS)
    return next((data for data in found if data), b"")


def _read_into(texts: "list[tuple[str, str]]", unread: "list[tuple[str, str]]", root: str, path: str) -> None:
    try:
        texts.append((path, _decode(_read(root, path))))
    except FileNotFoundError:
        pass
    except OSError as error:
        unread.append((path, str(error.strerror)))


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def exists(root: str, path: str) -> bool:
    """True if something is at `path` of the machine at `root`, also a link that leads nowhere."""
    try:
        posix.lstat(_place(root, path, False))
    except OSError:
        return False
    return True


def _in_container(root: str, environ: "Mapping[str, str]") -> bool:
    """True in a container, where /proc/cmdline is the host's."""
    virtualization = environ.get("SYSTEMD_VIRTUALIZATION", "")
    if virtualization or "SYSTEMD_SCOPE" in environ:
        return virtualization.startswith("container:")
    # systemd before 251. Its own order: src/basic/virt.c, detect_container().
    return bool(environ.get("container")) or any(
        exists(root, path) for path in ("/run/host/container-manager", "/run/systemd/container")
    )


def _read_kernel(root: str) -> "tuple[str, str]":
    """How the kernel has overlayfs (built in, module, absent, unknown), and its release.

    The module lists come first: they say the same before and after the module was loaded.
    """
    from overlay_generator.kernel import find_module, is_built_in, is_registered

    releases = [posix.uname().release] if not root else _find_releases(root)
    for release in releases:
        for directory in (f"/usr/lib/modules/{release}", f"/lib/modules/{release}"):
            if is_built_in(_read_if_there(root, directory + "/modules.builtin")):
                return "built in", release
            module = find_module(_read_if_there(root, directory + "/modules.dep"))
            if module and exists(root, f"{directory}/{module}"):
                return "module", release
    filesystems = _read_if_there(root, "/proc/filesystems")
    if is_registered(filesystems):
        return "built in", releases[0] if releases else ""
    return ("absent" if filesystems or releases else "unknown"), (releases[0] if releases else "")


def _is_wide(root: str) -> bool:
    """False if the kernel has 32 bits; an image's tells its own systemd, which is of the same kind mostly."""
    if not root:
        machine = posix.uname().machine
        return "64" in machine or machine in _WIDE
    paths = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
    return not any(_read_if_there(root, path)[:5] == b"\x7fELF\x01" for path in paths)


def _find_releases(root: str) -> "list[str]":
    """The kernels that the tree at `root` may run: the one its /proc tells, else all that it has modules for."""
    running = _decode(_read_if_there(root, "/proc/sys/kernel/osrelease")).strip()
    if running:
        return [running]
    for directory in ("/usr/lib/modules", "/lib/modules"):
        try:
            return sorted(posix.listdir(_place(root, directory)))
        except OSError:
            continue
    return []


def _read_if_there(root: str, path: str) -> bytes:
    try:
        return _read(root, path)
    except OSError:
        return b""


def _read_directory(root: str, where: str, elsewhere: "set[str]") -> "Directory":
    """What stands at `where`, its parents looked at one by one and never across a mount point of `elsewhere`."""
    from overlay_generator.model import Directory
    from overlay_generator.names import ancestors

    try:
        for path in (*reversed(ancestors(where)), where):
            if path in elsewhere:
                return Directory("unseen")
            info = posix.lstat(root + path)
            if info.st_mode & _TYPE_BITS == _SYMLINK:
                return Directory("symlink", f"{path} is a symbolic link to {posix.readlink(root + path)}")
    except (FileNotFoundError, NotADirectoryError):
        return Directory("missing", path)
    except (OSError, ValueError):
        return Directory("unseen")
    if info.st_mode & _TYPE_BITS != _DIRECTORY:
        return Directory("file")
    return Directory("directory", "", info.st_mode & 0o7777, info.st_uid, info.st_gid, _is_labelled(root + where))


def _is_labelled(path: str) -> bool:
    try:
        return bool(posix.listxattr(path))
    except OSError:
        return False


def _read_units(root: str, names: "Iterable[str]", directories: "tuple[str, ...]") -> "dict[str, Unit]":
    """The unit files of these `names`, the highest of each in `directories`: they outrank ours, or ours hide them."""
    from overlay_generator.model import Unit

    units: dict[str, Unit] = {}
    for name in names:
        for directory in directories:
            path = f"{directory}/{name}"
            try:
                info = posix.lstat(_place(root, path, False))
            except (OSError, ValueError):
                continue
            if _is_mask(root, path, info):
                kind = "mask"
            elif directory in _ABOVE_US:
                kind = "provided"
            else:
                kind = "buildroot" if b"/run/buildroot/mounts/" in _read_if_there(root, path) else "vendor"
            units[name] = Unit(kind, path)
            break
    return units


def _is_mask(root: str, path: str, info: "posix.stat_result") -> bool:
    """True for an empty unit file, and a link to one or to /dev/null (null_or_empty() in systemd)."""
    if info.st_mode & _TYPE_BITS == _SYMLINK:
        target: list[str] = []
        link = posix.readlink(_place(root, path, False))
        for part in (link if link.startswith("/") else f"{path}/../{link}").split("/"):
            if part == "..":
                target = target[:-1]
            elif part not in ("", "."):
                target.append(part)
        if target == ["dev", "null"]:
            return True
        try:
            info = posix.stat(_place(root, f"/{'/'.join(target)}"))
        except OSError:
            return False
    return info.st_size == 0 and info.st_mode & _TYPE_BITS == _REGULAR


def _read_mountinfo(root: str) -> "list[Mounted]":
    from overlay_generator.kernel import parse_mountinfo

    return parse_mountinfo(_decode(_read_if_there(root, "/proc/self/mountinfo")))


def _read_named(root: str, entries: "list[FstabEntry]") -> "dict[str, str]":
    """The texts of the units that options of `entries` name, and of those that these wait for."""
    if not any("x-systemd." in entry.options for entry in entries):
        return {}
    from overlay_generator.ordering import read_units

    return read_units(entries, lambda name: _read_unit(root, name))


def _read_unit(root: str, name: str) -> str:
    """The text of the unit `name`, "" where there is none."""
    at = name.find("@")
    file = name[: at + 1] + name[name.rfind(".") :] if at > 0 else name
    found = (_decode(_read_if_there(root, f"{directory}/{file}")) for directory in (*_ABOVE_US, *_BELOW_US))
    return next((text for text in found if text), "")


def _has_lines(text: str) -> bool:
    """True if `text` has more than comments and blank lines."""
    return any(line.strip()[:1] not in ("", "#") for line in text.split("\n"))


def _select_mounted(every: "list[Mounted]", mounts: "tuple[str, ...]", backings: "list[str]") -> "list[Mounted]":
    """What is mounted at or below `mounts`, and at `backings`."""
    from overlay_generator.names import is_below

    return [
        mounted
        for mounted in every
        if mounted.where in backings or any(mounted.where == path or is_below(mounted.where, path) for path in mounts)
    ]
