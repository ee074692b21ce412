# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verb status: what each overlay is doing, for a person or as JSON, with an exit status for health checks."""

from typing import TYPE_CHECKING

from overlayctl.errors import Failure
from overlayctl.status import health, machine

if TYPE_CHECKING:
    import argparse

VERB = "status"
HELP = "show what the overlays are doing, and whether that is what was asked for"
DESCRIPTION = """\
Show for each directory that is asked for or overlaid: is it writable, does it persist, on what, how full is it, what is
staged for the next boot, and would today's fstab and configuration give the same then.
A PATH inside such a directory stands for it.
"""
EXAMPLES = """\
examples:
  overlayctl status
  overlayctl status /var || logger "/var is not as asked: $?"
  overlayctl status --json | jq '.directories[].space.percent'

exit status: 0 as asked, 1 degraded, 2 not active, 3 it could not be found out
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """The command line of the verb."""
    parser.add_argument("path", metavar="PATH", nargs="*", help="only the directories that hold these")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object, see overlayctl(1)")


def run(options: "argparse.Namespace") -> int:
    """The exit status. Raises Failure, OSError."""
    paths = tuple(machine.resolve(options.path))
    try:
        found = machine.read(paths)
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}; status needs /proc") from error
    named = bool(paths)
    if options.json:
        from overlayctl.status import document

        options.output.write(document.spell(found, named))
    else:
        from overlayctl.status import text

        options.output.write(text.spell(found, named, options.output))
    return health.judge_all(found, named).level
