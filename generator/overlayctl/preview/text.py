# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The text of one finding: a line for a person, or an object of JSON. Pure, as is the summary of all."""

import stat

from overlayctl.layers.entry import describe_entry, spell_type
from overlayctl.output import printable
from overlayctl.preview.finding import (
    CLASH,
    DELETED,
    DROPPED,
    FOLLOWS,
    GONE,
    HIDDEN,
    KINDS,
    LEFT,
    OPENED,
    OWNER,
    SEEDED,
    SHOWN,
    SPACE,
    UNDONE,
    Finding,
)  # fmt: skip
from overlayctl.preview.needs import Needs
from overlayctl.preview.update import Update
from overlayctl.status.space import spell_size

COLOURS = {
    HIDDEN: "yellow", CLASH: "red", DELETED: "yellow", DROPPED: "red", FOLLOWS: "green", OPENED: "cyan",
    SHOWN: "green", GONE: "dim", SEEDED: "cyan", LEFT: "red", UNDONE: "yellow", OWNER: "red", SPACE: "red",
}  # fmt: skip
# The version of packaging/schemas/preview.json: it goes up when a name is removed or gets another meaning.
SCHEMA = 1
SUMMARY = "summary"
_REASONS = {
    "new": "new in the new image", "unknown": "perhaps newer: the old image is not known",
    "below": "the new image's has changes in it",
}  # fmt: skip


def spell_line(finding: Finding, path: str) -> str:
    """The line for `finding` at the absolute `path`: kind, size, path, and in parentheses the details."""
    info = finding.here or finding.new or finding.old
    name = path if path.isprintable() else printable(path)
    if info is not None and stat.S_ISDIR(info.st_mode) and not name.endswith("/"):
        name += "/"
    size = f"{spell_size(finding.size):>10}" if finding.size else " " * 10
    details = _spell_details(finding)
    return f"{finding.kind:<9}{size}  {name}{f'  ({details})' if details else ''}"


def describe(finding: Finding, path: str) -> "dict[str, object]":
    """`finding` at the absolute `path` for json.dumps(): bytes that are not UTF-8 are lone surrogates."""
    found: dict[str, object] = {"schema": SCHEMA, "kind": finding.kind, "path": path, "size": finding.size}
    if finding.what:
        found["what"] = list(finding.what)
    if finding.text:
        found["text"] = finding.text
    if finding.entries != 1:
        found["entries"] = finding.entries
    for key, info in (("here", finding.here), ("old", finding.old), ("new", finding.new)):
        found[key] = describe_entry(info)
    return found


def describe_summary(
    update: Update,
    counts: "dict[str, tuple[int, int]]",
    entries: int,
    needed: Needs,
    free: "tuple[int, int | None] | None",
) -> "dict[str, object]":
    """The summary of a whole overlay, for json.dumps()."""
    return {
        "schema": SCHEMA,
        "kind": SUMMARY,
        "path": update.where,
        "policy": update.policy,
        "asked": update.asked,
        "asked_by": update.source,
        "entries": entries,
        "counts": {kind: {"count": counts[kind][0], "size": counts[kind][1]} for kind in KINDS if kind in counts},
        "needs": {"size": needed.size, "inodes": needed.inodes, "seconds": round(needed.seconds, 1)},
        "free": None if free is None else {"size": free[0], "inodes": free[1]},
        "rollback": update.rollback,
        "notes": list(update.notes),
    }


def spell_summary(
    update: Update,
    counts: "dict[str, tuple[int, int]]",
    entries: int,
    needed: Needs,
    free: "tuple[int, int | None] | None",
) -> str:
    """The same for a person, with a line break at the end."""
    rows = [(kind, *counts[kind]) for kind in KINDS if kind in counts]
    policy = f"Policy={update.policy}"
    policy += f" ({update.source})" if update.policy == update.asked else f", not {update.asked} ({update.source})"
    lines = [f"{update.where}: {entries} entries, {policy}"]
    lines += [f"  note: {note}" for note in update.notes]
    lines += [f"  {kind:<9}{count:>9}  {spell_size(size):>10}  {KINDS[kind]}" for kind, count, size in rows]
    if not rows:
        lines.append("  nothing is hidden, lost or gained")
    room = "" if free is None else f" of {spell_size(free[0])} that are free"
    if free is not None and free[1] is not None:
        room += f" ({free[1]} inodes)"
    took = f"about {needed.seconds:.0f} s" if needed.seconds >= 1 else "less than 1 s"
    lines.append(f"  the step takes {spell_size(needed.size)} and {needed.inodes} inodes{room}, and {took}")
    return "".join(f"{printable(line)}\n" for line in lines)


def _spell_details(finding: Finding) -> str:
    if finding.text:
        return printable(finding.text)
    if finding.kind == CLASH and finding.here and finding.new:
        return f"a {spell_type(finding.here)} here, a {spell_type(finding.new)} in the new image"
    if finding.kind in (DROPPED, UNDONE) and finding.what:
        return "its deletion"
    if finding.kind in (HIDDEN, DELETED):
        words = [_REASONS[word] for word in finding.what if word in _REASONS]
        changed = ", ".join(word for word in finding.what if word not in _REASONS)
        return "; ".join([*words, *([f"the new image's has another {changed}"] if changed else [])])
    return ""
