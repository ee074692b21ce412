# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What becomes of overlays that would wait for themselves: those of decide.py where fstab or the owner's units have a
say in their order. Pure.
"""

from overlay_generator.fstab import find_mounts, is_required
from overlay_generator.model import Backing, FstabEntry, Inputs, Problem, Skipped
from overlay_generator.names import mount_unit
from overlay_generator.ordering import find_backing_cycle, find_cycle, find_suspect
from overlay_generator.requirers import Softened

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
) -> "list[Softened]":
    """Take overlays that wait for themselves out of `accepted`, or back them by memory if the boot may go on so.

    Returns what is not to be required, as it may never be there.
    """
    entries = find_mounts(inputs.entries)
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
    return _expect_missing(inputs, accepted, hints, entries)


def _expect_missing(
    inputs: Inputs, accepted: "dict[str, Backing]", hints: "list[str]", entries: "dict[str, FstabEntry]"
) -> "list[Softened]":
    """Put memory in the place of missing disks that may be on a volume which waits for their overlay."""
    softened: list[Softened] = []
    for where, backing in accepted.items():
        entry, steps = find_suspect(inputs, accepted, where)
        if not entry:
            continue
        hints.append(f"{entry}: {where} is in memory if {entry.what} is on this volume: {'; '.join(steps)}")
        backing.nofail = True
        # Required, such a disk would end in emergency mode, which the same fstab alone does not do.
        softened += [
            Softened("local-fs.target", mount_unit(line), where)
            for line in dict.fromkeys((entry.where, backing.mount))
            if line in entries and is_required(entries[line])
        ]
    return softened


def _describe_cycle(steps: "list[str]") -> str:
    return f"it would have to be there before itself ({'; '.join(steps)})"
