# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What becomes of overlays that would wait for themselves: those of decide.py where fstab or the owner's units have a
say in their order. Pure.
"""

from overlay_generator.model import Backing, FstabEntry, Inputs, Problem, Skipped
from overlay_generator.ordering import find_backing_cycle, find_cycle, find_suspect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def break_cycles(
    inputs: Inputs,
    accepted: "dict[str, Backing]",
    skipped: "list[Skipped]",
    problems: "list[Problem]",
    hints: "list[str]",
    make_memory: "Callable[[Inputs, str], Backing]",
) -> None:
    """Take overlays that wait for themselves out of `accepted`, or back them by memory if the boot may go on so."""
    # Of two lines for one mount point the first counts.
    entries = {entry.where: entry for entry in reversed(inputs.entries)}
    # First what holds upper layers: of two overlays that wait for each other, the one with a good disk keeps it.
    unfit: dict[str, tuple[FstabEntry | None, str, str]] = {}
    for where, backing in list(accepted.items()):
        steps = find_backing_cycle(inputs, accepted, where)
        if steps:
            unfit[where] = (entries.get(backing.mount), backing.source, _describe_cycle(steps))
            if backing.nofail:
                accepted[where] = make_memory(inputs, where)
            else:
                del accepted[where]
    # Then all that is left, in memory or not: the inner ones first, whose place the overlay around them takes.
    for where in sorted(accepted, key=len, reverse=True):
        steps = find_cycle(inputs, accepted, where)
        if steps:
            del accepted[where]
            if where not in unfit:
                skipped.append(Skipped(where, _describe_cycle(steps), "error"))
                # Each step begins with what it is about.
                entry = next((one for one in inputs.entries if any(step.startswith(f"{one} ") for step in steps)), None)
                if entry:
                    text = (
                        f"has to be there before the overlay on {where}, which it waits for ({'; '.join(steps)}); "
                        f"{where} is not overlaid; keep it, and what it waits for, outside of {where}"
                    )
                    problems.append(Problem(text, entry.source, entry.line))
    for where, (entry, source, reason) in unfit.items():
        if where in accepted:
            accepted[where].lost = f"{entry or source} can't hold its upper layer: {reason}"
        else:
            skipped.append(Skipped(where, reason, "error"))
        result = f"{where} is {'in memory' if where in accepted else 'not overlaid'}"
        remedy = f"keep what it is made of, and what that waits for, outside of {where}"
        text = f"can't hold the upper layer of {where}: {reason}; {result}; {remedy}"
        problems.append(Problem(text, entry.source if entry else source, entry.line if entry else 0))
    for where, backing in accepted.items():
        entry, steps = find_suspect(inputs, accepted, where)
        if entry:
            hints.append(_describe_suspect(entry, backing, where, "; ".join(steps)))


def _describe_cycle(steps: "list[str]") -> str:
    return f"it would have to be there before itself ({'; '.join(steps)})"


def _describe_suspect(entry: FstabEntry, backing: Backing, where: str, steps: str) -> str:
    if backing.nofail:
        return f"{entry}: {where} is in memory if {entry.what} is on this volume: {steps}"
    # Whatever we do, fstab's own dependency of local-fs.target fails when the time for the disk is over.
    return f"{entry}: the boot ends in emergency mode if {entry.what} is on this volume, as {where} needs it: {steps}"
