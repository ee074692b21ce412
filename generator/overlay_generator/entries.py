# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads what systemd-fstab-generator will mount: fstab, systemd.mount-extra=, the credential fstab.extra.

Symbolic links in mount points are followed as it follows them, since mount units refuse to work on a link: chase() in
systemd's src/basic/chase.c, with CHASE_NONEXISTENT. No file system that is mounted already is accessed for that.
"""

import posix

from overlay_generator.fstab import is_device, is_ignored, is_plain, parse
from overlay_generator.model import FstabEntry, Problem
from overlay_generator.names import parent_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from overlay_generator.model import Request

_MOUNT_EXTRA = 254  # the version of systemd that brought it
# With 32 links in it a path stays as it is written, since systemd 259 with 127 (CHASE_MAX).
_MANY_LINKS, _MORE_LINKS, _FOLLOWS_MORE = 32, 127, 259
_SYMLINK, _DIRECTORY = 0o120000, 0o040000  # S_IFLNK, S_IFDIR of stat(2)
_READ_ONLY = 1  # ST_RDONLY of statvfs(3)


def complete(
    root: str,
    environ: "Mapping[str, str]",
    request: "Request",
    texts: "list[tuple[str, str]]",
    away: "set[str]",
    read_generator: "Callable[[], bytes]",
) -> "tuple[list[FstabEntry], list[Problem]]":
    """The entries of `texts`, pairs of a file's name and content, and of `request`. One whose `where` is "" is swap.

    Nothing beyond the mount points `away` is accessed. `read_generator` reads the program systemd-fstab-generator.
    """
    entries: list[FstabEntry] = []
    problems: list[Problem] = []
    plain = not request.entries and all(is_plain(text) for _, text in texts)
    version = 0 if plain else find_version(read_generator())
    for source, text in texts:
        found, wrong = parse(text, source, version)
        entries += found
        problems += wrong
    if 0 < version < _MOUNT_EXTRA and request.entries:
        text = f"systemd.mount-extra= came with systemd 254, this is {version}: it mounts nothing"
        hidden = tuple(entry.where for entry in request.entries if entry.where)
        problems += [Problem(text, request.source, hides=hidden)] if hidden else []  # so did systemd.swap-extra=
    else:
        # After fstab, before the credential: of two that mount at one place the first counts.
        position = next((index for index, entry in enumerate(entries) if entry.source.endswith("/fstab.extra")), None)
        position = len(entries) if position is None else position
        entries[position:position] = request.entries
    if not root and entries and _is_container(environ):
        entries = [entry for entry in entries if not (entry.what == "sysfs" or is_device(entry.what))]
    followed = [_follow(root, entry, away, read_generator) if entry.where else entry for entry in entries]
    # No unit can be made for a path with dots.
    usable = [entry for entry in followed if not {".", ".."}.intersection(entry.where.split("/"))]
    kept = [entry for entry in usable if not is_ignored(entry.where)]
    return kept if plain else _mark_faults(kept, problems, version), problems


def _mark_faults(entries: "list[FstabEntry]", problems: "list[Problem]", version: int) -> "list[FstabEntry]":
    """`entries` with what systemd can't use marked; `problems` gets one more for each of these."""
    from overlay_generator.unusable import find_deadly, find_fault

    marked: list[FstabEntry] = []
    taken = set()
    for position, entry in enumerate(entries):
        # Of two lines for one place the second is dropped before it is read on.
        if entry.where and entry.where in taken:
            marked.append(entry)
            continue
        taken.add(entry.where)
        deadly = find_deadly(entry, version)
        fault = "" if deadly else find_fault(entry, version)
        if fault:
            text = f"systemd makes no usable unit of this line, and mounts nothing at {entry.where}: {fault}"
            problems.append(Problem(text, entry.source, entry.line))
        elif deadly:
            fault = f"systemd-fstab-generator aborts at {deadly} without a value: nothing of it or after it is mounted"
            hidden = tuple(later.where for later in entries[position + 1 :] if later.where)
            text = f"{fault}; write {deadly}=30s, or take it out"
            problems.append(Problem(text, entry.source, entry.line, hides=hidden))
        marked.append(_copy(entry, entry.where, entry.written, fault) if fault else entry)
        if deadly:
            break
    return marked


def _copy(entry: FstabEntry, where: str, written: str, fault: str = "") -> FstabEntry:
    return FstabEntry(entry.what, where, entry.fstype, entry.options, entry.source, entry.line, written, fault)


def find_version(generator: bytes) -> int:
    """The version of systemd, from the library that `generator`, the content of its fstab-generator, is linked to.

    0 if it can't be found out.
    """
    digits = generator.partition(b"libsystemd-shared-")[2][:3]
    if digits.isdigit():
        return int(digits)
    # Linked in another way: the lowest version that is known to have these words in it.
    return 259 if b"libmount" in generator else _MOUNT_EXTRA if b"systemd.mount-extra" in generator else 0


def _is_container(environ: "Mapping[str, str]") -> bool:
    """True where systemd mounts no devices, as containers have none of their own."""
    if environ.get("SYSTEMD_SYSFS_CHECK", "").lower() in ("0", "no", "n", "false", "f", "off"):
        return False
    try:
        return bool(posix.statvfs("/sys").f_flag & _READ_ONLY)
    except OSError:
        return False


def _follow(root: str, entry: FstabEntry, away: "set[str]", read_generator: "Callable[[], bytes]") -> FstabEntry:
    where = _chase(root, entry.where, away, read_generator)
    if where == entry.where:
        return entry
    return _copy(entry, where, entry.where)


def _chase(root: str, path: str, away: "set[str]", read_generator: "Callable[[], bytes]") -> str:
    """`path` without links and `..`; unchanged if these can't be resolved."""
    links = 0
    done = ""
    todo = path.split("/")[::-1]
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            done = parent_of(done) if done else ""
            done = "" if done == "/" else done
            continue
        here = f"{done}/{part}"
        try:
            if here in away:
                # It may be on a server that does not answer; and at boot, when systemd looked, it was not mounted yet.
                raise FileNotFoundError
            mode = posix.lstat(root + here).st_mode & 0o170000
            if mode == _SYMLINK:
                links += 1
                target = posix.readlink(root + here)
                if links == _MORE_LINKS or (links >= _MANY_LINKS and find_version(read_generator()) < _FOLLOWS_MORE):
                    return path
                done = "" if target.startswith("/") else done
                todo += target.split("/")[::-1]
                continue
        except FileNotFoundError:
            if ".." in todo:
                return path
            return "/".join([here, *(rest for rest in reversed(todo) if rest)])
        except (OSError, ValueError):
            return path
        if mode != _DIRECTORY and any(rest not in ("", ".") for rest in todo):
            return path
        done = here
    return done or "/"
