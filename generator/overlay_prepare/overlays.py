# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The persistent overlays of this boot, one after the other, for services that are about all of them."""

from overlay_generator.names import BACKING_ROOT
from overlay_prepare.files import list_entries
from overlay_prepare.folder import Folder, open_top
from overlay_prepare.report import STATE, WARNING, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def do_for_each(act: "Callable[[Folder], object]", fail: "Callable[[str, OSError], object]") -> int:
    """Let act() have each backing directory that prepare has noted, and fail() each whose act() has raised OSError.

    The exit status: 0, or 1 if one has failed. Raises OSError if it can't be known which there are.
    """
    status = 0
    for entry in list_entries(STATE):
        if not entry.name.endswith(".json"):
            continue
        path = f"{BACKING_ROOT}/{entry.name[:-5]}"
        try:
            with open_top(path, lambda text: say(WARNING, text)) as backing:
                act(backing)
        except FileNotFoundError:
            pass  # its backing is in memory at another place, and empty at the next boot anyway
        except OSError as error:
            fail(path, error)
            status = 1
    return status
