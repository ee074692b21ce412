# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Write docs/boot-cost.md and its plot from what cost.py has measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from costplot import LICENCE, Bar, draw
from costways import GENERATORS, NO_GENERATOR, WAYS

Rounds = Sequence[Mapping[str, Mapping[str, float]]]
COLUMNS = {
    "generators": "generators",
    "writable": "/var writable",
    "flush": "journal flushed",
    "local-fs": "local-fs.target",
    "multi-user": "multi-user",
}
MOMENTS = ("writable", "flush", "local-fs", "multi-user")
# What is compared with what, by which time, and the figure that was set as the limit.
RATIOS = (
    ("ours", "static", "writable", 1.05),
    ("ours", "static", "multi-user", 1.05),
    ("ours-10", "factory-10", "writable", 1.0),
    ("ours-500", "factory-500", "writable", 1.0),
    ("flag-off", "nothing", "multi-user", 1.05),
)
TITLES = {way.name: way.title for way in WAYS}

HEAD = """\
# What it costs at boot

Made by `sudo python3 tests/boot/cost.py --rounds {count}`; the figures are in [boot-cost.json](boot-cost.json).
Debian {suite}, a squashfs root in QEMU ({accelerator}, {processors} processor{plural}, clock: {clock}).
All rows use the same base image, and differ only in the way to a writable `/var`.
They were booted in turn, in {count} round{rounds}.
Figures are seconds since systemd began to run its generators: the median, with minimum and maximum in brackets.
What systemd does before that is the same for all; it varied by more than a second.

{explained}
![Time until /var is writable and until multi-user.target](boot-cost.svg)

"""
BY_INSTRUCTIONS = """\
The machine's clock counts the instructions that it executes, 8 ns each, and its root file system is in its memory while
it runs. So the host's load does not affect the figures, and a difference between two of them is work done, not noise. A
real device also waits for its flash, whichever way it uses.

"""


def write_page(found: Mapping[str, Any], docs: Path) -> None:
    """Write the page and its plot into a directory."""
    rounds = _since_the_generators(found["rounds"])
    by_instructions = "icount" in str(found["clock"])
    text = HEAD.format(
        suite=found["suite"],
        accelerator=found["accelerator"],
        processors=found["processors"],
        plural="" if found["processors"] == 1 else "s",
        clock=f"`{found['clock']}`" if by_instructions else found["clock"],
        count=len(rounds),
        rounds="" if len(rounds) == 1 else "s",
        explained=BY_INSTRUCTIONS if by_instructions else "",
    )
    text += "\n".join(
        [*_table(rounds), "", "## Compared within each round", "", *_ratios(rounds), "", *_generators(rounds)]
    )
    if "side by side" in found:
        text += "\n".join(["", "", *_side_by_side(found["side by side"])])
    (docs / "boot-cost.md").write_text(f"{text}\n\n{LICENCE}")
    bars = [
        Bar(way.title, _median(rounds, way.name, "writable"), _median(rounds, way.name, "multi-user") or 0.0)
        for way in WAYS
        if way.name in rounds[0]
    ]
    (docs / "boot-cost.svg").write_text(draw(bars))


def _since_the_generators(rounds: Rounds) -> Rounds:
    """Return the same rounds with all moments counted from the start of the generators."""
    return [
        {
            way: {key: value - times["GeneratorsStart"] if key in MOMENTS else value for key, value in times.items()}
            for way, times in each.items()
        }
        for each in rounds
    ]


def _median(rounds: Rounds, way: str, key: str) -> float | None:
    values = [times[way][key] for times in rounds if key in times[way]]
    return median(values) if values else None


def _table(rounds: Rounds) -> list[str]:
    lines = [f"| way | {' | '.join(COLUMNS.values())} |", f"|---|{'---|' * len(COLUMNS)}"]
    for way in WAYS:
        cells = []
        for key in COLUMNS:
            values = [times[way.name][key] for times in rounds if key in times[way.name]]
            cells.append(f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})" if values else "-")
        lines.append(f"| {way.title} | {' | '.join(cells)} |")
    return lines


def _ratios(rounds: Rounds) -> list[str]:
    lines = ["| time of | divided by that of | until | median ratio | limit | |", "|---|---|---|---|---|---|"]
    for way, other, key, limit in RATIOS:
        ratio = median(times[way][key] / times[other][key] for times in rounds)
        cells = (TITLES[way], TITLES[other], COLUMNS[key], f"{ratio:.3f}", *_judged(ratio, limit))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _judged(ratio: float, limit: float = 1.0) -> tuple[str, str]:
    """Return two cells: a limit, and whether a ratio held it."""
    return f"{limit:.2f}", "held" if ratio <= limit else "**not held**"


def _growth(rounds: Rounds) -> dict[str, list[float]]:
    """Return by how many seconds the phase of the generators was longer in each round, by way."""
    return {
        way: [times[way]["generators"] - times[NO_GENERATOR]["generators"] for times in rounds] for way in GENERATORS
    }


def _generators(rounds: Rounds) -> list[str]:
    """Return what the phase of the generators grows by, beside what the start of an interpreter makes it grow by."""
    growth = _growth(rounds)
    lines = [
        "## The generators",
        "",
        "All generators are started at the same time, and PID 1 waits for the last one. Compared with an image without",
        "overlay-generator, this takes longer by:",
        "",
        "| way | longer by | relative to an empty Python program | limit | |",
        "|---|---|---|---|---|",
    ]
    for way, seconds in growth.items():
        ratio = median(mine / bare for mine, bare in zip(seconds, growth["python"], strict=True))
        limit = "|" if way == "python" else " | ".join(_judged(ratio))
        lines.append(f"| {TITLES[way]} | {median(seconds):.2f} s | {ratio:.2f} | {limit} |")
    python = median(times["ours"]["python"] for times in rounds)
    lines += [
        "",
        f"Alone, with a cold cache, `python3 -ISB -c pass` takes {python:.2f} s there.",
    ]
    return lines


def _side_by_side(found: Mapping[str, Any]) -> list[str]:
    """Return what the phase of the generators grows by where they can run at the same time."""
    rounds: Rounds = found["rounds"]
    start = [median(times[way]["python"] for way in times) for times in rounds]
    lines = [
        f"## The generators, on {found['processors']} processors",
        "",
        f"The same in {len(rounds)} rounds with {found['processors']} processors ({found['accelerator']}), where the",
        "generators really run at the same time. Only the host's clock can measure that, so these figures vary from",
        "run to run. With a cold cache as above, a start of Python alone took",
        f"{median(start):.2f} s ({min(start):.2f}-{max(start):.2f}) in the same boots.",
        "",
        "| way | longer by | relative to a start of Python | limit | |",
        "|---|---|---|---|---|",
    ]
    for way, seconds in _growth(rounds).items():
        ratio = median(mine / bare for mine, bare in zip(seconds, start, strict=True))
        spread = f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
        lines.append(f"| {' | '.join((TITLES[way], spread, f'{ratio:.2f}', *_judged(ratio)))} |")
    return lines
