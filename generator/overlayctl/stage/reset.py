# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verb reset: upper layers are empty from the next boot on, but for what is to be kept."""

import functools
import os
import stat
import sys
from typing import TYPE_CHECKING

from overlay_generator.names import normalise
from overlay_prepare.reset import DEEPEST
from overlay_prepare.resetrequest import Staged, is_kept, may_hold_kept
from overlayctl.errors import Failure
from overlayctl.layers.stack import Merged, hold
from overlayctl.output import printable
from overlayctl.stage import request as staging
from overlayctl.stage.request import Place
from overlayctl.stage.restore import verify
from overlayctl.status import machine
from overlayctl.status.space import spell_size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

VERB = "reset"
HELP = "empty upper layers at the next boot"
DESCRIPTION = """\
Empty the upper layer of each directory at the next boot, so that it is as the image has it: of all that persist, or of
each PATH, which may also be a path below one of them (then as overlayctl restore). What matches a GLOB of --keep stays.
It is staged now and done by the next boot, before anything is mounted; overlayctl status shows it, --cancel takes it
back. Overlays in memory are empty at each boot anyway.
"""
EXAMPLES = """\
examples:
  overlayctl reset --dry-run
  overlayctl reset --keep '/var/lib/NetworkManager/**' --backup /media/stick/var.tar /var
      the network stays as it is, all else is as delivered
  overlayctl reset --cancel

In a GLOB, * and ? stop at a slash, ** stands for any number of directories; what matches is kept with all below it.
exit status: 0 done, 3 it could not be done
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """The command line of the verb."""
    parser.add_argument("path", metavar="PATH", nargs="*", help="what to reset (default: all overlays that persist)")
    parser.add_argument("--keep", metavar="GLOB", action="append", default=[], help="an absolute path that stays")
    parser.add_argument("--backup", metavar="FILE", help="write the upper layers into this tar first")
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--dry-run", action="store_true", help="say what would go and what would stay, and stage nothing"
    )
    action.add_argument("--cancel", action="store_true", help="take back what is staged")


def run(options: "argparse.Namespace") -> int:
    """The exit status. Raises Failure; what was staged before that, for another directory, has been reported."""
    found = staging.read_machine()
    if options.cancel and (options.keep or options.backup):
        raise Failure("--cancel goes with paths alone")
    chosen = _choose(found, machine.resolve(options.path))
    if options.cancel:
        for place, paths in chosen:
            left = staging.write(place, functools.partial(_cancel, paths))
            options.output.write(staging.tell(place, left))
        return 0
    makers = []
    for place, paths in chosen:
        for path in paths:
            verify(place, path)
        makers.append((place, functools.partial(_make_request, paths, options.keep, len(chosen) == 1)))
    _verify_globs(options.keep, [place for place, _make in makers])
    for glob in options.keep:
        start = _find_start(normalise(glob))
        if not os.path.lexists(start):
            text = f"--keep {glob}: {start} is not there, so that it keeps nothing as of now"
            sys.stderr.write(f"overlayctl: {printable(text)}\n")
    if options.dry_run:
        for place, make in makers:
            request = make(place)
            options.output.write(staging.tell(place, request))
            for line in _preview(place, request):
                options.output.write(line)
        return 0
    if options.backup:
        from overlayctl.stage.backup import write

        size = write(options.backup, [place for place, _make in makers])
        options.output.write(f"{printable(options.backup)}: {spell_size(size)}\n")
    for place, make in makers:
        options.output.write(staging.tell(place, staging.write(place, make)))
    return 0


def _choose(found: staging.Machine, paths: "list[str]") -> "list[tuple[Place, list[str]]]":
    """The places, each with the paths below it that are meant, none where it is meant as a whole. Raises Failure."""
    if not paths:
        if not found.places:
            text = "; ".join(found.refused.values()) or "no overlay is asked for, see overlay-generator(8)"
            raise Failure(f"there is nothing to reset: {text}")
        return [(place, []) for place in found.places.values()]
    chosen: dict[str, list[str]] = {}
    whole = set()
    for path in paths:
        place = found.find(path)
        chosen.setdefault(place.where, [])
        if path == place.where:
            whole.add(place.where)
        else:
            chosen[place.where].append(path)
    return [(found.places[where], [] if where in whole else below) for where, below in chosen.items()]


def _cancel(paths: "list[str]", place: Place) -> "Staged | None":
    return staging.take_out(place.staged or Staged(), paths) if paths else None


def _make_request(paths: "list[str]", globs: "list[str]", alone: bool, place: Place) -> Staged:
    keep = tuple(normalise(glob) for glob in globs if glob.startswith("/"))
    if not alone:
        keep = tuple(glob for glob in keep if may_hold_kept(place.where, (glob,)))
    return staging.merge(place.staged, Staged(not paths, tuple(paths), keep))


def _verify_globs(globs: "list[str]", places: "list[Place]") -> None:
    """Raises Failure for a glob that can keep nothing: a typing error here is lost data."""
    for glob in globs:
        if not glob.startswith("/"):
            raise Failure(f"--keep {glob}: not an absolute path; nothing is staged")
        # The simplest path that the glob stands for: a glob that keeps nothing would be lost data.
        sample = normalise(glob).replace("**", "x").replace("*", "x").replace("?", "x")
        if "[" not in glob and not is_kept(sample, (normalise(glob),)):
            raise Failure(f"--keep {glob}: {sample} would not be kept by it; nothing is staged")
        if "[" in glob and os.path.lexists(normalise(glob)) and not is_kept(normalise(glob), (normalise(glob),)):
            raise Failure(f"--keep {glob}: [...] stands for one sign; write [[] for [ itself; nothing is staged")
        inside = any(may_hold_kept(place.where, (normalise(glob),)) for place in places)
        if not inside:
            wheres = ", ".join(place.where for place in places)
            raise Failure(f"--keep {glob}: matches nothing below {wheres}; nothing is staged")


def _find_start(glob: str) -> str:
    """The path that all that `glob` matches is below, or is."""
    parts = glob.split("/")
    plain = next((number for number, part in enumerate(parts) if any(sign in part for sign in "*?[")), len(parts))
    return "/".join(parts[:plain]) or "/"


def _preview(place: Place, request: Staged) -> "Iterator[str]":
    """A line for each entry of the upper layer that the request concerns, in the order of their names."""
    upper = place.open_upper()
    for top in [place.where] if request.whole else request.paths:
        parts = [os.fsencode(part) for part in top[len(place.where) :].split("/") if part]
        above = upper.descend(parts[:-1])
        if above is None or (parts and not _has(above, parts[-1])):
            continue
        if parts:
            yield _spell(top, request)
        directory = above.descend(parts[-1:])
        if directory is not None:
            yield from _preview_below(directory, top, request)
    for path, name in place.find_passed().items():
        if request.whole or path in request.paths:
            kept = is_kept(path, request.keep)
            if kept or not may_hold_kept(path, request.keep):
                yield _spell(f"{path}/", request, kept)
            else:
                yield from _preview_below(place.open_passed(name), path, request)


def _has(directory: Merged, name: bytes) -> bool:
    try:
        return os.path.lexists(hold(directory, name).path + b"/" + name)
    except FileNotFoundError:
        return False


def _preview_below(top: Merged, inside: str, request: Staged) -> "Iterator[str]":
    # Not recursive: users may nest directories to any depth.
    pending = [(top, iter(sorted(top.names())))]
    while pending:
        directory, names = pending[-1]
        for name in names:
            path = f"{inside}/{os.fsdecode(name)}"
            kept = is_kept(path, request.keep) or len(pending) > DEEPEST + 1
            try:
                is_directory = stat.S_ISDIR(os.lstat(name, dir_fd=hold(directory, name).fd).st_mode)
                inner = directory.enter(name) if is_directory else None
            except (FileNotFoundError, NotADirectoryError):
                continue  # somebody has just removed it
            if inner is not None and not kept and may_hold_kept(path, request.keep):
                pending.append((inner, iter(sorted(inner.names()))))
                inside = path
                break
            yield _spell(path + ("/" if is_directory else ""), request, kept)
        else:
            pending.pop()
            inside = inside.rpartition("/")[0]


def _spell(path: str, request: Staged, kept: "bool | None" = None) -> str:
    kept = is_kept(path, request.keep) if kept is None else kept
    return f"  {'stays' if kept else 'goes '} {printable(path)}\n"
