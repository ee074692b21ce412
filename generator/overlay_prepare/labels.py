# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What prepare does for SELinux: labels for what it makes, and a domain in which overlays can be mounted from here."""

import errno
import posix

from overlay_generator.names import ancestors, is_below
from overlay_prepare.files import find_kind
from overlay_prepare.report import WARNING, Refused, describe, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_generator.model import Mounted
    from overlay_prepare.folder import Folder

LABEL = "security.selinux"
_TOP = "/sys/fs/selinux"
_OWN = "/proc/self/attr/"
_MATCHPATHCON = "/usr/sbin/matchpathcon"
_NONE = (errno.ENODATA, errno.EOPNOTSUPP)  # it has no label


def is_on() -> bool:
    """True where the kernel has SELinux switched on. Raises OSError."""
    return bool(find_kind(_TOP))


def verify_mounter(context: str, where: str) -> None:
    """Raises Refused if an overlay on `where` could not be mounted in `context`, or would be of use to nobody.

    The generator chose that context without being allowed to ask. To be called before the layers are made: without
    them nothing is mounted, and the image's directory stays as it is; a failed mount would end in an emergency shell.
    """
    from overlay_generator import selinux

    try:
        fault = selinux.find_fault(context, [selinux.read_label(where)]) if selinux.is_enforcing() else ""
    except (OSError, ValueError):
        return  # this process is not allowed to ask either: then mounting it is tried
    if fault:
        raise Refused(f"SELinux: {fault}; see docs/security-modules.md")


def warn_of_one_label(mounted: "Mounted") -> None:
    """Say that all files of `mounted` have the same label."""
    if any(option.startswith("context=") for option in mounted.options.split(",")):
        text = "context= gives all files one label, and most services are denied theirs; write rootcontext= instead"
        say(WARNING, f"{mounted.where}: {text}")


def follow(source: str, made: "Folder") -> None:
    """Give the directory `made` the label of `source`, if that has one."""
    try:
        label = posix.getxattr(source, LABEL)
    except OSError as error:
        if error.errno not in _NONE:
            say(WARNING, f"the label of {source} can't be read ({error.strerror})")
        return
    give(made, label)


def find_for(path: str, where: str) -> bytes:
    """The label for `path` below `where`, which the image does not have: the policy's where matchpathcon(8) is there to
    tell it, else that of the nearest directory above that the image has. Empty if there is none. Raises OSError.
    """
    if not is_on():
        return b""
    from overlay_generator.selinux import is_context

    if find_kind(_MATCHPATHCON):
        found = _read_output(_MATCHPATHCON, "-n", path).strip()
        if is_context(found.decode("utf-8", "replace")):
            return found
    nearest = next((above for above in ancestors(path) if is_below(above, where) and find_kind(above) == "d"), where)
    try:
        return posix.getxattr(nearest, LABEL)
    except OSError as error:
        if error.errno in _NONE:
            return b""
        raise


def give(made: "Folder", label: bytes) -> None:
    """Give the directory `made` the `label`; an empty one is ignored."""
    if not label or read(made) == label:
        return
    try:
        posix.setxattr(made.fd, LABEL, label)
    except OSError as error:
        text = label.rstrip(b"\0").decode("utf-8", "replace")
        say(WARNING, f"{made.path} can't have the label {text}: {error.strerror}")


def read(made: "Folder") -> bytes:
    """The label of an open directory, empty if it has none; any other error shows when a label is set."""
    try:
        return posix.getxattr(made.fd, LABEL)
    except OSError:
        return b""


class OwnDomain:
    """A context in which programs that this process starts stay in its SELinux domain; no effect without SELinux."""

    def __enter__(self) -> None:
        """Ask for that (proc_pid_attr(5), exec). If it is refused, programs get their usual domain."""
        try:
            if not is_on():
                return
            from overlay_generator.gather import read_file
            from overlay_generator.selinux import is_context

            context = read_file(f"{_OWN}current")
            if is_context(context.rstrip(b"\0\n").decode("utf-8", "replace")):
                self._write(context)
        except OSError as error:
            say(WARNING, f"the overlay is tried in another SELinux domain than this one: {describe(error)}")

    def __exit__(self, *_: object) -> None:
        """Take that back."""
        try:
            if is_on():
                self._write(b"\n")
        except OSError:
            pass  # then it was refused before as well, and there is nothing to take back

    @staticmethod
    def _write(data: bytes) -> None:
        fd = posix.open(f"{_OWN}exec", posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(fd, data)
        finally:
            posix.close(fd)


def _read_output(*command: str) -> bytes:
    """The first 4 KiB of what `command` prints, whose first word is the path of the program. Raises OSError."""
    reader, writer = posix.pipe()
    try:
        actions = [(posix.POSIX_SPAWN_DUP2, writer, 1), (posix.POSIX_SPAWN_CLOSE, reader)]
        try:
            pid = posix.posix_spawn(command[0], command, posix.environ, file_actions=actions)
        finally:
            posix.close(writer)
        data = posix.read(reader, 4096)
    finally:
        # Before it is waited for: one that says more is ended by that.
        posix.close(reader)
    posix.waitpid(pid, 0)
    return data
