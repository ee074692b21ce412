# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an update has frozen (Rollback=yes), as status and the verbs for it tell it."""

import os
from dataclasses import dataclass

from overlay_prepare import folder, frozen

_MOST = 200_000  # entries that are counted


@dataclass(frozen=True)
class Frozen:
    """`since` is the time of the freeze in seconds, 0 where it is not known; the versions are those of the two images,
    "" without one. `files` and `size` in bytes are what was written since, -1 where nobody has counted. `staged`: the
    operator has committed it; `good` is since when the newer image is good, 0 for not yet.
    """

    since: int
    from_version: str
    to_version: str
    files: int = -1
    size: int = -1
    staged: bool = False
    good: int = 0


def read(backing: str, count: bool = False) -> "Frozen | None":
    """What is frozen in the directory `backing`, None for nothing. Raises OSError."""
    with folder.open_top(backing, _ignore) as opened:
        inner = opened.descend(frozen.NAME)
        if inner is None or not frozen.is_frozen(inner):
            return None
        fields = frozen.read_fields(inner, frozen.SINCE)
        files, size = _count(f"{backing}/upper") if count else (-1, -1)
        try:
            good = frozen.read_good(opened)[1]
        except OSError:
            good = 0  # nothing is confirmed by it, and prepare reports it
        since = fields.get("TIME", "")
        return Frozen(
            int(since) if since.isdecimal() and len(since) < 16 else 0,
            fields.get("FROM_VERSION", ""),
            fields.get("TO_VERSION", ""),
            files,
            size,
            bool(opened.find_kind(frozen.COMMIT)),
            good,
        )


def find_undone(backing: str) -> str:
    """The directory with what a step back has left, "" where there is none."""
    path = f"{backing}/{frozen.UNDONE}"
    return path if os.path.isdir(path) and not os.path.islink(path) else ""


def explain_refusal(where: str) -> str:
    """Why a verb that knows one layer does nothing at `where`."""
    return (
        f"{where}: an update has frozen what was written before it, and this sees one layer alone: overlayctl commit "
        "and a boot make one of the two"
    )


def _count(top: str) -> "tuple[int, int]":
    files = size = 0
    for directory, _, names in os.walk(top):
        for name in names:
            try:
                info = os.lstat(os.path.join(directory, name))
            except OSError:
                continue  # somebody has just removed it, or it is too deep to be named
            files += 1
            size += info.st_blocks * 512
        if files > _MOST:
            break
    return files, size


def _ignore(_text: str) -> None:
    """Nothing is put aside by a look."""
