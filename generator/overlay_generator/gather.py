# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The only reader of the machine: everything that a decision rests on is read here, once.

Nothing here may block: no file system that fstab mounts is touched, and a FIFO in place of a file is not waited for.
`posix` and not `os`: os costs a tenth of the interpreter's start, and nothing of it is needed (Python 3.11).
"""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from overlay_generator.found import Mounter, Storage
    from overlay_generator.look import Look
    from overlay_generator.model import Directory, FstabEntry, Inputs, Mounted, Problem, Request, Settings, Unit

_GENERATORS = ("/usr/lib/systemd/system-generators", "/lib/systemd/system-generators")

# S_IFMT, S_IFLNK and S_IFDIR of stat(2); the module stat would be one more to load.
_TYPE_BITS, _SYMLINK, _DIRECTORY = 0o170000, 0o120000, 0o040000
# systemd.syntax(7), the highest first.
_CONFIGURED_IN = ("/etc", "/run", "/usr/local/lib", "/usr/lib")
_CONFIGURATION = "overlay-generator.conf"
_READ_LIMIT = 16 << 20
# 64-bit machines whose name in uname(2) does not say so; armv8l is one that runs 32-bit programs.
_WIDE = ("s390x", "alpha", "armv8l", "armv8b")
_INSTALLED = "/usr/lib/overlay-generator"
_BACKINGS = "run-buildroot-mounts-"  # the beginning of their units' names


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
    # Links in a tree are relative to its root: an absolute one would lead to a file of this machine.
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
    """The kernel command line and the file that has it; in a container the arguments of PID 1. Raises OSError."""
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
    refused: list[tuple[str, str]] = []  # not in `unread`, which keeps further main files from being read
    dropins: dict[str, str] = {}
    for directory in _CONFIGURED_IN:
        path = f"{directory}/{_CONFIGURATION}"
        if not texts and not unread:
            _read_into(texts, unread, root, path)
        try:
            names = posix.listdir(_place(root, f"{path}.d"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refused.append((f"{path}.d", str(error.strerror)))
            continue
        for name in names:
            if name.endswith(".conf") and not name.startswith("."):
                dropins.setdefault(name, f"{path}.d/{name}")
    for name in sorted(dropins):
        _read_into(texts, unread, root, dropins[name])
    unread += refused
    # Most machines end here, without loading another module.
    if not texts and not unread:
        return {}, []
    from overlay_generator.config import read_settings
    from overlay_generator.model import Problem

    settings, problems = read_settings(texts)
    return settings, [
        Problem(f"can't be read ({why}), and is treated as empty", path) for path, why in unread
    ] + problems


def gather(
    root: str, environ: "Mapping[str, str]", request: "Request", settings: "dict[str, Settings] | None" = None
) -> "Inputs":
    """All that matters for `request` about the machine whose root directory is `root` ("": this one)."""
    from overlay_generator.look import Look, parse_mountinfo, read_kernel, read_packaged, read_units
    from overlay_generator.model import Inputs
    from overlay_generator.names import EARLY_UNITS, ENGINES, OVERLAID, backing_path, mount_unit, unit_names

    look = Look(root, _read, _place)
    every = parse_mountinfo(_decode(look.read("/proc/self/mountinfo", "nothing is assumed to be mounted") or b""))
    found, problems = read_entries(root, environ, request, every)
    entries = [entry for entry in found if entry.where]
    kernel, release = read_kernel(look)
    elsewhere = {entry.where for entry in entries if entry.where != "/"}
    settings = {where: settings[where] for where in request.mounts if where in settings} if settings else {}
    passed = [word.text for asked in settings.values() for word in asked.passthrough]
    names = [name for where in request.mounts for name in unit_names(where)] + [mount_unit(path) for path in passed]
    units = read_units(look, names)
    storage: tuple[Storage, ...] = ()
    if any(where == "/var" or where.startswith("/var/") for where in request.mounts):
        units.update(read_packaged(look, (*ENGINES, *EARLY_UNITS)))
        if any(name in units for name in ENGINES) or any(look.exists(path, False) for path in OVERLAID):
            from overlay_generator.engines import find_storage

            storage = find_storage(look, units)
    directories = {where: _read_directory(look, where, elsewhere) for where in (*request.mounts, *passed)}
    seen = [where for where in request.mounts if directories[where].state == "directory"]
    return Inputs(
        request,
        entries=tuple(entries),
        crypttab=_decode(look.read("/etc/crypttab", "no volume is assumed to be encrypted") or b"") if entries else "",
        texts=_read_named(look, entries, units),
        swaps=tuple(entry for entry in found if not entry.where),
        problems=tuple(problems),
        directories=directories,
        units=units,
        settings=settings,
        mounted=tuple(_select_mounted(every, request.mounts, [backing_path(where) for where in request.mounts])),
        kernel=kernel,
        release=release,
        context=read_context(root, environ),
        library=_INSTALLED if root else __file__.rsplit("/", 2)[0],
        shell=look.exists("/bin/sh", True),
        wide=_is_wide(root),
        mounter=None if root else _find_mounter(environ, seen),
        unseen=tuple(look.refused),
        storage=storage,
    )


def read_entries(
    root: str, environ: "Mapping[str, str]", request: "Request", mounted: "list[Mounted] | None" = None
) -> "tuple[list[FstabEntry], list[Problem]]":
    """What systemd-fstab-generator will mount: fstab, systemd.mount-extra=, the credential fstab.extra.

    The entries, and what was wrong. One whose `where` is "" is swap. `mounted` is what is mounted now, if known.
    """
    from overlay_generator.model import Problem

    texts: list[tuple[str, str]] = []
    unread: list[tuple[str, str]] = []
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if request.read_fstab:
        _read_into(texts, unread, root, environ.get("SYSTEMD_FSTAB") or "/etc/fstab")
    if credentials:
        _read_into(texts, unread, root, credentials + "/fstab.extra")
    problems = [Problem(f"can't be read ({why}), and is treated as empty", path, hides=("/",)) for path, why in unread]
    encrypted = environ.get("ENCRYPTED_CREDENTIALS_DIRECTORY", "")
    if encrypted and exists(root, f"{encrypted}/fstab.extra"):
        text = "is encrypted and can't be read this early; mounts that it has are not taken into account"
        problems.append(Problem(text, encrypted + "/fstab.extra"))
    texts = [(path, text) for path, text in texts if _has_lines(text)]
    if not texts and not request.entries:
        return [], problems
    from overlay_generator.entries import complete

    # Nothing is looked at beyond these mount points: all but those that are there at each boot, and our overlays.
    aside = {one.where for one in mounted or _read_mountinfo(root)}.difference(("/", "/usr", "/run"), request.mounts)
    entries, wrong = complete(root, environ, request, texts, aside, lambda: read_generator(root))
    return entries, problems + wrong


def read_generator(root: str) -> bytes:
    """The content of the program systemd-fstab-generator, b"" if there is none."""
    found = (_read_if_there(root, f"{directory}/systemd-fstab-generator") for directory in _GENERATORS)
    return next((data for data in found if data), b"")


def _read_into(texts: "list[tuple[str, str]]", unread: "list[tuple[str, str]]", root: str, path: str) -> None:
    try:
        texts.append((path, _decode(_read(root, path))))
    except FileNotFoundError:
        pass  # as good as an empty one, also for systemd
    except OSError as error:
        unread.append((path, str(error.strerror)))


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def exists(root: str, path: str) -> bool:
    """True if something is at `path` of the machine at `root`, even a link that leads nowhere."""
    try:
        posix.lstat(_place(root, path, False))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass  # everybody may search the directories asked for here, so what may not be looked at is there
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


def _is_wide(root: str) -> bool:
    """False if it is a 32-bit kernel; for an image its systemd's program tells, which is mostly of the same kind."""
    if not root:
        machine = posix.uname().machine
        return "64" in machine or machine in _WIDE
    paths = ("/usr/lib/systemd/systemd", "/lib/systemd/systemd")
    return not any(_read_if_there(root, path)[:5] == b"\x7fELF\x01" for path in paths)


def _read_if_there(root: str, path: str) -> bytes:
    try:
        return _read(root, path)
    except OSError:
        return b""


def _read_directory(look: "Look", where: str, elsewhere: "set[str]") -> "Directory":
    """What is at `where`; its parents are looked at one by one, and never across a mount point of `elsewhere`."""
    from overlay_generator.model import Directory
    from overlay_generator.names import ancestors

    root = look.root
    try:
        for path in (*reversed(ancestors(where)), where):
            if path in elsewhere:
                return Directory("unseen")
            info = posix.lstat(root + path)
            if info.st_mode & _TYPE_BITS == _SYMLINK:
                return Directory("symlink", f"{path} is a symbolic link to {posix.readlink(root + path)}")
    except (FileNotFoundError, NotADirectoryError):
        return Directory("missing", path)
    except OSError as error:
        look.refused.append(f"{path} can't be looked at ({error.strerror}); it is assumed to be a directory")
        return Directory("unseen")
    except ValueError:
        return Directory("unseen")  # a name that no file can have
    if info.st_mode & _TYPE_BITS != _DIRECTORY:
        return Directory("file")
    return Directory("directory", "", info.st_mode & 0o7777, info.st_uid, info.st_gid, _is_labelled(root + where))


def _is_labelled(path: str) -> bool:
    try:
        return bool(posix.listxattr(path))
    except PermissionError:
        return True  # prepare may look at them
    except OSError:
        return False  # its file system has none (EOPNOTSUPP)


def _read_mountinfo(root: str) -> "list[Mounted]":
    from overlay_generator.look import parse_mountinfo

    return parse_mountinfo(_decode(_read_if_there(root, "/proc/self/mountinfo")))


def _read_named(look: "Look", entries: "list[FstabEntry]", units: "dict[str, Unit]") -> "dict[str, str]":
    """The texts of the units that options of `entries` name, of the owner's at backing directories, and of those that
    these wait for.
    """
    owned = [name for name, unit in units.items() if name.startswith(_BACKINGS) and unit.kind in ("provided", "vendor")]
    from overlay_generator.fstab import names_units

    if not owned and not any(map(names_units, entries)):
        return {}
    from overlay_generator.look import read_text
    from overlay_generator.ordering import find_units, is_unknown
    from overlay_generator.unittext import read_units

    names = [*owned, *find_units(entries)]

    return read_units(names, is_unknown, lambda name: read_text(look, name))


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


def _find_mounter(environ: "Mapping[str, str]", wheres: "list[str]") -> "Mounter | None":
    # The one look that a machine without SELinux pays for.
    if not exists("", "/sys/fs/selinux"):
        return None
    from overlay_generator.selinux import find_mounter

    return find_mounter(environ, wheres)
