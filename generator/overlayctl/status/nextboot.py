# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether today's fstab and configuration would give the same at the next boot."""

import os

from overlay_generator.model import FstabEntry, OverlayMount, Plan, UnitLink
from overlay_generator.names import prepare_unit
from overlay_generator.render import render
from overlayctl.mounts import Mount, Table

_DIRECTORIES = {"normal": "/run/systemd/generator", "late": "/run/systemd/generator.late"}
# Mounted under a device number of their own, which is not that of a disk.
_MANY_DEVICES = ("btrfs", "bcachefs", "zfs", "ubifs")


def compare(plan: "Plan | None", where: str, directories: "dict[str, str] | None" = None) -> "list[str]":
    """What differs between the units that `plan` gives for `where` now, and those that systemd was given."""
    directories = directories or _DIRECTORIES
    if not os.path.isdir(directories["normal"]):
        return []  # no systemd, or one that no generator gave anything to
    differences = []
    wanted = next((mount for mount in plan.mounts if mount.where == where), None) if plan else None
    # What is mounted there now without a line of fstab is assumed to be the initrd's.
    unclaimed = bool(plan and wanted and not wanted.backing.tmpfs and wanted.backing.source == plan.source)
    for file in render(plan) if plan else ():
        if file.group != where:
            continue
        path = f"{directories[file.directory]}/{file.path}"
        if isinstance(file, UnitLink):
            if not os.path.islink(path) or os.readlink(path) != file.target:
                differences.append(f"{file.path} will be there")
            continue
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                text = stream.read()
        except OSError:
            differences.append(f"{file.path} will be there")
            continue
        if text == file.text:
            continue
        if unclaimed and wanted and file.path == prepare_unit(where):
            differences.append(f"nothing in fstab mounts {wanted.backing.path} any more: it will be in memory")
        else:
            differences.append(f"{file.path} will be different")
    return differences


def compare_mounted(
    wanted: "OverlayMount | None", overlay: "Mount | None", backing: "Mount | None", fallen_back: bool
) -> "list[str]":
    """What differs between the plan for a directory and what is mounted there; `fallen_back`: its disk is missing."""
    if wanted is None:
        return ["it will not be overlaid"] if overlay else []
    if overlay is None:
        return ["it will be overlaid"]
    if backing is None:
        return []
    expected = wanted.backing.path
    if overlay.find_option("upperdir") != f"{expected}/upper":
        return [f"its upper layer will be in {expected}"]
    in_memory = wanted.backing.tmpfs or wanted.backing.volatile
    if in_memory != (backing.fstype == "tmpfs") and not fallen_back:
        return ["it will be in memory" if in_memory else f"it will be on what {wanted.backing.source} mounts"]
    return []


def compare_disk(
    entry: "FstabEntry | None", backing: Mount, fallen_back: bool, disks: str = "/dev/disk"
) -> "list[str]":
    """What differs between the disk that fstab has for `backing` now and the one that is mounted there."""
    node = _find_node(entry.what, disks) if entry else ""
    if not entry or not node:
        return []
    try:
        device = os.stat(node).st_rdev
    except OSError:
        return [] if fallen_back else [f"{entry}: there is no {entry.what} on this machine now"]
    if f"{os.major(device)}:{os.minor(device)}" == backing.device or backing.fstype in _MANY_DEVICES:
        return []
    if fallen_back:
        return [f"{entry.what} is there now, and will be mounted"]
    return [f"{entry}: {entry.what} is another disk than {backing.source}, which is mounted now"]


def _find_node(what: str, disks: str) -> str:
    """The device node of `what` in fstab, "" if it is not one, or udev makes no names here."""
    if what.startswith("/dev/"):
        return what
    kind, equals, name = what.partition("=")
    folder = f"{disks}/by-{kind.lower()}"
    if not equals or kind not in ("LABEL", "UUID", "PARTLABEL", "PARTUUID") or not os.path.isdir(folder):
        return ""
    name = name.strip('"')
    # How udev makes a file name of a label (encode_devnode_name() in systemd's src/basic/device-nodes.c).
    safe = (c if c.isalnum() or c in "#+-.:=@_" or ord(c) > 127 else f"\\x{ord(c):02x}" for c in name)
    return f"{folder}/{''.join(safe)}"


def explain(table: Table, paths: "tuple[str, ...]") -> "list[str]":
    """A note for each of `paths` that is read through an overlay: at boot the generator sees what is below it."""
    notes = []
    for path in paths:
        mount = table.holding(os.path.realpath(path))
        if mount and mount.fstype == "overlay":
            place = "the root directory" if mount.where == "/" else mount.where
            text = f"{path} is read through the overlay on {place}: at boot the generator may find another one below it"
            notes.append(text)
    return notes
