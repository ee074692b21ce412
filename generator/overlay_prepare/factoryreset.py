# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Asks for a reset of every persistent overlay at the next boot: run by overlay-generator-factory-reset.service."""

from overlay_generator.names import BACKING_ROOT
from overlay_prepare import stamp
from overlay_prepare.events import RESET_REFUSED
from overlay_prepare.files import list_entries
from overlay_prepare.folder import Folder, open_top
from overlay_prepare.report import ERROR, NOTICE, STATE, WARNING, describe, say, tell
from overlay_prepare.resetrequest import NAME, Staged, spell


def stage_all() -> int:
    """The exit status: 0, or 1 if one of the resets could not be requested."""
    status = 0
    for entry in list_entries(STATE):
        if not entry.name.endswith(".json"):
            continue
        path = f"{BACKING_ROOT}/{entry.name[:-5]}"
        try:
            with open_top(path, lambda text: say(WARNING, text)) as backing:
                _stage(backing)
        except FileNotFoundError:
            pass  # its backing is in memory at another place, and empty at the next boot anyway
        except OSError as error:
            text = f"{path} will not be reset: {describe(error)}"
            tell(RESET_REFUSED, ERROR, text, {"backing": path, "reason": describe(error)}, console=False)
            status = 1
    return status


def _stage(backing: Folder) -> None:
    # Without the note of an image, the backing is in memory, and empty at the next boot anyway.
    if backing.find_kind(stamp.NAME):
        backing.write(NAME, spell(Staged(whole=True)).encode("utf-8", "surrogateescape"))
        say(NOTICE, f"{backing.path}: reset at the next boot")
