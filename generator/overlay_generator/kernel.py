"""What the kernel's own files say: whether it has overlayfs, and what is mounted. Pure."""

from overlay_generator.fstab import unescape
from overlay_generator.model import Mounted

_MODULE = b"/overlay.ko"


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
        # Behind the colon it is what another module needs.
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
