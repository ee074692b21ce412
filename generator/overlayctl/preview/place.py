# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which overlays preview is about: those of this machine, or an upper layer that a person gives."""

import argparse
import os
from typing import NamedTuple

from overlay_generator.names import is_below, normalise
from overlay_prepare import stamp
from overlayctl import mounts
from overlayctl.errors import Failure
from overlayctl.given import require_directory
from overlayctl.layers.locate import find_targets

_UPPER = "upper"
_MEMORY = ("tmpfs", "ramfs")


class Place(NamedTuple):
    """One upper layer: of the overlay at `where`, in the directory `above` under `name`.

    `old` is the directory of the image that it is over now, "" if that is not known; `start` is the path below the top
    that was asked for. `noted`: prepare's notes are beside it. `live`: it is one of this machine's.
    """

    where: str
    above: str
    name: str
    old: str
    start: bytes
    noted: bool
    live: bool


def find_places(options: argparse.Namespace) -> "tuple[list[Place], list[str]]":
    """The upper layers that are meant, and what is left out and why. Raises Failure, OSError."""
    if options.upper:
        return _find_given(options), []
    for name in ("old", "where"):
        if getattr(options, name):
            raise Failure(f"--{name} goes with --upper")
    options.lower = options.work = options.frozen = None
    table = mounts.read()
    places, notes = [], []
    for target in find_targets(options, options.paths):
        held = table.holding(target.backing) if target.backing else None
        if not target.backing or held is None or held.fstype in _MEMORY:
            notes.append(f"{target.where}: is in memory, and empty at each boot")
            continue
        places.append(
            Place(target.where, target.backing, _UPPER, os.fsdecode(target.layers.lower), target.start, True, True)
        )
    if not places:
        raise Failure(f"{'; '.join(notes)}: no update can change what was written there")
    return places, notes


def _find_given(options: argparse.Namespace) -> "list[Place]":
    where = normalise(options.where or "/var")
    if not where.startswith("/"):
        raise Failure(f"--where {options.where}: give an absolute path")
    upper = os.path.realpath(options.upper)
    require_directory(upper, options.upper, "there is no such directory here")
    above, name = os.path.split(upper)
    noted = name == _UPPER and os.path.lexists(os.path.join(above, stamp.NAME))
    places = []
    for path in options.paths or [where]:
        whole = os.path.normpath(os.path.join(where, path))
        if whole != where and not is_below(whole, where):
            raise Failure(f"{path} is not below {where}")
        start = os.fsencode(whole[len(where.rstrip("/")) + 1 :]) if whole != where else b""
        places.append(Place(where, above, name, "", start, noted, live=False))
    return places
