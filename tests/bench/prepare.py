# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a persistent upper layer costs at a boot: run by boot.py, as root in a mount namespace of its own.

    unshare -m python3 tests/bench/prepare.py LIBRARY SCRATCH

LIBRARY is where the package is installed, SCRATCH an empty directory on a file system that can hold an upper layer.
Prints one figure per line: prepare's CPU time if nothing has changed over that of a bare interpreter, and the time of
normalising an upper layer of 100,000 files over that of find(1), with all files looked at and with directories alone.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

INTERPRETER = ["/usr/bin/python3", "-ISB"]
PAIRS = 51
FILES, IN_EACH = 100_000, 100


def main() -> int:
    """0 after printing the figures."""
    library, scratch = sys.argv[1], Path(sys.argv[2])
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    print(measure_prepare(library, scratch))
    for ratio in measure_normalise(library, scratch):
        print(ratio)
    return 0


def measure_prepare(library: str, scratch: Path) -> float:
    """The median of paired runs."""
    where, backing = scratch / "var", scratch / "backing"
    for path in (where, backing):
        path.mkdir()
    subprocess.run(["mount", "--bind", backing, backing], check=True)
    ours = [*INTERPRETER, f"{library}/prepare", f"--mount={backing}", str(where), str(backing)]
    cpu_seconds(ours)
    return statistics.median(cpu_seconds(ours) / cpu_seconds([*INTERPRETER, "-c", "pass"]) for _ in range(PAIRS))


def measure_normalise(library: str, scratch: Path) -> "list[float]":
    """With and without the files, both in this process, as the interpreter's start is not what is measured."""
    sys.path.insert(0, library)
    from overlay_prepare.folder import open_top
    from overlay_prepare.normalise import normalise

    upper, work = scratch / "upper", scratch / "work"
    work.mkdir()
    for number in range(FILES // IN_EACH):
        directory = upper / str(number)
        directory.mkdir(parents=True)
        for inner in range(IN_EACH):
            (directory / str(inner)).touch()

    def find() -> None:
        subprocess.run(["find", upper, "-printf", ""], check=True)

    def run(files: bool) -> float:
        layers = open_top(str(upper), print), open_top(str(work), print)
        return seconds(lambda: normalise(*layers, files=files)) / seconds(find)

    find()
    return [statistics.median(run(files) for _ in range(5)) for files in (True, False)]


def seconds(step: "Callable[[], object]") -> float:
    """How long `step` takes."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def cpu_seconds(command: "list[str]") -> float:
    """User and system time of one run, in seconds."""
    pid = os.posix_spawn(command[0], command, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{command} ended with status {status}")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    sys.exit(main())
