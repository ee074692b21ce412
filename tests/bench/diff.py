# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What overlayctl diff takes for a million entries, against find(1) over the same layers.

    python3 tests/bench/diff.py [ENTRIES] [flat]

Every second entry has a file of another size in the image. Prints times (of the clock, and of all processors), the
ratio to find, when the first line came, and the largest memory of a process. `flat`: all in one directory. Needs root
and 3 GB of memory for a tmpfs; run it where nothing else runs.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> int:
    """0 after printing what was measured."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    size = count if "flat" in sys.argv else 1000
    with tempfile.TemporaryDirectory() as top:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size=3G,nr_inodes={3 * count + 10000}", "tmpfs", top], check=True
        )
        try:
            fill(top, count, size)
            layers = [f"{top}/upper", f"{top}/lower"]
            find = min(measure(["find", *layers, "-printf", "%p %s %m\n"]) for _ in range(3))
            words = ["diff", "--upper", layers[0], "--lower", layers[1]]
            for more in ([], ["--name-only"], ["--stat"]):
                command = [sys.executable, "-m", "overlayctl", *words, *more]
                wall, processors, first = min(measure(command) for _ in range(3))
                print(f"diff {' '.join(more):<12} {wall:.2f} s, {wall / find[0]:.2f} x find", end="; ")
                print(f"processors {processors:.2f} s, {processors / find[1]:.2f} x; first line after {first:.2f} s")
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
            print(f"find {find[0]:.2f} s, processors {find[1]:.2f} s; largest process {memory} MiB")
        finally:
            subprocess.run(["umount", top], check=True)
    return 0


def fill(top: str, count: int, size: int) -> None:
    """`count` files of a few bytes in the upper layer, half of them in the lower as well, `size` in a directory."""
    for number in range(0, count, size):
        directories = [f"{top}/{layer}/lib/d{number // size // 10:03}/e{number}" for layer in ("upper", "lower")]
        for directory in directories:
            os.makedirs(directory)
        for i in range(min(size, count - number)):
            for directory, length in zip(directories if i % 2 else directories[:1], (i % 7 + 8, i % 7 + 1)):
                fd = os.open(f"{directory}/file-{i:06}.conf", os.O_CREAT | os.O_WRONLY, 0o644)
                # A hole: a tmpfs would take a page for each.
                os.truncate(fd, length)
                os.close(fd)


def measure(command: "list[str]") -> "tuple[float, float, float]":
    """Seconds by the clock, of all processors, and until the first byte of output."""
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY / "generator")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ, bufsize=0) as process:
        assert process.stdout
        process.stdout.read(1)
        first = time.monotonic() - start
        while process.stdout.read(1 << 20):
            pass
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, first


if __name__ == "__main__":
    sys.exit(main())
