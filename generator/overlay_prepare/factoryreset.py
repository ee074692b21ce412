# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Asks for a reset of every persistent overlay at the next boot: run by overlay-generator-factory-reset.service."""

from overlay_prepare import stamp
from overlay_prepare.events import RESET_REFUSED
from overlay_prepare.folder import Folder
from overlay_prepare.overlays import do_for_each
from overlay_prepare.report import ERROR, NOTICE, describe, say, tell
from overlay_prepare.resetrequest import NAME, Staged, spell


def stage_all() -> int:
    """The exit status: 0, or 1 if one of the resets could not be requested."""
    return do_for_each(_stage, _tell)


def _tell(path: str, error: OSError) -> None:
    text = f"{path} will not be reset: {describe(error)}"
    tell(RESET_REFUSED, ERROR, text, {"backing": path, "reason": describe(error)}, console=False)


def _stage(backing: Folder) -> None:
    # Without the note of an image, the backing is in memory, and empty at the next boot anyway.
    if backing.find_kind(stamp.NAME):
        backing.write(NAME, spell(Staged(whole=True)).encode("utf-8", "surrogateescape"))
        say(NOTICE, f"{backing.path}: reset at the next boot")
