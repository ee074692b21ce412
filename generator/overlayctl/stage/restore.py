# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verb restore: single paths are as the image has them again, from the next boot on."""

import functools
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from overlay_generator.names import ancestors, is_below
from overlay_prepare.resetrequest import Staged, is_kept
from overlayctl.errors import Failure
from overlayctl.layers.directory import Directory
from overlayctl.layers.marks import is_whiteout, read_directory
from overlayctl.layers.stack import Merged, Stack, hold
from overlayctl.output import printable
from overlayctl.stage import request as staging
from overlayctl.stage.request import Place
from overlayctl.status import machine

if TYPE_CHECKING:
    import argparse

VERB = "restore"
HELP = "give files of the image back at the next boot"
DESCRIPTION = """\
Give each PATH back as the image has it: what was changed there is dropped, what was deleted is there again, and what
the image does not have is gone. It is staged now and done by the next boot, before anything is mounted; overlayctl
status shows it, and --cancel takes it back.
"""
EXAMPLES = """\
examples:
  overlayctl restore /var/lib/app.conf
  overlayctl restore --dry-run /var/lib/app
  overlayctl restore --cancel /var/lib/app.conf

exit status: 0 done, 3 it could not be done
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """The command line of the verb."""
    parser.add_argument("path", metavar="PATH", nargs="+", help="a file or directory below an overlay that persists")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--dry-run", action="store_true", help="say what would be staged, and stage nothing")
    action.add_argument("--cancel", action="store_true", help="take staged paths back")


def run(options: "argparse.Namespace") -> int:
    """The exit status. Raises Failure; what was staged before that, for another directory, has been reported."""
    found = staging.read_machine()
    chosen: dict[str, list[str]] = {}
    for path in machine.resolve(options.path):
        chosen.setdefault(found.find(path).where, []).append(path)
    makers: list[tuple[Place, Callable[[Place], Staged | None]]] = []
    for where, paths in chosen.items():
        place = found.places[where]
        makers.append((place, functools.partial(_cancel if options.cancel else _merge, paths)))
        for path in [] if options.cancel else paths:
            warning = verify(place, path)
            if warning:
                options.output.write(f"warning: {printable(warning)}\n")
    # An error with one of them is reported before something is staged for another.
    requests = [(place, make(place)) for place, make in makers]
    for (place, make), (_place, request) in zip(makers, requests):
        options.output.write(staging.tell(place, request if options.dry_run else staging.write(place, make)))
    return 0


def verify(place: Place, path: str) -> str:
    """A warning if there is nothing to restore at `path`, else "". Raises Failure if it can't be restored alone."""
    if path == place.where:
        raise Failure(f"{path} is the whole overlay; overlayctl reset {path} empties it")
    if path in place.find_passed():
        return ""
    nothing = f"{path}: nothing was changed there, it is as the image has it"
    parts = os.fsencode(path[len(place.where) + 1 :]).split(b"/")
    directory = place.open_upper()
    for above, part in zip([path for path in reversed(ancestors(path)) if is_below(path, place.where)], parts):
        kind = _find_kind(directory, part)
        if not kind:
            return nothing
        if kind == "whiteout":
            raise Failure(f"{path} can't be restored alone: {above} was deleted; restore {above}")
        if kind != "directory":
            raise Failure(f"{path} can't be restored alone: {above} was replaced by a {kind}; restore {above}")
        directory, reason = _enter(directory, part)
        if reason and _has(place.lower, parts):
            # Its own content hides the image's, so removing something below it shows nothing of the image.
            raise Failure(f"{path} can't be restored alone: {above} {reason}; restore {above}")
    return "" if _find_kind(directory, parts[-1]) else nothing


def _cancel(paths: "list[str]", place: Place) -> Staged:
    return staging.take_out(place.staged or Staged(), paths)


def _merge(paths: "list[str]", place: Place) -> Staged:
    kept = [path for path in paths if place.staged and is_kept(path, place.staged.keep)]
    if kept:
        raise Failure(f"{kept[0]} is kept by what is staged already: overlayctl reset --cancel {place.where}")
    return staging.merge(place.staged, Staged(paths=tuple(paths)))


def _has(lower: str, parts: "list[bytes]") -> bool:
    """True if the image has something there."""
    directory = Directory.open_top(os.fsencode(lower)).descend(parts[:-1])
    return directory is not None and os.path.lexists(directory.path + b"/" + parts[-1])


def _find_kind(directory: Merged, name: bytes) -> str:
    """What `name` of an upper layer is: directory, whiteout, file and so on, "" for nothing. Raises OSError."""
    try:
        holder = hold(directory, name)
        info = os.lstat(name, dir_fd=holder.fd)
    except FileNotFoundError:
        return ""
    if stat.S_ISDIR(info.st_mode):
        return "directory"
    if is_whiteout(holder.path + b"/" + name, info):
        return "whiteout"
    return "symbolic link" if stat.S_ISLNK(info.st_mode) else "file" if stat.S_ISREG(info.st_mode) else "special file"


def _enter(directory: Merged, name: bytes) -> "tuple[Merged, str]":
    """The directory `name`, and what keeps it from showing what the image has at its place, or "". Raises OSError."""
    if isinstance(directory, Stack):
        inner, opaque, redirect = directory.merge(name)
    else:
        inner = directory.enter(name)
        opaque, redirect = read_directory(inner.itself)
    if redirect:
        return inner, "was moved there from elsewhere"
    return inner, "was deleted and made anew" if opaque else ""
