# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verb rollback: what the image before the update would find if it was booted now."""

import os
import time
from typing import TYPE_CHECKING

from overlayctl.errors import Failure
from overlayctl.frozen import read
from overlayctl.layers.directory import Directory
from overlayctl.output import printable
from overlayctl.stage.backup import walk
from overlayctl.stage.commit import find_places
from overlayctl.status import machine

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from overlayctl.stage.request import Place

VERB = "rollback"
HELP = "show what would go back with the image before an update"
DESCRIPTION = """\
Show what the image before the last update would find if it was booted now, in each directory with Rollback=yes, or in
those named: its own data, as they were, and without what is listed here, which would be kept aside. It is a boot of
that image that goes back; nothing is done here.
"""
EXAMPLES = """\
examples:
  overlayctl rollback --dry-run
  overlayctl export --undone undone.tar
      after the step back: what was put aside

exit status: 0 done, 3 it could not be done
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """The command line of the verb."""
    parser.add_argument("path", metavar="DIR", nargs="*", help="an overlaid directory (default: all with frozen data)")
    parser.add_argument("--dry-run", action="store_true", help="required, as nothing else can be done here")


def run(options: "argparse.Namespace") -> int:
    """The exit status. Raises Failure."""
    if not options.dry_run:
        raise Failure("a boot of the image before goes back with the data; --dry-run shows what that would do")
    for place in find_places(machine.resolve(options.path)):
        found = read(place.backing)
        if not found:
            continue
        end = found.find_end(place.commit)
        if end:
            text = f"is {end}: every image finds the newer data from the next boot on"
            options.output.write(f"{printable(place.where)}: {text}\n")
            continue
        if place.staged and place.staged.whole:
            text = "a reset is staged: no image finds what was written, before the update or since"
            options.output.write(f"{printable(place.where)}: {text}\n")
            continue
        name = f"version {found.from_version}" if found.from_version else "the image before"
        since = f" of {time.strftime('%Y-%m-%d %H:%M', time.localtime(found.since))}" if found.since else ""
        text = f"{name}, if booted now, finds its data{since}, and keeps this aside as undone:"
        options.output.write(f"{printable(place.where)}: {printable(text)}\n")
        for path in _list(place):
            options.output.write(f"  {printable(path)}\n")
        if place.staged:
            options.output.write("  after that what is staged is reset, see overlayctl status\n")
    return 0


def _list(place: "Place") -> "Iterator[str]":
    """The paths of all that was written since the update: files, and what was deleted."""
    top = Directory.open_top(os.fsencode(place.upper))
    for _, name, inside in walk(top, os.fsencode(place.where.strip("/"))):
        if name:
            yield "/" + os.fsdecode(inside)
