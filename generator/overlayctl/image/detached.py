# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mounts an image where nobody sees it: on a loop device that can't be written to, and attached to no mount namespace.
And clones a directory, so that nothing can be written there, not even a time of access.

All of it ends with the last descriptor (fsmount(2), LO_FLAGS_AUTOCLEAR of loop(4)): even if this process is killed,
nothing is left mounted and no device taken.
"""

import ctypes
import errno
import fcntl
import os
import struct

_OPEN_TREE, _FSOPEN, _FSCONFIG, _FSMOUNT, _SETATTR = 428, 430, 431, 432, 442  # the same on most architectures
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_CLOEXEC = 1
_CLONE, _RECURSIVE, _EMPTY_PATH = 1, 0x8000, 0x1000
_ATTRIBUTES = 0x1 | 0x2 | 0x4 | 0x8  # read-only, nosuid, nodev, noexec
_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_READ_ONLY_AUTOCLEAR = 1 | 4
_TRIES = 16
# These keep a file system that was not unmounted from being written to, which happens even with a read-only mount.
_OPTIONS = {"ext4": ("noload",), "xfs": ("norecovery", "nouuid")}
_LOOP_CONTROL = "/dev/loop-control"


class CantMount(Exception):
    """It can't be mounted; the text says why, `reason` is the number of the error."""

    def __init__(self, text: str, reason: int = 0) -> None:
        super().__init__(text)
        self.reason = reason


def mount(source: int, kind: str, offset: int = 0, size: int = 0) -> int:
    """A descriptor of the top of the file system `kind` that lies in the open file or block device `source`, from
    `offset` on, `size` bytes (0: to the end). Raises CantMount.
    """
    loop, path = _attach(source, offset, size)
    try:
        return _mount(path, kind)
    finally:
        os.close(loop)  # the mount has it now


def clone(path: str) -> int:
    """A descriptor of the directory `path` by which nothing in it can be changed; -1 where that is not possible:
    before Linux 5.12, and for an ordinary user.
    """
    tree = _call("open_tree", _OPEN_TREE, -1, os.fsencode(os.path.abspath(path)), _CLONE | _RECURSIVE | os.O_CLOEXEC)
    if tree < 0:
        return -1
    # struct mount_attr of mount_setattr(2).
    wanted = struct.pack("=4Q", _ATTRIBUTES, 0, 0, 0)
    if _call("mount_setattr", _SETATTR, tree, b"", _EMPTY_PATH | _RECURSIVE, wanted, len(wanted)) < 0:
        os.close(tree)
        return -1
    return tree


def _attach(source: int, offset: int, size: int) -> "tuple[int, str]":
    """A loop device, opened, and its path."""
    try:
        control = os.open(_LOOP_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise CantMount(f"there are no loop devices here ({_LOOP_CONTROL}: {error.strerror})") from error
    try:
        for _ in range(_TRIES):
            path = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            loop = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(loop, _CONFIGURE, _spell_configuration(source, offset, size))
                return loop, path
            except OSError as error:
                os.close(loop)
                # Somebody else was given the same one.
                if error.errno != errno.EBUSY:
                    raise
        raise CantMount("no loop device is free")
    except OSError as error:
        raise CantMount(f"no loop device can hold it ({error.strerror})") from error
    finally:
        os.close(control)


def _spell_configuration(source: int, offset: int, size: int) -> bytes:
    """struct loop_config of linux/loop.h."""
    return struct.pack("=II3Q2Q4I160s16x64x", source, 0, 0, 0, 0, offset, size, 0, 0, 0, _READ_ONLY_AUTOCLEAR, b"")


def _mount(path: str, kind: str) -> int:
    context = _call("fsopen", _FSOPEN, kind.encode(), _CLOEXEC)
    if context < 0:
        number = ctypes.get_errno()
        if number == errno.ENODEV:
            raise CantMount(f"this kernel has no {kind}", number)
        if number == errno.ENOSYS:
            raise CantMount("this kernel is older than Linux 5.2", number)
        raise CantMount(os.strerror(number), number)
    try:
        _configure(context, _SET_STRING, b"source", path.encode())
        for option in ("ro", *_OPTIONS.get(kind, ())):
            _configure(context, _SET_FLAG, option.encode())
        _configure(context, _CREATE)
        fd = _call("fsmount", _FSMOUNT, context, _CLOEXEC, _ATTRIBUTES)
        if fd < 0:
            raise CantMount(_explain(context), ctypes.get_errno())
        return fd
    finally:
        os.close(context)


def _configure(context: int, command: int, key: "bytes | None" = None, value: "bytes | None" = None) -> None:
    if _call("fsconfig", _FSCONFIG, context, command, key, value, 0) < 0:
        number = ctypes.get_errno()
        raise CantMount(_explain(context) or os.strerror(number), number)


def _explain(context: int) -> str:
    """What the kernel says about its refusal (fsconfig(2)), without the prefix of each line; "" for nothing."""
    said: list[str] = []
    try:
        while len(said) < 8:
            said.append(os.read(context, 4096).decode("utf-8", "replace")[2:].strip())
    except OSError:
        pass  # ENODATA: that was all
    return "; ".join(filter(None, said))


def _call(name: str, number: int, *arguments: object) -> int:
    """A system call, by its wrapper in the C library (glibc 2.36) or by its number."""
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, name, None)
    if function is not None:
        return int(function(*arguments))
    machine = os.uname().machine
    if machine.startswith("mips"):
        number += 5000 if ctypes.sizeof(ctypes.c_long) == 8 else 4000
    elif machine == "alpha":
        number += 110
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return int(library.syscall(ctypes.c_long(number), *words))
