# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds the layers of the overlays that paths on the command line mean, by the kernel's list of mounts."""

import argparse
import os
from typing import NamedTuple

from overlay_generator.fstab import unescape
from overlayctl import mounts
from overlayctl.errors import Failure
from overlayctl.given import require_directory
from overlayctl.layers.change import Layers

_DEFAULT_OF_INDEX = "/sys/module/overlay/parameters/index"
_HINT = "for layers that are not mounted give --upper and --lower"


class Target(NamedTuple):
    """What a verb is to look at: `start` below the top of the overlay at `where`.

    `backing` is the directory that has its layers, "" if they were given on the command line.
    """

    where: str
    layers: Layers
    start: bytes
    backing: str

    def spell(self, path: bytes) -> str:
        """The absolute path of what is at `path` below the overlay's top."""
        below = path.decode("utf-8", "surrogateescape")
        return f"{self.where.rstrip('/')}/{below}" if below else self.where


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that find_targets() reads."""
    group = parser.add_argument_group("layers that are not mounted, or of other overlays")
    group.add_argument("--upper", metavar="DIR", help="the upper layer")
    group.add_argument("--lower", metavar="DIR", help="the image's directory")
    group.add_argument("--frozen", metavar="DIR", help="what an update has frozen, between the two (frozen/upper)")
    group.add_argument("--work", metavar="DIR", help="the work directory, if the overlay was mounted with index=on")
    group.add_argument("--where", metavar="DIR", default="/", help="where it is mounted otherwise (default: /)")


def find_targets(options: argparse.Namespace, paths: "list[str]") -> "list[Target]":
    """What `paths` mean, or all overlays if there are none. Raises Failure, OSError."""
    _require_root()
    if options.upper or options.lower or options.frozen:
        return _find_given(options, paths)
    table = mounts.read()
    if paths:
        return [_find_mounted(table, _resolve(path)) for path in paths]
    targets = [_find_mounted(table, where) for where in table.overlays()]
    if not targets:
        raise Failure(f"no overlay is mounted, see `overlayctl status`; {_HINT}")
    return targets


def split_lower(value: str) -> "list[str]":
    """The directories in the value of lowerdir=, in which a colon separates them, and a backslash escapes a colon."""
    found = [""]
    escaped = False
    for character in value:
        if character == ":" and not escaped:
            found.append("")
        elif character != "\\" or escaped:
            found[-1] += character
        escaped = character == "\\" and not escaped
    return found


def _require_root() -> None:
    if os.geteuid() != 0:
        raise Failure("the layers of an overlay can be read by root alone; try it as root")
    with open("/proc/self/uid_map", encoding="ascii") as stream:
        if stream.read().split() != ["0", "0", "4294967295"]:
            raise Failure("root of a user namespace does not see what overlayfs notes in an upper layer (trusted.*)")


def _find_given(options: argparse.Namespace, paths: "list[str]") -> "list[Target]":
    if not (options.upper and options.lower):
        raise Failure("--upper and --lower need each other")
    if not os.path.isabs(options.where):
        raise Failure(f"--where {options.where}: give an absolute path")
    if options.frozen and options.work:
        raise Failure("--work does not go with --frozen: with Rollback=yes there is no index=on")
    where = os.path.normpath(options.where)
    layers = _make_layers(options.upper, options.lower, options.work, options.frozen)
    if not paths:
        return [Target(where, layers, b"", "")]
    targets = []
    for path in paths:
        whole = os.path.normpath(os.path.join(where, path))
        if os.path.commonpath((where, whole)) != where:
            raise Failure(f"{path} is not below {where}")
        targets.append(Target(where, layers, _below(whole, where), ""))
    return targets


def _find_mounted(table: mounts.Table, path: str) -> Target:
    mount = table.holding(path)
    if mount is None or mount.fstype != "overlay":
        on = f"{mount.fstype} mounted at {mount.where}" if mount else "no mount"
        raise Failure(f"{path} lies on {on}, and not on an overlay; {_HINT}")
    lower = split_lower(unescape(mount.find_option("lowerdir")))
    # In these a colon is not a separator.
    upper, work = (":".join(split_lower(unescape(mount.find_option(name)))) for name in ("upperdir", "workdir"))
    frozen = ""
    if len(lower) == 2 and lower[0] == f"{mounts.backing_of(mount)}/frozen/upper":
        # With Rollback=yes; empty unless an update has frozen something, of which a policy may have dropped all.
        if os.listdir(lower[0]) or os.path.lexists(f"{mounts.backing_of(mount)}/frozen/image"):
            frozen = lower[0]
        lower = lower[1:]
    if not upper or len(lower) != 1 or not lower[0]:
        raise Failure(f"the overlay at {mount.where} does not have one lower and one upper layer: it is not ours")
    if "userxattr" in mount.options:
        raise Failure(f"the overlay at {mount.where} is mounted with userxattr, whose marks are not understood")
    backing = mounts.backing_of(mount)
    if table.overlay(mount.where) and table.top(lower[0]) is None:
        raise Failure(f"the image's directory is no longer mounted at {lower[0]}; start the prepare unit again")
    indexed = _is_indexed(mount)
    if indexed and frozen:
        raise Failure(f"the overlay at {mount.where} has index=on and something frozen: it is not ours")
    layers = _make_layers(upper, lower[0], work if indexed else "", frozen)
    return Target(mount.where, layers, _below(path, mount.where), backing)


def _is_indexed(mount: mounts.Mount) -> bool:
    value = mount.find_option("index")
    if not value:
        # The kernel does not show an option that is its default.
        try:
            with open(_DEFAULT_OF_INDEX, encoding="ascii") as stream:
                value = "on" if stream.read().strip() == "Y" else "off"
        except OSError:
            value = "off"
    return value == "on" or mount.find_option("nfs_export") == "on"


def _make_layers(upper: str, lower: str, work: "str | None", frozen: "str | None") -> Layers:
    for path in filter(None, (upper, lower, work, frozen)):
        require_directory(path, path, "there is no such directory here")
    links = os.path.join(os.path.abspath(work), "index") if work else ""
    between = os.fsencode(os.path.abspath(frozen)) if frozen else b""
    top, image = os.fsencode(os.path.abspath(upper)), os.fsencode(os.path.abspath(lower))
    return Layers(top, image, os.fsencode(links), between)


def _resolve(path: str) -> str:
    """The absolute path without links on the way to it; the last component may be one, and is not followed."""
    head, name = os.path.split(path.rstrip("/"))
    if name in ("", ".", ".."):
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(head), name)


def _below(path: str, where: str) -> bytes:
    return os.fsencode(os.path.relpath(path, where)) if path != where else b""
