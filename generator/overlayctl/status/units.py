# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The states of units, by one call of systemctl(1)."""

from dataclasses import dataclass

_PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "ConditionResult",
    "ConditionTimestampMonotonic",
    "ActiveEnterTimestampMonotonic",
)


@dataclass(frozen=True)
class UnitState:
    """One unit as systemd has it; `entered`: when it became active, in seconds after boot, 0 if it never did.

    `condition` is False if its conditions did not hold when it was to be started.
    """

    name: str
    load: str
    active: str
    sub: str
    result: str
    condition: bool
    entered: float


class Missing(Exception):
    """systemd can't be asked; the text says why."""


def read(names: "list[str]") -> "dict[str, UnitState]":
    """The states of the units `names`, by their names. Raises Missing."""
    import os

    # sd_booted(3)
    if not os.path.isdir("/run/systemd/system"):
        raise Missing("systemd does not run here: states of units are not shown")
    import subprocess

    command = ["systemctl", "show", "--no-pager", f"--property={','.join(_PROPERTIES)}", "--", *names]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="surrogateescape", timeout=10, check=False
        )
    except FileNotFoundError:
        raise Missing("systemctl is missing: states of units are not shown") from None
    except subprocess.TimeoutExpired:
        raise Missing("systemd does not answer: states of units are not shown") from None
    if done.returncode:
        reason = done.stderr.strip().split("\n")[0]
        raise Missing(f"systemctl: {reason}: states of units are not shown")
    return parse(done.stdout)


def parse(text: str) -> "dict[str, UnitState]":
    """The states in the output of `systemctl show`: lines of properties, an empty line between two units. Pure."""
    states = {}
    for block in text.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.split("\n") if "=" in line)
        if "Id" not in values:
            continue
        entered = values.get("ActiveEnterTimestampMonotonic", "")
        # The result is "no" as well where nothing was ever checked; then this is 0 (org.freedesktop.systemd1(5)).
        checked = values.get("ConditionTimestampMonotonic", "") not in ("", "0")
        states[values["Id"]] = UnitState(
            values["Id"],
            values.get("LoadState", ""),
            values.get("ActiveState", ""),
            values.get("SubState", ""),
            values.get("Result", ""),
            not checked or values.get("ConditionResult", "yes") == "yes",
            int(entered) / 1e6 if entered.isdigit() else 0.0,
        )
    return states
