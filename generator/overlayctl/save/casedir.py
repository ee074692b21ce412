# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine as a case directory of the tests: root/, layout, env, README, expected (tests/support/fakeroot.py)."""

import os
import re
import stat
from pathlib import Path

from overlay_generator.inside import refuse_device, resolve
from overlayctl.save.layout import escape
from overlayctl.save.record import Record

# What tests/cases/common has: if this machine does not have it, the case removes it.
_COMMON = ("/bin/sh", "/proc", "/var")
# Long, and only the lines on overlayfs matter.
_TRIMMED = ("modules.builtin", "modules.dep")
_READ_LIMIT = 16 << 20
_BLOT = "XXXX"
_NAME = rb"[\w.-]*(?:pass(?:word|wd|phrase)?|secret|token|psk)\d?"
_SECRETS = (
    # A word that is quoted as a whole, as the kernel command line has it, or the value alone; else to the next word or
    # mount option. Rather too much than too little: a password may have any sign in it.
    re.compile(rb"(?i)(\"(?:%b|systemd\.set[_-]credential(?:[_-]binary)?)=)([^\"\n]+)(?=\")" % _NAME),
    re.compile(rb"(?i)\b(%b[ \t]*=[ \t]*)(\"[^\"\n]*\"|'[^'\n]*'|[^\s,\"']+)" % _NAME),
    re.compile(rb"(?i)\b(systemd\.set[_-]credential(?:[_-]binary)?=[^\s:]*:)(\"[^\"\n]*\"|[^\s\"]+)"),
    # cifs: user=NAME%PASSWORD.
    re.compile(rb"(?i)\b(user(?:name)?=[^\s,%]+%)([^\s,]+)"),
    # USER:PASSWORD@HOST in an address, and dracut's netroot=iscsi:USER:PASSWORD@HOST.
    re.compile(rb"(//[^/\s:@]+:)([^/\s]+)(?=@)"),
    re.compile(rb"(?i)\b(iscsi:[^\s:@]+:)([^\s@]+)(?=@)"),
)


class Case:
    """Collects a case in the directory `top`; `blotted` are the files in which a secret was made unreadable."""

    def __init__(self, root: str, top: str) -> None:
        self.root = root
        self.tree = f"{top}/root"
        self.top = top
        self.layout: list[str] = []
        self.blotted: list[str] = []

    def add(self, record: Record, cmdline: "str | None") -> None:
        """Add all that `record` has. Raises OSError if it can't be written."""
        os.makedirs(self.tree, exist_ok=True)
        for path in record.paths():
            self._add_path(path, path in record.opened, path in record.links)
        if record.release:
            self._write("/proc/sys/kernel/osrelease", f"{record.release}\n".encode())
        for path in _COMMON:
            if not os.path.lexists(self._find(path, False)) and not os.path.lexists(self.tree + path):
                self.layout.append(f"r {path}")
        if cmdline is None and not os.path.exists(f"{self.tree}/proc/cmdline"):
            self._write("/proc/cmdline", b"")

    def write(self, name: str, text: str) -> None:
        """Put `text` into the file `name` of the case."""
        data, found = blot(text.encode("utf-8", "surrogateescape"))
        if found:
            self.blotted.append(name)
        Path(self.top, name).write_bytes(data)

    def finish(self) -> None:
        """Write the layout, once everything is added. Raises OSError."""
        if self.layout:
            Path(self.top, "layout").write_text("".join(f"{line}\n" for line in self.layout), encoding="utf-8")

    def _add_path(self, path: str, opened: bool, linked: bool) -> None:
        try:
            info = os.lstat(self._find(path, False))
        except OSError:
            return
        if stat.S_ISLNK(info.st_mode) and (linked or not opened):
            if path in _COMMON:
                self.layout.append(f"r {path}")
            self.layout.append(f"L {escape(path)} {escape(os.readlink(self._find(path, False)))}")
        elif stat.S_ISDIR(info.st_mode):
            self._add_directory(path, info)
        elif opened and not self._is_special(path):
            self._write(path, self._read(path))
        elif opened:
            self.layout.append(f"p {escape(path)}")
        else:
            # Only looked at. An empty unit file is a mask, so whether it is empty matters.
            self._write(path, b"# not saved\n" if info.st_size else b"")

    def _add_directory(self, path: str, info: os.stat_result) -> None:
        if path in ("/", "/proc", "/proc/self"):
            return
        owner = f" {info.st_uid} {info.st_gid}" if (info.st_uid, info.st_gid) != (0, 0) else ""
        self.layout.append(f"d {escape(path)} {stat.S_IMODE(info.st_mode):04o}{owner}")
        try:
            labelled = bool(os.listxattr(self._find(path)))
        except OSError:
            labelled = False
        if labelled:
            # All that matters is that there are some, and ordinary users may set this one.
            self.layout.append(f"x {escape(path)} user.label saved")

    def _write(self, path: str, data: bytes) -> None:
        if path.rpartition("/")[2] in _TRIMMED:
            data = b"".join(line for line in data.splitlines(True) if b"/overlay.ko" in line)
        data, found = blot(data)
        if found:
            self.blotted.append(path)
        target = self.tree + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).write_bytes(data)

    def _find(self, path: str, follow: bool = True) -> str:
        """The path on this machine of `path` in the tree, with links followed within it. Raises OSError."""
        return self.root + resolve(self.root, path, follow) if self.root else path

    def _read(self, path: str) -> bytes:
        try:
            place = self._find(path)
            if self.root:
                refuse_device(place, os.stat(place))
            with open(place, "rb") as stream:
                return stream.read(_READ_LIMIT)
        except OSError:
            return b""

    def _is_special(self, path: str) -> bool:
        try:
            return not stat.S_ISREG(os.stat(self._find(path)).st_mode)
        except OSError:
            return False


def blot(data: bytes) -> "tuple[bytes, int]":
    """`data` with what looks like a secret made unreadable, and how many there were. Pure."""
    count = 0
    for pattern in _SECRETS:
        data, found = pattern.subn(lambda match: match[1] + _BLOT.encode(), data)
        count += found
    return data, count
