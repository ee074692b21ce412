# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Drop-ins for units that others make, where they would not fit an overlay as they are. Pure."""

from overlay_generator.model import Backing, UnitFile
from overlay_generator.names import HEADER, escape_path, fallback_mark, quote_value

_NAME = "50-overlay-generator.conf"


def render_dropins(backings: "tuple[Backing, ...]", swaps: "tuple[tuple[str, str], ...]") -> "list[UnitFile]":
    """The drop-ins for what fstab has mounted for upper layers, and for swap files, each with its overlay."""
    files = [_adapt_growfs(backing.mount) for backing in backings if backing.growfs and backing.nofail]
    files += [_adapt_swap(path, where) for path, where in swaps]
    for backing in backings:
        files += _adapt_mount(backing)
    return files


def _adapt_mount(backing: Backing) -> "list[UnitFile]":
    """Drop-ins for what has to be different in the units that systemd makes of fstab's line for `backing`."""
    files = []
    name = escape_path(backing.mount)
    if backing.volatile or backing.after_swap:
        # One of the default dependencies of a tmpfs is After=swap.target: /var would wait for every swap device, and,
        # with a swap file in /var or a swap with a random key, for itself. PID 1 goes by the type that fstab gives,
        # also where that is a bind mount's, and means nothing (247 to 262).
        text = f"{HEADER}DefaultDependencies=no\nConflicts=umount.target\nBefore=umount.target\n"
        files.append(UnitFile("normal", f"{name}.mount.d/{_NAME}", text, backing.mount))
    if backing.automount:
        # The overlay has it mounted at once. On an automount point no memory could take the place of a missing disk.
        text = f"{HEADER}ConditionPathIsMountPoint=!/\n"
        files.append(UnitFile("normal", f"{name}.automount.d/{_NAME}", text, backing.mount))
    if backing.endless and backing.nofail:
        # fstab's drop-in says the contrary, and its name comes before ours. The time is systemd's without that option.
        text = f"{HEADER}JobRunningTimeoutSec=90s\n"
        files.append(UnitFile("normal", f"{backing.endless}.d/{_NAME}", text, backing.mount))
    return files


def _adapt_growfs(where: str) -> UnitFile:
    """For fstab's unit that grows the file system at `where`: started again with memory there, it would fail."""
    path = f"systemd-growfs@{escape_path(where)}.service.d/{_NAME}"
    return UnitFile("normal", path, f"{HEADER}ConditionPathExists=!{fallback_mark(where)}\n", where)


def _adapt_swap(path: str, where: str) -> UnitFile:
    """For fstab's swap file `path`, which lies on the overlay on `where`: required or not, it would only fail."""
    text = f"{HEADER}ConditionPathIsMountPoint=!{quote_value(where)}\n"
    return UnitFile("normal", f"{escape_path(path)}.swap.d/{_NAME}", text, where)
