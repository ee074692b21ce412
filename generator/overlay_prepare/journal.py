# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Events go to the journal with fields of their own, as one datagram of its native protocol.

Loaded only where there is an event. The protocol is in systemd's docs/JOURNAL_NATIVE_PROTOCOL.md, the fields are in
systemd.journal-fields(7).
"""

import posix

from overlay_generator import gather

SOCKET = "/run/systemd/journal/socket"
_CONSOLE = "/dev/console"
_NAME = "overlay-generator"
_DAEMON = 3  # LOG_DAEMON of syslog(3)
# Bytes of one value. All of them together stay far below what a datagram holds (net.core.wmem_default: 212,992), so
# that no file in memory has to be handed over.
_LONGEST = 8192


def send(event: str, level: int, text: str, fields: "dict[str, str]") -> bool:
    """Send `text`, one line, with its MESSAGE_ID `event` and `fields`; False where nobody takes it, and it is unsaid.

    Never waits: nothing of a boot may depend on it.
    """
    if not _is_heard():
        return False
    try:
        import _socket
    except ImportError:
        return False  # a build of Python without it; to stderr it goes all the same
    pairs = {
        "MESSAGE": text, "MESSAGE_ID": event, "PRIORITY": f"{level}", "SYSLOG_FACILITY": f"{_DAEMON}",
        "SYSLOG_IDENTIFIER": _NAME, "SYSLOG_PID": f"{posix.getpid()}",
    }  # fmt: skip
    unit = _find_unit()
    if unit:
        # journald asks /proc whose datagram it is, and this process is gone by then: `journalctl -u` goes by this one.
        pairs["OBJECT_SYSTEMD_UNIT"] = unit
    data = spell({**pairs, **{f"OVERLAY_{name.upper()}": value for name, value in fields.items()}})
    try:
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            made.sendto(data, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL, SOCKET)
        finally:
            made.close()
    except OSError:
        return False  # no journald, or one that has no room; to stderr it goes all the same
    return True


def show(text: str) -> None:
    """Write one line to the console, as StandardError=journal+console does with what goes to stderr."""
    try:
        # Without waiting: a serial line may stand still for ever.
        fd = posix.open(_CONSOLE, posix.O_WRONLY | posix.O_NOCTTY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:
        return  # a machine without one; the journal has it
    try:
        posix.write(fd, f"{_NAME}: {text}\r\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # likewise
    finally:
        posix.close(fd)


def spell(pairs: "dict[str, str]") -> bytes:
    """The datagram that says `pairs`. Pure."""
    data = b""
    for name, value in pairs.items():
        body = _cut(value.encode("utf-8", "surrogateescape"))
        if b"\n" in body:
            data += name.encode() + b"\n" + len(body).to_bytes(8, "little") + body + b"\n"
        else:
            data += name.encode() + b"=" + body + b"\n"
    return data


def _cut(body: bytes) -> bytes:
    # Not in the middle of a character: the journal would have it as a blob, which nobody can read.
    return body if len(body) <= _LONGEST else body[: _LONGEST - 3].decode("utf-8", "ignore").encode() + b"..."


def _is_heard() -> bool:
    """True if what this process writes to stderr goes to the journal: who runs it by hand wants to read it there."""
    # Device and inode of what systemd has given it (systemd.exec(5)).
    stream = gather.read_environ().get("JOURNAL_STREAM", "")
    try:
        found = posix.fstat(2)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


def _find_unit() -> str:
    """The unit that this process belongs to, "" where that can't be told (cgroups(7))."""
    try:
        lines = gather.read_file("/proc/self/cgroup").decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    for line in lines:
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        # That of systemd: the unified hierarchy, or the one by its name.
        if (number == "0" and not names) or names == "name=systemd":
            unit = path.rpartition("/")[2]
            if unit.endswith(".service"):
                return unit
    return ""
