# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the new image's boot will do with what an update has frozen (Rollback=yes), as prepare itself decides it."""

import time
from typing import NamedTuple

from overlay_generator.model import Settings
from overlay_prepare import freeze, frozen, identity, rollback, room
from overlay_prepare.folder import Folder
from overlay_prepare.request import Request
from overlayctl.errors import Failure

# In the summary.
BACK, FOLDED, FROZEN, LEFT, REFUSED = "back", "folded", "frozen", "left", "refused"


class Due(NamedTuple):
    """`action` is one of those above, or "" where Rollback= has nothing to do; `note` is a sentence for a person.
    `keeps`: no policy drops anything.
    """

    action: str = ""
    note: str = ""
    keeps: bool = False


def find_due(where: str, settings: Settings, backing: Folder, previous: str, new: str, exact: bool) -> Due:
    """What is due at a boot of the image `new`, where `previous` is the one now; both are texts of identify(). Not
    `exact`: of the new one only the names are known. Raises Failure, OSError.
    """
    request = Request(
        where,
        backing.path,
        backing.path,
        direct=tuple(word.text for word in settings.passthrough),
        rollback=settings.rollback,
        commit=settings.commit,
    )
    folder = backing.descend(frozen.NAME)
    if folder is None or not (frozen.is_frozen(folder) or folder.find_kind(frozen.FOLDING)):
        if is_part(new, previous):
            return Due()
        return _judge_freeze(request, backing, previous, new if exact else _assume_other(new, previous))
    if frozen.is_leaving(folder):
        raise Failure(f"{backing.path}/{frozen.NAME}: a step back was cut off; boot once, and ask again")
    owner = frozen.read_image(folder)
    image = next((text for text in (owner, previous) if is_part(new, text)), "")
    image = image or (new if exact else _assume_other(new, previous))
    due = rollback.find_due(request, backing, folder, previous, image, staged=False)
    if due == rollback.UNDO:  # the freeze itself was cut off
        return _judge_freeze(request, backing, previous, image)
    version, since = _spell_owner(folder)
    if due == rollback.STEP_BACK:
        return Due(
            BACK, f"it is {version}: its data{since} come back, and what was written since is kept as undone", True
        )
    if due == rollback.FOLD:
        after = _judge_freeze(request, backing, previous, image) if image != previous else Due()
        note = f"there is no way back to {version} any more: what was frozen{since} becomes one with the rest"
        return Due(FOLDED, f"{note}; {after.note}" if after.note else note, after.keeps)
    if image == previous:
        return Due(LEFT, keeps=True)
    return Due(LEFT, f"whether this is another image can't be told, so the data of {version}{since} stay frozen", True)


def is_part(new: str, known: str) -> bool:
    """True if `known`, the identity of an image, has all that is known of the new one."""
    lines = set(new.split("\n")) - {""}
    return bool(lines) and lines <= set(known.split("\n"))


def _assume_other(new: str, previous: str) -> str:
    """`new`, or where that can't be told from `previous` by its names, as another image of the same kind."""
    facts = [line for line in previous.split("\n") if line]
    if identity.compare(previous, new) != identity.UNSURE or not facts:
        return new
    # The file system comes last, which mostly tells one image from another.
    return f"{facts[-1]}, another\n"


def _judge_freeze(request: Request, backing: Folder, previous: str, image: str) -> Due:
    if request.rollback == "no" or not previous:
        return Due()
    text = "the data will not go back with the image before it"
    reason = freeze.find_hindrance(request, backing, previous, image)
    if reason:
        return Due(REFUSED, f"{text}: {reason}")
    reason = room.find_lack(backing)
    return Due(REFUSED, f"{text}: {reason}", True) if reason else Due(FROZEN)


def _spell_owner(folder: Folder) -> "tuple[str, str]":
    fields = frozen.read_fields(folder, frozen.SINCE)
    version, since = fields.get("FROM_VERSION", ""), fields.get("TIME", "")
    moment = int(since) if since.isdecimal() and len(since) < 16 else 0
    spelled = f" of {time.strftime('%Y-%m-%d %H:%M', time.localtime(moment))}" if moment else ""
    return f"version {version}" if version else "the image before the last update", spelled
