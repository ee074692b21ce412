# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds the SELinux domain in which mount(8) has to mount an overlay, so that others can use it.

overlayfs checks each access twice: on the overlay with the credentials of the task, and on the layers with those of
the process that mounted it (kernel's Documentation/filesystems/overlayfs.rst, "Permission model"). systemd starts
/bin/mount, and policies give that a domain of its own. Fedora's `mount_t` may do everything there. In the reference
policy (Debian, Yocto) it may write no file of /var, but PID 1's domain may. So the kernel is asked who may, through the
files of selinuxfs; if the policy does not let a generator ask (the reference policy, once more), PID 1's own domain is
taken, and prepare, which may ask, checks it again before anything is mounted.
"""

import posix

from overlay_generator.found import Mounter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TOP = "/sys/fs/selinux"
LABEL = "security.selinux"
MOUNT = "/bin/mount"
_PERMISSIVE = 1  # SELINUX_AVD_FLAGS_PERMISSIVE of the kernel's security/selinux/include/security.h
# What a mounter needs so that others can use what it has mounted.
_DIRECTORY = ("add_name", "create", "remove_name", "rmdir", "search", "setattr", "write")
_FILE = ("append", "create", "getattr", "open", "read", "rename", "setattr", "unlink", "write")


def find_mounter(environ: "Mapping[str, str]", wheres: "Iterable[str]") -> "Mounter | None":
    """The domain for the overlays on the directories `wheres`; None without a policy. Raises nothing.

    To be called only if TOP is there, which means that SELinux is enabled.
    """
    first = _read_first(environ)
    if not first:
        return None
    try:
        labels = list(dict.fromkeys(map(read_label, wheres)))
        usual = _compute(first, read_label(MOUNT), "process")
        if is_server(usual, labels):
            return Mounter("")
        fault = find_fault(first, labels)
        if not fault:
            return Mounter(first)
        other = f"{_name(usual)} and {_name(first)} may not write {', '.join(map(_name, labels))}" if labels else fault
        return Mounter("", other if is_enforcing() else "")
    except (OSError, ValueError):
        # The kernel does not answer us.
        return Mounter(first)


def find_fault(context: str, labels: "list[str]") -> str:
    """Why no overlay over directories with `labels` can be mounted in `context` by PID 1, or "".

    Raises OSError, ValueError where the kernel gives no answer.
    """
    mount = read_label(MOUNT)
    if not _may(context, mount, "file", ("execute", "execute_no_trans")):
        # Reported before it is tried: a mount unit that can't be started ends in an emergency shell.
        return f"{_name(context)} may not run {MOUNT} ({_name(mount)}) as itself"
    if not is_server(context, labels):
        return f"{_name(context)} may not write {', '.join(map(_name, labels))}"
    return ""


def is_server(context: str, labels: "list[str]") -> bool:
    """True if an overlay mounted in `context` is of use over directories with `labels`. Raises OSError, ValueError."""
    return all(_may(context, label, "dir", _DIRECTORY) and _may(context, label, "file", _FILE) for label in labels)


def is_enforcing() -> bool:
    """False in permissive mode, in which denials are only logged. Raises OSError."""
    return _read(f"{TOP}/enforce").strip() != b"0"


def read_label(path: str) -> str:
    """The context of the file `path`. Raises OSError."""
    return _decode(posix.getxattr(path, LABEL))


def is_context(text: str) -> bool:
    """True for USER:ROLE:TYPE, with or without a range; not for what other security modules call a process."""
    fields = text.split(":")
    return len(fields) >= 3 and all(fields[:3]) and not any(character.isspace() for character in text)


def _read_first(environ: "Mapping[str, str]") -> str:
    """The context of PID 1, "" where no policy is loaded or it can't be told."""
    # A generator's previous context (prev) is PID 1's, which the reference policy does not let it read directly. The
    # previous context of a program that a person has started is another one.
    paths = ("/proc/1/attr/current", "/proc/self/attr/prev")
    for path in reversed(paths) if "SYSTEMD_SCOPE" in environ else paths:
        try:
            context = _decode(_read(path))
        except OSError:
            continue
        if is_context(context):
            return context
    return ""


def _may(source: str, target: str, kind: str, wanted: "tuple[str, ...]") -> bool:
    """True if a process of `source` may do all of `wanted` to a `kind` of `target`. Raises OSError, ValueError."""
    # Kernel's security/selinux/selinuxfs.c, sel_write_access(): allowed, decided, auditallow, auditdeny, number, flags.
    number, bits = _read_class(kind, wanted)
    answer = _ask("access", f"{source} {target} {number} {bits:x}").split()
    return int(answer[0], 16) & bits == bits or bool(len(answer) > 5 and int(answer[5], 16) & _PERMISSIVE)


def _compute(source: str, target: str, kind: str) -> str:
    """The context of a new `kind` that `source` makes by way of `target`. Raises OSError, ValueError."""
    return _ask("create", f"{source} {target} {_read_class(kind, ())[0]}").rstrip("\0")


def _read_class(kind: str, permissions: "tuple[str, ...]") -> "tuple[int, int]":
    """The policy's number of a class, and the bits of some of its permissions. Raises OSError, ValueError."""
    top = f"{TOP}/class/{kind}"
    bits = 0
    for name in permissions:
        bits |= 1 << (int(_read(f"{top}/perms/{name}")) - 1)
    return int(_read(f"{top}/index")), bits


def _read(path: str) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 4096)  # all of these are short
    finally:
        posix.close(fd)


def _ask(name: str, question: str) -> str:
    fd = posix.open(f"{TOP}/{name}", posix.O_RDWR | posix.O_CLOEXEC)
    try:
        posix.write(fd, question.encode("utf-8", "surrogateescape"))
        # From the start: the answer has replaced the question.
        return _decode(posix.pread(fd, 4096, 0))
    finally:
        posix.close(fd)


def _name(context: str) -> str:
    """The type in `context`, which is what policies speak of."""
    fields = context.split(":")
    return fields[2] if len(fields) > 2 else context


def _decode(data: bytes) -> str:
    return data.rstrip(b"\0\n").decode("utf-8", "surrogateescape")
