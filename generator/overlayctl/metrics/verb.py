# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verb metrics: the status in numbers, on standard output or for node_exporter."""

import os
from typing import TYPE_CHECKING

from overlay_prepare import folder, identity, policy
from overlayctl.errors import Failure
from overlayctl.metrics import exposition, textfile
from overlayctl.metrics.exposition import Facts
from overlayctl.status import machine

if TYPE_CHECKING:
    import argparse

    from overlayctl.status.machine import DirectoryStatus

VERB = "metrics"
HELP = "write the status as numbers, for Prometheus and the like"
DESCRIPTION = """\
Write numbers on each directory that is asked for or overlaid as OpenMetrics text: is it active, writable, persistent,
how full is its upper layer, what is staged; and on the machine. overlayctl(1) has their names.
"""
EXAMPLES = f"""\
examples:
  overlayctl metrics
  overlayctl metrics --textfile /var/lib/prometheus/node-exporter
      {textfile.NAME} there, for node_exporter; overlay-metrics.timer does it again and again
  overlayctl metrics | grep persistent

exit status: 0 written, whatever the numbers say, 3 it could not be done
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """The command line of the verb."""
    parser.add_argument("--textfile", metavar="DIR", help=f"write DIR/{textfile.NAME}, whole or not at all")


def run(options: "argparse.Namespace") -> int:
    """The exit status. Raises Failure."""
    try:
        found = machine.read(thorough=False)
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}; metrics needs /proc") from error
    facts = {directory.where: _find_facts(directory) for directory in found.directories}
    text = exposition.spell(found, facts, _identify())
    if options.textfile is None:
        options.output.write(text)
    else:
        textfile.write(options.textfile, text)
    return 0


def _find_facts(directory: "DirectoryStatus") -> Facts:
    if not os.access(directory.backing_path, os.R_OK | os.X_OK):
        return Facts()  # another user's, or not there
    return Facts(_count_dropped(directory.backing_path), exposition.is_staged(directory))


def _count_dropped(backing: str) -> "int | None":
    """How many entries are in the logs of what was dropped (overlay_prepare/policy.py), None if they can't be read.

    Whoever can write the disk may have put anything in their place: what is no such log is not opened.
    """
    try:
        with folder.open_top(backing, lambda _text: None) as opened:
            return sum(_count_entries(opened, name) for name in (policy.LOG, policy.OLD_LOG))
    except OSError:
        return None


def _count_entries(opened: folder.Folder, name: str) -> int:
    try:
        fd = opened.open_file(name, policy.MOST)
    except FileNotFoundError:
        return 0
    with os.fdopen(fd, "rb") as stream:
        # By parts: a line may be as long as the file.
        count, begins = 0, True
        while part := stream.readline(1 << 16):
            count += begins and not part.startswith(b"#")
            begins = part.endswith(b"\n")
        return count


def _identify() -> str:
    try:
        return identity.identify("/")
    except OSError:
        return ""  # then nothing is known of it, and no line says anything
