# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A socket in the place of journald's, and what is in the datagrams that it gets: for the tests of events."""

import socket
from pathlib import Path

from overlay_prepare import events


def read_datagram(data: bytes) -> "dict[str, str]":
    """The fields of a datagram, read as systemd's docs/JOURNAL_NATIVE_PROTOCOL.md has them."""
    found = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, end = rest[8 : 8 + size], rest[8 + size : 9 + size]
            assert end == b"\n"
            rest = rest[9 + size :]
        assert name.decode() not in found, "once each"
        found[name.decode()] = value.decode("utf-8", "surrogateescape")
        data = rest
    return found


class Journald:
    """A socket in the place of journald's."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(path))

    def read(self) -> "list[dict[str, str]]":
        found = []
        while True:
            try:
                found.append(read_datagram(self.socket.recv(1 << 20)))
            except BlockingIOError:
                return found

    def read_events(self) -> "list[str]":
        names = {number: name for name, number in vars(events).items() if isinstance(number, str)}
        return [names[fields["MESSAGE_ID"]] for fields in self.read()]
