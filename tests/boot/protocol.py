# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Read what a test machine wrote to its result port."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

OUTCOME = re.compile(r"(?P<not>not )?ok (?P<name>\S+)(?: - (?P<detail>.*))?")


@dataclass(frozen=True)
class Outcome:
    """The result of one check."""

    name: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that a machine reported; the flags say how far it came."""

    outcomes: tuple[Outcome, ...] = ()
    info: dict[str, str] = field(default_factory=dict)
    attachments: dict[str, str] = field(default_factory=dict)
    stray: tuple[str, ...] = ()
    checks_done: bool = False
    shutdown_done: bool = False


def read_report(text: str) -> Report:
    """Return the report in a text that may end anywhere; lines that mean nothing are kept as stray."""
    outcomes: list[Outcome] = []
    info: dict[str, str] = {}
    attachments: dict[str, list[str]] = {}
    stray: list[str] = []
    said: set[str] = set()
    current: list[str] | None = None
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if line.startswith("|") and current is not None:
            current.append(line[1:])
        elif word == "begin":
            current = attachments.setdefault(rest, [])
        elif word == "end":
            current = None
        elif word == "info":
            key, _, value = rest.partition(" ")
            info[key] = value
        elif line in ("done", "shutdown done"):
            said.add(line)
        elif (match := OUTCOME.fullmatch(line)) is not None:
            outcomes.append(Outcome(match["name"], match["not"] is None, match["detail"] or ""))
        elif line:
            stray.append(line)
    return Report(
        tuple(outcomes),
        info,
        {name: "".join(f"{line}\n" for line in lines) for name, lines in attachments.items()},
        tuple(stray),
        checks_done="done" in said,
        shutdown_done="shutdown done" in said,
    )


def untold(report: Report, wanted: Sequence[str]) -> list[str]:
    """Return the names of wanted checks that the machine did not report."""
    told = {outcome.name for outcome in report.outcomes}
    return [name for name in wanted if name not in told]
