# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes lines to the kernel log while PID 1 waits for us, to stderr when a person does."""

import posix

ERROR, WARNING, NOTICE = 3, 4, 5

_NAME = "overlay-generator"
_DAEMON = 3 << 3  # LOG_DAEMON of syslog(3): with it, journald takes name and pid from the text
_LONGEST = 900  # bytes: the kernel refuses a record of about 1000 (kernel's Documentation/ABI/testing/dev-kmsg)
_WORDS = {ERROR: "error", WARNING: "warning", NOTICE: "notice"}


def log(level: int, text: str) -> None:
    """Write one line. If it can't be written it is lost: nothing of a boot may depend on it."""
    try:
        if is_null(2):
            _write_to_kernel(level, text)
        else:
            line = f"{_NAME}: {_WORDS[level]}: {flatten(text)}\n"
            posix.write(2, line.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # there is nobody left to tell


def is_null(fd: int) -> bool:
    """True if `fd` is /dev/null or closed: how PID 1 starts generators, in all versions (systemd 247 to 262)."""
    try:
        return posix.fstat(fd).st_rdev == 0x103
    except OSError:
        return True


def _write_to_kernel(level: int, text: str) -> None:
    head = f"<{_DAEMON | level}>{_NAME}[{posix.getpid()}]: "
    data = (head + flatten(text)).encode("utf-8", "backslashreplace")
    if len(data) >= _LONGEST:
        # Not in the middle of a character: half of one is dropped.
        data = data[: _LONGEST - 4].decode("utf-8", "ignore").encode() + b"..."
    fd = posix.open("/dev/kmsg", posix.O_WRONLY | posix.O_NOCTTY | posix.O_CLOEXEC)
    try:
        posix.write(fd, data + b"\n")
    finally:
        posix.close(fd)


def flatten(text: str) -> str:
    """`text` on one line, with control characters and bytes that are not UTF-8 spelt out."""
    return text if text.isprintable() else "".join(map(_spell, text))


def _spell(character: str) -> str:
    if character.isprintable():
        return character
    data = character.encode("utf-8", "surrogateescape")
    return "".join(f"\\x{byte:02x}" for byte in data)
