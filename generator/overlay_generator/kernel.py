"""Whether a kernel has overlayfs, told from the files that say so. Pure."""

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
