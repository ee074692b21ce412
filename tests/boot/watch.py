# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run QEMU to its end, and do to the machine what is due on the way: give it an order, or cut its power."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

POLL = 0.05


@dataclass(frozen=True)
class Event:
    """Something to be done so many seconds after a line is found in a file, or after the start if no file is given.

    order is a command of QEMU's machine protocol (QMP); without one the power is cut.
    """

    sign: tuple[Path, re.Pattern[str]] | None
    after: float
    order: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Ended:
    """How a machine ended: after how many seconds, by itself or not, and QEMU's own exit status."""

    seconds: float
    timed_out: bool
    status: int
    cut: bool = False


def run_until(argv: Sequence[str], timeout: float, log: Path, events: Sequence[Event] = ()) -> Ended:
    """Run QEMU, do what the events say, and return how it ended; timeout is in seconds.

    Raises FileNotFoundError when a command is not installed.
    """
    # A machine must not outlive its runner, however that ends.
    words = ["setpriv", "--pdeathsig", "KILL", *argv]
    orders = any(event.order is not None for event in events)
    started = time.monotonic()
    with log.open("w") as out:
        out.write(f"{argv}\n")
        out.flush()
        stdin = subprocess.PIPE if orders else subprocess.DEVNULL
        process = subprocess.Popen(words, stdin=stdin, stdout=out, stderr=subprocess.STDOUT)
        cut = timed_out = False
        try:
            if events:
                cut = _watch(process, events, started, timeout)
            else:
                process.wait(timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            process.kill()
            status = process.wait()
            if process.stdin is not None:
                process.stdin.close()
    return Ended(time.monotonic() - started, timed_out, status, cut)


def _watch(process: subprocess.Popen[bytes], events: Sequence[Event], started: float, timeout: float) -> bool:
    """Return True once the power is to be cut, False when the machine has ended by itself.

    Raises TimeoutExpired.
    """
    due: dict[int, float] = {}
    if process.stdin is not None:
        _tell(process.stdin, {"execute": "qmp_capabilities"})
    done: set[int] = set()
    while process.poll() is None:
        now = time.monotonic()
        if now > started + timeout:
            raise subprocess.TimeoutExpired(process.args, timeout)
        for number, event in enumerate(events):
            if number not in due and _has_come(event):
                due[number] = (started if event.sign is None else now) + event.after
            if number in due and number not in done and now >= due[number]:
                if event.order is None:
                    return True
                done.add(number)
                if process.stdin is not None:
                    _tell(process.stdin, event.order)
        time.sleep(POLL)
    return False


def _has_come(event: Event) -> bool:
    if event.sign is None:
        return True
    file, line = event.sign
    return file.exists() and line.search(file.read_text("latin-1")) is not None


def _tell(orders: IO[bytes], order: Mapping[str, object]) -> None:
    orders.write(json.dumps(order).encode() + b"\n")
    orders.flush()
