# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl diff: what was changed against the image, read from the layers."""

import argparse
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator

from overlayctl.diff import stale
from overlayctl.diff.content import differ
from overlayctl.diff.tally import Tally
from overlayctl.diff.text import COLOURS, describe, spell_line
from overlayctl.errors import Failure
from overlayctl.frozen import is_folding
from overlayctl.image.source import opened
from overlayctl.layers.change import ADDED, EQUAL, KINDS, Change
from overlayctl.layers.links import Links
from overlayctl.layers.locate import Target, find_targets
from overlayctl.layers.locate import add_arguments as add_layer_arguments
from overlayctl.layers.parallel import Unread, spell_all
from overlayctl.layers.walk import NotFound, walk
from overlayctl.output import printable
from overlayctl.progress import Progress

VERB = "diff"
HELP = "show what has been changed against the image"
DESCRIPTION = f"""\
Show what was changed against the image, in all overlays or below PATHs.

{chr(10).join(f"{kind:<9} {text}" for kind, text in KINDS.items())}

Times of directories are not compared. Of files in a moved directory only those that changed are shown.

With something frozen by an update (Rollback=yes), what was written before it and after it is shown as one. With
--since-update only what came after it, compared with what there was then, over the present image: what would no longer
be seen after a step back.

What the image before had, nobody knows any more. --stale lists what was last touched before the present image came,
and hides something of another content in it: as newer if the image's is younger than what hides it, and as perhaps
if times don't tell, as where all files of an image have the same.

--against compares with another image, such as the next one: with what that has at the paths of the upper layer, line
by line if no other form is asked for. What an update does to them is what overlayctl preview tells.
"""
EXAMPLES = """\
examples:
  overlayctl diff
      everything that was written to the overlays
  overlayctl diff --content /var/lib/app
      line by line
  overlayctl diff --stat
      how much of what, in a few lines
  overlayctl diff --json | jq -r 'select(.kind == "deleted").path'
      for programs: an object in each line
  overlayctl diff --stale
      after an update of the image: what may hide a newer version of it
  overlayctl diff --since-update
      with Rollback=yes: what was written since the update
  overlayctl diff --against new.squashfs /var/lib/app
      before an update: line by line, what the device's files hide of the new image's
  overlayctl diff --upper /mnt/data/upper --lower /mnt/image/var --where /var
      layers that are not mounted, say of a disk in another machine

exit status: 0 done, 3 something could not be read
"""

_AT_ONCE = 1 << 16  # characters that are written together
_PATIENCE = 0.2  # seconds; after that fewer are
_HUNK, _FILE = "@@", ("---", "+++")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("paths", metavar="PATH", nargs="*", help="only this and what is below it")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write an object of JSON in each line")
    form.add_argument("--stat", action="store_true", help="write counts and sizes alone")
    form.add_argument("--name-only", action="store_true", help="write paths alone")
    form.add_argument("--content", action="store_true", help="add unified diffs of text files")
    parser.add_argument("-z", "--null", action="store_true", help="with --name-only: end each path with a NUL byte")
    parser.add_argument("--stale", action="store_true", help="only what may hide a newer version of the image")
    parser.add_argument(
        "--since-update", action="store_true", help="only what was written since an update froze what there was"
    )
    parser.add_argument("--against", metavar="NEW", help="another image: a directory, a file, a disk or a device")
    parser.add_argument("--partition", metavar="NUMBER", type=int, default=0, help="of a disk, with --against")
    add_layer_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """The exit status: 0, or 3 if something could not be read. Raises Failure, OSError."""
    if options.null and not options.name_only:
        raise Failure("--null goes with --name-only")
    if options.partition and not options.against:
        raise Failure("--partition goes with --against")
    if options.since_update and options.stale:
        raise Failure("--stale does not go with --since-update: what is stale is older than the update")
    if not options.against:
        targets = find_targets(options, options.paths)
        return _compare(options, _choose_newer(targets, options.paths) if options.since_update else targets)
    for name in ("stale", "lower", "since_update"):
        if getattr(options, name):
            raise Failure(f"--{name.replace('_', '-')} does not go with --against")
    options.content = not (options.json or options.stat or options.name_only)
    with opened(options.against, options.partition) as new:
        for note in new.notes:
            sys.stderr.write(f"overlayctl: {printable(note)}\n")
        if options.upper:
            options.lower = os.fsdecode(new.find(os.path.normpath(options.where)))
        targets = find_targets(options, options.paths)
        # The index leads into the other image.
        layers = (target.layers._replace(lower=new.find(target.where), links=b"") for target in targets)
        return _compare(options, [target._replace(layers=one) for target, one in zip(targets, layers)])


def _choose_newer(targets: "list[Target]", paths: "list[str]") -> "list[Target]":
    """Those of `targets` with something frozen, to be compared with that. Raises Failure where there is nothing."""
    without = [target.where for target in targets if not target.layers.frozen]
    if without and (paths or len(without) == len(targets)):
        raise Failure(
            f"{', '.join(without)}: no update has frozen anything there, see Rollback= in overlay-generator(8)"
        )
    for target in targets:
        if is_folding(os.fsdecode(target.layers.frozen)):
            raise Failure(
                f"{target.where}: what came after the update is being folded, and can't be told apart any more"
            )
    return [target._replace(layers=target.layers._replace(since=True)) for target in targets if target.layers.frozen]


def _compare(options: argparse.Namespace, targets: "list[Target]") -> int:
    """The exit status after all of `targets` are written."""
    unread = 0
    for target in targets:
        arrival = _find_arrival(target) if options.stale else None
        if options.stale and arrival is None:
            continue
        report = Unread(functools.partial(_say_unread, target))
        progress = Progress(not options.output.terminal or options.stat)
        try:
            if options.stat:
                _write_tally(target, options, arrival, report, progress)
            else:
                spell = _make_spell(target, options, arrival)
                # The diffs of a part of a directory may be too much to be held in memory.
                texts = (
                    map(spell, walk(target.layers, target.start, report=report))
                    if options.content
                    else spell_all(target.layers, target.start, spell, report)
                )
                _write(texts, options, progress)
        except NotFound as error:
            path = target.spell(error.args[0])
            raise Failure(f"{path}: neither the overlay nor its image has it") from error
        finally:
            progress.end()
        unread += report.count
    return 3 if unread else 0


def _say_unread(target: Target, path: bytes, error: OSError) -> None:
    sys.stderr.write(f"overlayctl: {printable(target.spell(path))}: {error.strerror}; left out\n")


def _find_arrival(target: Target) -> "int | None":
    if not target.backing:
        raise Failure("--stale needs the directory of a mounted overlay: when its image came is noted there")
    arrival = stale.find_arrival(target.backing)
    if arrival is None:
        sys.stderr.write(
            f"overlayctl: {printable(target.where)}: the upper layer has seen one image only: nothing is stale\n"
        )
    elif stale.is_without_clock(arrival):
        raise Failure(
            f"{target.where}: the clock was wrong when its image came, so --stale can't tell what is older; "
            "see all changes by overlayctl diff, or let the clock be set before local-fs.target"
        )
    return arrival


def _write_tally(
    target: Target, options: argparse.Namespace, arrival: "int | None", report: Unread, progress: Progress
) -> None:
    tally = Tally(Links(target.layers.links))
    for change in walk(target.layers, target.start, report=report):
        progress.advance(1)
        if options.against and change.kind in (ADDED, EQUAL):
            continue
        if arrival is None or stale.judge(change, arrival):
            tally.add(change)
    progress.end()
    options.output.write(tally.spell(target.where))


def _make_spell(target: Target, options: argparse.Namespace, arrival: "int | None") -> "Callable[[Change], str]":
    """What turns each change into its text."""
    where = target.where.rstrip("/") + "/"
    if (
        options.json
        or options.name_only
        or options.content
        or options.output.colour
        or arrival is not None
        or options.against
    ):
        return functools.partial(_spell, target, options, arrival)

    def spell(change: Change) -> str:
        # This is called a million times: nothing is looked up twice.
        below = change.path
        return spell_line(change, where + below.decode("utf-8", "surrogateescape") if below else target.where) + "\n"

    return spell


def _spell(target: Target, options: argparse.Namespace, arrival: "int | None", change: Change) -> str:
    """The text for `change`, "" if it is not asked for."""
    if options.against and change.kind in (ADDED, EQUAL):
        return ""
    verdict = "" if arrival is None else stale.judge(change, arrival)
    if arrival is not None and not verdict:
        return ""
    path = target.spell(change.path)
    if options.name_only:
        return f"{path}\0" if options.null else f"{printable(path)}\n"
    if options.json:
        return json.dumps({**describe(change, path), **({"stale": verdict} if verdict else {})}) + "\n"
    line = spell_line(change, path)
    if verdict:
        line = f"{verdict:<8} {line}  [{stale.EXPLANATIONS[verdict]}]"
    if options.output.colour:
        line = options.output.paint(line, COLOURS[change.kind])
    if options.content:
        return "\n".join((line, "".join(_spell_content(change, path, target, options))))
    return f"{line}\n"


def _spell_content(change: Change, path: str, target: Target, options: argparse.Namespace) -> "Iterator[str]":
    output = options.output
    name = printable(path)
    try:
        image = "new image" if options.against else "before" if options.since_update else "image"
        for line in differ(change, target.layers, f"{image}{name}", f"now{name}"):
            # What is in a file must not control the terminal that shows it; a program gets it as it is.
            text = printable(line[:-1].replace("\t", "        ")) + "\n" if output.terminal else line
            yield output.paint(text[:-1], *_colour_line(text)) + "\n" if output.colour else text
    except OSError as error:
        sys.stderr.write(f"overlayctl: {name}: {error.strerror}; its content is left out\n")


def _colour_line(line: str) -> "tuple[str, ...]":
    if line.startswith(_FILE):
        return ("bold",)
    if line.startswith(_HUNK):
        return ("cyan",)
    return {"+": ("green",), "-": ("red",)}.get(line[0], ())


def _write(texts: "Iterator[str]", options: argparse.Namespace, progress: Progress) -> None:
    """Write `texts`, the first at once, the others many at a time as long as they come fast."""
    output = options.output
    flush = getattr(output, "flush", sys.stdout.flush)
    waiting = []
    size, last = 0, 0.0
    for text in texts:
        waiting.append(text)
        size += len(text)
        now = time.monotonic()
        late = now - last > _PATIENCE
        if late or size >= _AT_ONCE:
            joined = "".join(waiting)
            output.write(joined)
            progress.advance(joined.count("\n"))
            waiting.clear()
            size = 0
        if late:
            flush()
            last = now
    output.write("".join(waiting))
