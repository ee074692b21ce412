# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sends events to the journal, with fields of their own, each as one datagram of its native protocol.

Loaded only if there is an event. The protocol is in systemd's docs/JOURNAL_NATIVE_PROTOCOL.md, the fields are in
systemd.journal-fields(7).
"""

import posix

from overlay_generator import gather

SOCKET = "/run/systemd/journal/socket"
_CONSOLE = "/dev/console"
_NAME = "overlay-generator"
_DAEMON = 3  # LOG_DAEMON of syslog(3)
# Bytes of one value. All together they stay far below what a datagram holds (net.core.wmem_default: 212,992), so that
# no memfd has to be passed.
_LONGEST = 8192


def send(event: str, level: int, text: str, fields: "dict[str, str]") -> bool:
    """Send `text`, one line, with its MESSAGE_ID `event` and `fields`; False if nobody takes it, and nothing was sent.

    Never waits: nothing of a boot may depend on it.
    """
    if not _is_heard():
        return False
    try:
        import _socket
    except ImportError:
        return False  # a build of Python without it; then it goes to stderr
    pairs = {
        "MESSAGE": text, "MESSAGE_ID": event, "PRIORITY": f"{level}", "SYSLOG_FACILITY": f"{_DAEMON}",
        "SYSLOG_IDENTIFIER": _NAME, "SYSLOG_PID": f"{posix.getpid()}",
    }  # fmt: skip
    unit = _find_unit()
    if unit:
        # journald asks /proc who sent it, and this process may be gone by then: `journalctl -u` finds it by this field.
        pairs["OBJECT_SYSTEMD_UNIT"] = unit
    data = spell({**pairs, **{f"OVERLAY_{name.upper()}": value for name, value in fields.items()}})
    try:
        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            made.sendto(data, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL, SOCKET)
        finally:
            made.close()
    except OSError:
        return False  # no journald, or its queue is full; then it goes to stderr
    return True


def show(text: str) -> None:
    """Write one line to the console, as StandardError=journal+console does with what goes to stderr."""
    try:
        # Without waiting: a serial line may block for ever.
        fd = posix.open(_CONSOLE, posix.O_WRONLY | posix.O_NOCTTY | posix.O_NONBLOCK | posix.O_CLOEXEC)
    except OSError:
        return  # a machine without one; the journal has it
    try:
        posix.write(fd, f"{_NAME}: {text}\r\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # as above
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
    # Not in the middle of a character: journalctl would show it as a blob, which nobody can read.
    return body if len(body) <= _LONGEST else body[: _LONGEST - 3].decode("utf-8", "ignore").encode() + b"..."


def _is_heard() -> bool:
    """True if what this process writes to stderr goes to the journal: a person who runs it reads stderr."""
    # The device and inode of the stream that systemd has given it (systemd.exec(5)).
    stream = gather.read_environ().get("JOURNAL_STREAM", "")
    try:
        found = posix.fstat(2)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


def _find_unit() -> str:
    """The unit that this process belongs to, "" if that is not known (cgroups(7))."""
    try:
        lines = gather.read_file("/proc/self/cgroup").decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    for line in lines:
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        # systemd's hierarchy: the unified one, or the one with its name.
        if (number == "0" and not names) or names == "name=systemd":
            unit = path.rpartition("/")[2]
            if unit.endswith(".service"):
                return unit
    return ""
