# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verb commit: what was written since an update is there to stay, from the next boot on."""

from typing import TYPE_CHECKING

from overlay_prepare import folder, frozen
from overlayctl.errors import Failure
from overlayctl.frozen import read
from overlayctl.output import printable
from overlayctl.stage import request as staging
from overlayctl.status import machine

if TYPE_CHECKING:
    import argparse

    from overlayctl.stage.request import Place

VERB = "commit"
HELP = "keep the data written since an update for good"
DESCRIPTION = """\
Keep what was written since the last update of the image for good, in each directory with Rollback=yes, or in those
named: the next boot folds it into what the update froze, before anything is mounted. From then on the image before the
update finds the newer data as well. Without this it happens as Commit= says, or at the next update.
"""
EXAMPLES = """\
examples:
  overlayctl commit
      what is frozen, and until when, is in overlayctl status
  overlayctl commit --cancel /var

exit status: 0 done, 3 it could not be done
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """The command line of the verb."""
    parser.add_argument("path", metavar="DIR", nargs="*", help="an overlaid directory (default: all with frozen data)")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--dry-run", action="store_true", help="say what would be staged, and stage nothing")
    action.add_argument("--cancel", action="store_true", help="take it back")


def run(options: "argparse.Namespace") -> int:
    """The exit status. Raises Failure."""
    for place in find_places(machine.resolve(options.path)):
        found = read(place.backing)
        if options.cancel and found and found.folding:
            raise Failure(f"{place.where}: a boot has begun to fold what the update froze, and nothing takes that back")
        if not options.dry_run:
            _stage(place, not options.cancel)
        then = "as Commit= says" if options.cancel else "at the next boot"
        text = f"what was written since the update is kept for good {then}"
        options.output.write(f"{printable(place.where)}: {text}\n")
    return 0


def find_places(paths: "list[str]") -> "list[Place]":
    """The directories of `paths`, or all, with something frozen. Raises Failure if there is none, OSError."""
    found = staging.read_machine()
    places = [found.find(path) for path in paths] or list(found.places.values())
    chosen = [place for place in places if read(place.backing)]
    if not chosen or (paths and len(chosen) < len(places)):
        names = ", ".join(place.where for place in places if place not in chosen) or "no overlay that persists"
        raise Failure(f"{names}: no update has frozen anything there, see Rollback= in overlay-generator(8)")
    return chosen


def _stage(place: "Place", wanted: bool) -> None:
    try:
        with folder.open_top(place.backing, lambda text: staging.note(place, text)) as opened:
            if wanted:
                opened.write(frozen.COMMIT, b"")
            else:
                frozen.drop(opened, frozen.COMMIT)
                opened.sync()
    except OSError as error:
        raise Failure(f"{place.backing}/{frozen.COMMIT}: {error.strerror}; nothing is staged") from error
