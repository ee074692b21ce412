# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an update has frozen (Rollback=yes), as status and the verbs for it tell it."""

import os
from dataclasses import dataclass

from overlay_prepare import folder, frozen, stamp


@dataclass(frozen=True)
class Frozen:
    """`since` is the time of the freeze in seconds, 0 where it is not known; the versions are those of the two images,
    "" without one. `files` and `size` in bytes are what was written since, -1 where nobody has counted. `staged`: the
    operator has committed it; `good` is since when the newer image is good, 0 for not yet. Not `whole`: there are more
    `files` than were counted. `folding`: a boot has begun to make one layer of the two, and a later one goes on.
    """

    since: int
    from_version: str
    to_version: str
    files: int = -1
    size: int = -1
    staged: bool = False
    good: int = 0
    whole: bool = True
    folding: bool = False

    def find_end(self, commit: str) -> str:
        """Why the image that it belongs to does not find it again where that boots now, "" if it does; `commit` as
        Commit= says.
        """
        if self.folding:
            return "being folded"
        if self.staged:
            return "committed"
        confirmed = self.good > 0 and frozen.is_confirmed(commit, self.good)
        return "confirmed, as this boot is good" if confirmed else ""


def read(backing: str) -> "Frozen | None":
    """What is frozen in the directory `backing`, None for nothing. Raises OSError."""
    with folder.open_top(backing, _ignore) as opened:
        inner = opened.descend(frozen.NAME)
        if inner is None or not frozen.is_frozen(inner):
            return None
        # Nobody steps back from there on, whatever the cause that it did not come to its end.
        folding = bool(inner.find_kind(frozen.FOLDING))
        fields = frozen.read_fields(inner, frozen.FOLDING if folding else frozen.SINCE)
        try:
            image, good = frozen.read_good(opened)
            # A clock may say 0. Another image's mark confirms nothing.
            good = max(good, 1) if image and image == stamp.read_previous(opened) else 0
        except OSError:
            good = 0  # nothing is confirmed by it, and prepare reports it
        since = fields.get("TIME", "")
        return Frozen(
            int(since) if since.isdecimal() and len(since) < 16 else 0,
            fields.get("FROM_VERSION", ""),
            fields.get("TO_VERSION", ""),
            staged=bool(opened.find_kind(frozen.COMMIT)),
            good=good,
            folding=folding,
        )


def find_undone(backing: str) -> str:
    """The directory with what a step back has left, "" where there is none."""
    path = f"{backing}/{frozen.UNDONE}"
    return path if _is_directory(path) else ""


def find_layer(backing: str) -> str:
    """The layer between the upper one and the image's, "" where nothing is frozen. Raises OSError."""
    if read(backing) is None:
        return ""
    names = (f"{backing}/{frozen.NAME}/{name}" for name in (frozen.LAYER, frozen.KEPT))
    return next(filter(_is_directory, names), "")


def is_folding(layer: str) -> bool:
    """True if a boot has begun to fold what is above the frozen `layer`, and has not come to the end of that."""
    return os.path.lexists(f"{os.path.dirname(layer)}/{frozen.FOLDING}")


def _is_directory(path: str) -> bool:
    # Whoever has written the disk may have put a link there.
    return os.path.isdir(path) and not os.path.islink(path)


def tell_fold(where: str) -> str:
    """What a reset of something in two layers takes with it, as a line for a person."""
    return f"  this ends the way back: from then on the image before the update finds the same in {where}\n"


def _ignore(_text: str) -> None:
    """Nothing is put aside by a look."""
