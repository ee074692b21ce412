# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run one step of a build: a named command whose output goes to a log file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class StepFailed(Exception):
    """A step of a build went wrong; the text says which one and where its log is."""


def run_step(
    step: str,
    argv: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 900,
) -> None:
    """Run a command, append its output to the log, return nothing.

    Raises StepFailed when the command is missing, takes too long or exits with another status than 0.
    """
    words = [str(word) for word in argv]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        out.write(f"## {step}: {' '.join(words)}\n".encode())
        out.flush()
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **env} if env else None,
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError as error:
            raise StepFailed(f"step '{step}': command not found: {error.filename}") from error
        except subprocess.TimeoutExpired as error:
            raise StepFailed(f"step '{step}': still running after {timeout:.0f} s; log: {log}") from error
    if done.returncode != 0:
        raise StepFailed(f"step '{step}': {words[0]} exited with status {done.returncode}; log: {log}")


def output_of(step: str, argv: Sequence[str | Path], *, accept: Sequence[int] = (0,)) -> str:
    """Return what a command prints on standard output.

    Raises StepFailed when the command is missing or its exit status is not among those accepted.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise StepFailed(f"step '{step}': command not found: {error.filename}") from error
    if done.returncode not in accept:
        raise StepFailed(f"step '{step}': {words[0]} exited with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def missing_tools(names: Sequence[str]) -> list[str]:
    """Return those of the named commands that are not installed."""
    return [name for name in names if shutil.which(name) is None]
