# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Data that go back with the image, `Rollback=yes`: what is due at this boot, and that it is done and told.

| what is frozen belongs to | the boot before was of | booted | what happens |
|---|---|---|---|
| image A | B | A | step back, see stepback.py; overlayfs.rollback=no: fold |
| A | B | B | nothing; once B is committed, fold, see fold.py |
| A | B | another one | fold, then freeze for that one |
| nothing | A | B | freeze, see freeze.py |
| A | A: the freeze was cut off | another one | back to before it; then a freeze for that one |

What an image without Rollback=yes finds frozen is folded, or stepped back to, as its overlay has one layer below.
"""

from overlay_prepare import frozen, identity, stamp
from overlay_prepare.folder import Folder
from overlay_prepare.report import ERROR, NOTICE, STATE, WARNING, Unusable, describe, say, tell, write
from overlay_prepare.request import Request
from overlay_prepare.reserve import is_low
from overlay_prepare.tree import remove

NOTHING, UNDO, STEP_BACK, FOLD = "nothing", "undo", "step back", "fold"
EVENT = "rollback"  # NAME.rollback in the state directory: what was done
FROZEN, FOLDED, BACK, REFUSED = "frozen", "folded", "stepped-back", "refused"
KEPT = "kept"  # in NAME.changed: nothing goes back
_EXPENDABLE = ("trash", "contents.new", "dropped.old", "spare")


def choose(rollback: str, owner: str, previous: str, image: str, committed: bool) -> str:
    """What is due where a layer of the image `owner` is frozen; all three are texts of identify(). Pure.

    `committed`: the newer data are there to stay.
    """
    if owner and previous == owner and image != owner:
        # The freeze itself was cut off, and nothing newer is there. What was made so far may be for another image than
        # this one, and by another policy.
        return UNDO
    if committed:
        return FOLD
    if image == owner and previous != image:
        return FOLD if rollback == "hold" else STEP_BACK
    if rollback == "no":
        return STEP_BACK if image == owner else FOLD
    if image == owner:
        return STEP_BACK
    if image == previous or not previous:
        return NOTHING
    # What can't be undone is not done on a guess.
    unsure = identity.UNSURE in (identity.compare(previous, image), identity.compare(owner, image))
    return NOTHING if unsure else FOLD


def settle(request: Request, backing: Folder, image: str, staged: bool) -> bool:
    """Bring to its end what was cut off, and step back or fold where that is due; False if that did not succeed, and is
    to be tried again at the next boot.

    `staged`: a reset is asked for, and acts on one layer. Raises OSError, or Unusable where two layers are left and the
    overlay has but one.
    """
    folder = frozen.open_frozen(backing)
    if not folder:
        return True
    frozen.heal(backing, folder)
    previous: str | None = ""
    if frozen.is_leaving(folder) or frozen.is_frozen(folder) or folder.find_kind(frozen.FOLDING):
        previous = _read_previous(request, backing)
        if previous is not None and frozen.is_leaving(folder):
            _resume(request, backing, folder, previous, image)
            folder = frozen.open_frozen(backing)
            previous = _read_previous(request, backing)  # that of the layer which is the upper one again
    if previous is None:
        return False
    if not folder or not (frozen.is_frozen(folder) or folder.find_kind(frozen.FOLDING)):
        if folder:
            frozen.clear(backing, folder)
            if request.rollback == "no":
                from overlay_prepare.reset import put_aside

                put_aside(backing, frozen.NAME)
        return True
    due = find_due(request, backing, folder, previous, image, staged)
    if due == NOTHING:
        if not folder.find_kind(frozen.LAYER):
            # Made again with the rest; with an empty one in its place all would be hidden.
            stamp.mark_changing(backing)
        return True
    if is_low(backing):
        for name in _EXPENDABLE:
            remove(backing, name)
    if due in (STEP_BACK, UNDO):
        from overlay_prepare import stepback

        kept = stepback.step_back(backing, folder)
        if due == STEP_BACK:
            _tell_step_back(request, previous, image, kept)
        return True
    from overlay_prepare import fold

    try:
        fold.fold(backing, folder)
    except OSError as error:
        text = f"what an update has frozen can't be folded: {describe(error)}"
        if request.rollback == "no":
            raise Unusable(text) from error
        _leave(request, REFUSED, previous, image, ERROR, f"{text}; it is tried again at the next boot", reason=text)
        return False
    text = "the data from before the update and those after it are one again"
    _leave(request, FOLDED, previous, image, NOTICE, text)
    return True


def find_due(request: Request, backing: Folder, folder: Folder, previous: str, image: str, staged: bool) -> str:
    """What is due at a boot of `image` with what is frozen in `folder`, for settle(); nothing is changed.

    Raises OSError.
    """
    owner = frozen.read_image(folder)
    due = choose(request.rollback, owner, previous, image, _is_committed(request, backing, previous))
    if due == NOTHING and (staged or _has_to_move(request, backing)):
        due = FOLD
    return FOLD if folder.find_kind(frozen.FOLDING) else due


def follow(request: Request, backing: Folder, previous: str, image: str, policy: str, settled: bool = True) -> str:
    """Freeze the upper layer for the step from `previous` to `image`, or make the one on top of what is frozen fit; ""
    if that is done, else the policy to go on with where nothing is frozen. `settled` is what settle() has returned.

    Raises OSError.
    """
    from overlay_prepare import freeze, imagechange, room

    folder = frozen.open_frozen(backing)
    if folder and frozen.is_frozen(folder):
        freeze.finish(request, backing, folder, previous, image, request.policy, settled)
        if previous not in ("", image):
            imagechange.announce(request, previous, image, 0, KEPT)
        return ""
    if not previous or previous == image:
        return policy
    try:
        reason = freeze.find_hindrance(request, backing, previous, image)
        if reason:
            _refuse(request, previous, image, reason)
            return policy
        reason = room.find_lack(backing)
        made = None if reason else freeze.freeze(backing, previous, image)
    except OSError as error:
        reason, made = describe(error), None
    if not made:
        # What was to come back is not dropped for good instead.
        _refuse(request, previous, image, reason)
        return "keep"
    freeze.finish(request, backing, made, previous, image, policy)
    text = "what was written before this image is frozen, and comes back with its own"
    _leave(request, FROZEN, previous, image, NOTICE, text)
    imagechange.announce(request, previous, image, 0, FROZEN)
    return ""


def _refuse(request: Request, previous: str, image: str, reason: str) -> None:
    text = f"the data will not go back with the image before this one: {reason}"
    _leave(request, REFUSED, previous, image, NOTICE, text, reason=reason)


def _leave(request: Request, event: str, previous: str, image: str, level: int, text: str, **more: str) -> None:
    """Report what was done, with `text` and the fields `more`, and leave word of it for this boot in a file."""
    from overlay_prepare import events, imagechange

    numbers = {
        FROZEN: events.DATA_FROZEN, FOLDED: events.DATA_FOLDED, BACK: events.STEPPED_BACK,
        REFUSED: events.ROLLBACK_REFUSED,
    }  # fmt: skip
    versions = {"FROM_VERSION": imagechange.read_version(previous), "TO_VERSION": imagechange.read_version(image)}
    tell(numbers[event], level, f"{request.where}: {text}", {"where": request.where, **versions, **more})
    try:
        lines = "".join(f'{key}="{value}"\n' for key, value in {"EVENT": event, **versions}.items())
        write(STATE, f"{request.name}.{EVENT}", lines)
    except OSError as error:
        say(WARNING, f"{request.where}: {describe(error)}")


def _resume(request: Request, backing: Folder, folder: Folder, previous: str, image: str) -> None:
    """Go on with a step back that was cut off, or take it back where another image has come, or the newer data stay."""
    from overlay_prepare import stepback

    if not frozen.is_frozen(folder):
        kept = stepback.finish(backing, folder)
        if previous != image and stamp.is_current(backing, image):
            _tell_step_back(request, previous, image, kept)
    elif frozen.read_image(folder) == image and request.rollback != "hold":
        kept = stepback.step_back(backing, folder)
        if previous != image:
            _tell_step_back(request, previous, image, kept)
    elif not backing.find_kind("upper"):
        stepback.take_back(backing, folder)


def _tell_step_back(request: Request, previous: str, image: str, kept: bool) -> None:
    from overlay_prepare import imagechange

    text = f"back on the image before, with its data; those written since are in {request.backing}/{frozen.UNDONE}"
    if not kept:
        text = "back on the image before, with its data; nothing was written since"
    more = {"undone": f"{request.backing}/{frozen.UNDONE}"} if kept else {}
    _leave(request, BACK, previous, image, NOTICE, text, **more)
    imagechange.announce(request, previous, image, 0, BACK)


def _read_previous(request: Request, backing: Folder) -> "str | None":
    """The identity of the image of the boot before, None where it can't be read, which is reported. Raises Unusable."""
    try:
        return stamp.read_previous(backing)
    except OSError as error:
        text = f"nobody knows whose data are frozen below which: {describe(error)}"
        if request.rollback == "no":
            raise Unusable(text) from error
        say(WARNING, f"{request.where}: {text}")
        return None


def _is_committed(request: Request, backing: Folder, previous: str) -> bool:
    """True if the operator has said so, or the mark of a good boot is there for long enough."""
    if backing.find_kind(frozen.COMMIT) == "f":
        return True
    if request.commit in ("manual", "next-update"):
        return False
    try:
        marked, since = frozen.read_good(backing)
    except OSError as error:
        # It only says when to fold, which can wait.
        say(WARNING, f"{request.where}: it is not known whether the data are confirmed: {describe(error)}")
        return False
    return bool(previous) and marked == previous and frozen.is_confirmed(request.commit, since)


def _has_to_move(request: Request, backing: Folder) -> bool:
    """True if something that lies in two layers is to be passed through now."""
    if not request.direct:
        return False
    from overlay_prepare import freeze

    layer = f"{frozen.NAME}/{frozen.LAYER}"
    return bool(freeze.find_moving(request, backing, layer))
