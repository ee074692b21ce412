# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tells others that the image has changed: loaded only in a boot that has found that.

It writes a file NAME.changed to the state directory, as lines that a shell can read, so that a migration is a unit with
ConditionPathExists= and Before= the application. And it removes systemd's own mark that everything is up to date from
the upper layer: ConditionNeedsUpdate= (systemd.unit(5)) compares times, which are all the same in a reproducible image,
and lie in the past where an older image boots.
"""

from overlay_prepare.events import IMAGE_CHANGED
from overlay_prepare.files import WHITEOUT, find_kind
from overlay_prepare.folder import Folder
from overlay_prepare.report import NOTICE, STATE, WARNING, describe, say, spell_count, tell, write
from overlay_prepare.request import Request

CHANGED = "changed"
UPDATED = ".updated"
UPDATABLE = ("/var", "/etc")
_PLAIN = "._:+~-"
# Runs of a version, in the order in which they sort. A tilde sorts before the end, as in Debian's versions and the UAPI
# group's; the end is an empty text.
_TILDE, _TEXT, _DIGITS = range(3)


def forget_updated(where: str, backing: Folder, below: "Folder | None" = None) -> None:
    """Remove systemd's mark from what `where` shows, so that services with ConditionNeedsUpdate= run once more.

    `below` is a layer between the upper one and the image, if there is one.
    """
    try:
        upper = backing.descend("upper") if where in UPDATABLE else None
        if not upper or upper.find_kind(UPDATED) == "d":
            return
        upper.remove_file(UPDATED)
        if find_kind(f"{where}/{UPDATED}") or (below and below.find_kind(UPDATED)):
            # The image's own, which says that everything is up to date. But what was made from the previous image, such
            # as the journal's catalog, is in the upper layer, and hides what this one has.
            upper.mknod(UPDATED, WHITEOUT, 0)
    except OSError as error:
        # Most often a full disk, which is no reason to go without a writable directory.
        text = "services that run once for each image may not run for this one"
        say(WARNING, f"{where}: {text}: {describe(error)}")


def announce(request: Request, old: str, new: str, references: int, data: str = "") -> None:
    """Report the step from the image of `old` to that of `new`, texts of identify(), and write NAME.changed.

    `data` says with Rollback=yes what became of the data: frozen, stepped-back or kept.
    """
    step = describe_step(old, new)
    try:
        leave(request.name, {**step, "DATA": data} if data else step)
    except OSError as error:
        # /run is full, which is no reason to go without a writable directory.
        text = f"migrations don't learn of another image: {describe(error)}"
        say(WARNING, f"{request.where}: {text}")
    fields = {"where": request.where, "policy": request.policy, "references": f"{references}", **step}
    tell(IMAGE_CHANGED, NOTICE, describe_change(request.where, references), fields)


def describe_change(where: str, references: int) -> str:
    """A sentence on a change of the image in which so many `references` were taken out. Pure."""
    gone = spell_count(references, "reference to the old one was", "references to the old one were")
    what = f"{gone} taken out of the upper layer" if references else "nothing in the upper layer refers to the old one"
    return f"{where}: another image; {what}"


def leave(name: str, step: "dict[str, str]") -> None:
    """Write the file for migrations. Raises OSError."""
    write(STATE, f"{name}.{CHANGED}", "".join(f"{key}={_quote(value)}\n" for key, value in step.items()))


def describe_step(old: str, new: str) -> "dict[str, str]":
    """What is known of the images of `old` and `new`, texts of identify(), and whether it is a step back. Pure."""
    before, now = _read_names(old), _read_names(new)
    fields = {"FROM_ID": before.get("IMAGE_ID", ""), "TO_ID": now.get("IMAGE_ID", "")}
    fields["FROM_VERSION"], fields["TO_VERSION"] = _find_version(before), _find_version(now)
    fields["STEP_BACK"] = judge_step(fields["FROM_VERSION"], fields["TO_VERSION"])
    return fields


def judge_step(old: str, new: str) -> str:
    """yes if the version `new` is older than `old`, no if it is not, unknown if one of them is "". Pure.

    Compared by runs of digits and of other characters, as strverscmp(3) and the version format of the UAPI group do.
    """
    if not old or not new:
        return "unknown"
    return "yes" if _split(new) < _split(old) else "no"


def _split(version: str) -> "list[tuple[int, str, str]]":
    runs = [""]
    for character in version:
        if runs[-1] and character.isdecimal() != runs[-1][-1].isdecimal():
            runs.append("")
        runs[-1] += character
    return [_rank(run) for run in [*runs, ""]]


def _rank(run: str) -> "tuple[int, str, str]":
    if run.isdecimal():
        # By their lengths first, as so many nines: int() takes no more than 4300 digits (Python 3.11), and the disk may
        # say anything.
        digits = "".join(str(int(digit)) for digit in run).lstrip("0")
        return _DIGITS, "9" * len(digits), digits
    return _TILDE if run.startswith("~") else _TEXT, "", run


def _read_names(identity: str) -> "dict[str, str]":
    pairs = (line.partition("=") for line in identity.split("\n"))
    return {key: value.strip("\"'") for key, equals, value in pairs if equals}


def read_version(identity: str) -> str:
    """The version of the image of `identity`, a text of identify(), as one word without controls; "" for none. Pure."""
    return _quote(_find_version(_read_names(identity))).strip('"')


def _find_version(names: "dict[str, str]") -> str:
    return names.get("IMAGE_VERSION", "") or names.get("BUILD_ID", "")


def _quote(value: str) -> str:
    """`value` in quotes, of characters that are special to no reader: anybody may have written the old image's note."""
    text = "".join(c if c.isascii() and (c.isalnum() or c in _PLAIN) else "_" for c in value)
    return f'"{text[:200]}"'
