# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks through an upper layer for what gives rights to whoever could write it, or is run by the system unasked.

By descriptors, one entry after the other: users may rename what is in it meanwhile, and may have made any number of
files, and trees of any depth.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import closing

from overlayctl.layers.compare import find_differences
from overlayctl.layers.directory import Directory
from overlayctl.layers.held import Held
from overlayctl.layers.marks import is_whiteout

_CAPABILITY = "security.capability"
_SETID = stat.S_ISUID | stat.S_ISGID
_EXECUTABLE = 0o111
_GONE = (FileNotFoundError, NotADirectoryError)

# Whoever writes one of these has something run as root, or lets himself in: prefixes of absolute paths, and by whom
# they are read. Those of a directory that nobody overlays cost nothing.
_STARTED = {
    "/etc/systemd/": "systemd",
    "/var/lib/systemd/system/": "systemd",
    "/usr/lib/systemd/": "systemd",
    "/usr/local/lib/systemd/": "systemd",
    "/root/.config/systemd/": "systemd",
    "/etc/init.d/": "systemd",
    "/etc/rc.local": "systemd",
    "/etc/fstab": "systemd",
    "/etc/crypttab": "systemd",
    "/etc/tmpfiles.d/": "systemd-tmpfiles",
    "/etc/sysusers.d/": "systemd-sysusers",
    "/etc/udev/": "udev",
    "/etc/cron": "cron",
    "/etc/anacrontab": "cron",
    "/var/spool/cron/": "cron",
    "/var/spool/at/": "at",
    "/etc/modprobe.d/": "modprobe",
    "/etc/modules-load.d/": "modprobe",
    "/etc/ld.so.": "every program",
    "/etc/environment": "every login",
    "/etc/profile": "every login",
    "/etc/bash.bashrc": "every login",
    "/etc/pam.": "every login",
    "/etc/security/": "every login",
    "/etc/nsswitch.conf": "every login",
    "/etc/passwd": "every login",
    "/etc/shadow": "every login",
    "/etc/group": "every login",
    "/etc/sudoers": "sudo",
    "/etc/doas.conf": "doas",
    "/etc/polkit-1/": "polkit",
    "/usr/share/polkit-1/": "polkit",
    "/etc/dbus-1/": "D-Bus",
    "/etc/ssh/": "sshd",
    "/etc/NetworkManager/dispatcher.d/": "NetworkManager",
    "/etc/network/": "ifupdown",
    "/etc/logrotate.": "logrotate",
    "/etc/apt/": "apt",
    "/etc/kernel/": "kernel-install",
    "/etc/update-motd.d/": "every login",
}  # fmt: skip
_KEYS = (b"authorized_keys", b"authorized_keys2")


def find(where: str, upper: Directory, lower: Directory) -> "Iterator[tuple[str, str, str]]":
    """The rule, the absolute path, and what the rule wants to know, for each finding in `upper` over `lower`.

    Raises OSError if the top can't be read.
    """
    pending: list[tuple[Directory, Directory | None, Iterator[bytes]]] = [(upper, lower, iter(sorted(upper.names())))]
    inside = os.fsencode(where.rstrip("/"))
    while pending:
        directory, image, names = pending[-1]
        for name in names:
            path = inside + b"/" + name
            try:
                inner = _enter(directory, name)
                if inner is not None:
                    below = image.descend([name]) if image is not None else None
                    pending.append((inner, below, iter(sorted(inner.names()))))
                    inside = path
                    break
                found = list(_look(directory.path + b"/" + name, path, image, name, lower.path))
            except _GONE:
                continue  # somebody has just removed it
            except OSError as error:
                yield "upper-unread", os.fsdecode(path), error.strerror or ""
                continue
            for rule, what in found:
                yield rule, os.fsdecode(path), what
        else:
            pending.pop()
            inside = inside.rpartition(b"/")[0]


def find_starter(path: str) -> str:
    """Who runs or believes the file at the absolute `path` unasked, "" for nobody. Pure."""
    if os.fsencode(path).rpartition(b"/")[2] in _KEYS and "/.ssh/" in path:
        return "sshd"
    return next((who for start, who in _STARTED.items() if path.startswith(start)), "")


def _enter(directory: Directory, name: bytes) -> "Directory | None":
    """The directory `name`, None for anything else."""
    if not stat.S_ISDIR(os.lstat(name, dir_fd=directory.fd).st_mode):
        return None
    return directory.enter(name)


def _look(
    place: bytes, path: bytes, image: "Directory | None", name: bytes, lower: bytes
) -> "Iterator[tuple[str, str]]":
    """The rules that what is held at `place` falls under."""
    with closing(Held(place)) as held:
        mode = held.info.st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            if held.info.st_rdev:  # else a whiteout
                kind = "character" if stat.S_ISCHR(mode) else "block"
                yield "upper-device", f"{kind} {os.major(held.info.st_rdev)}:{os.minor(held.info.st_rdev)}"
            return
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            return
        if stat.S_ISREG(mode) and is_whiteout(place, held.info):
            return
        old = _find_old(image, name)
        if old and image and stat.S_IFMT(old.st_mode) == stat.S_IFMT(mode):
            same = not find_differences(place, held.info, image.path + b"/" + name, old, lower, image)
            if same:
                return
        starter = find_starter(os.fsdecode(path))
        if starter:
            yield "upper-started", f"{starter}{'' if old else ', and the image has no such file'}"
        if not stat.S_ISREG(mode) or not mode & _EXECUTABLE:
            return
        if mode & _SETID & ~(old.st_mode if old else 0):
            yield "upper-setuid", "setuid" if mode & stat.S_ISUID else "setgid"
        if _CAPABILITY in held.read_all_attributes():
            yield "upper-capability", ""
        if old and stat.S_ISREG(old.st_mode) and old.st_mode & _EXECUTABLE:
            yield "upper-program", ""


def _find_old(image: "Directory | None", name: bytes) -> "os.stat_result | None":
    try:
        return os.lstat(name, dir_fd=image.fd) if image is not None else None
    except FileNotFoundError:
        return None
