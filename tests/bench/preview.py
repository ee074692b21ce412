# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What overlayctl preview takes for a million entries in the upper layer, against overlayctl diff on the same tree.

    python3 tests/bench/preview.py [ENTRIES] [flat]

The layers are those of diff.py; in the new image every second file of the old one has another size, and the others
are the same and have to be read. Prints times of the clock, the ratio to diff, and the largest memory of a process.
Needs root and 4 GB of memory for a tmpfs; run it where nothing else runs.
"""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from diff import fill, measure


def main() -> int:
    """0 after printing what was measured."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    size = count if "flat" in sys.argv else 1000
    with tempfile.TemporaryDirectory() as top:
        inodes = f"nr_inodes={4 * count + 10000}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=4G,{inodes}", "tmpfs", top], check=True)
        try:
            fill(top, count, size)
            renew(top)
            layers = ["--upper", f"{top}/upper"]
            command = [sys.executable, "-m", "overlayctl"]
            diff, processors, _ = min(measure([*command, "diff", *layers, "--lower", f"{top}/lower"]) for _ in range(3))
            print(f"diff {diff:.2f} s, processors {processors:.2f} s")
            for policy in ("keep", "refresh", "prune", "reset"):
                words = ["preview", f"{top}/new", *layers, "--old", f"{top}/old", "--where", "/var", "--policy", policy]
                wall, took, first = min(measure([*command, *words]) for _ in range(2))
                memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
                print(f"preview {policy:<8} {wall:.2f} s, {wall / diff:.2f} x diff; processors {took:.2f} s", end="; ")
                print(f"first line {first:.2f} s; largest process so far {memory} MiB")
        finally:
            subprocess.run(["umount", top], check=True)
    return 0


def renew(top: str) -> None:
    """Two images with the lower layer of diff.py in /var."""
    for name in ("old", "new"):
        subprocess.run(["mkdir", "-p", f"{top}/{name}"], check=True)
        subprocess.run(["cp", "-a", f"{top}/lower", f"{top}/{name}/var"], check=True)
    for at, _, files in os.walk(f"{top}/new/var"):
        for name in files[::2]:
            path = Path(at, name)
            os.truncate(path, path.stat().st_size + 3)


if __name__ == "__main__":
    sys.exit(main())
