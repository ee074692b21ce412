# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What Rollback=yes costs a boot, part of `make bench`: a freeze by the clock, a fold against find(1). As root.

The freeze is the whole work of prepare at the first boot of another image, with nothing that has to be opened for it;
a fold of 100,000 files depends on what the two layers have in common: of two directories the smaller one is moved.
"""

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "generator"))
from overlay_prepare import fitness, fold, frozen, identity, imagechange, layers, persistent, report, rollback
from overlay_prepare.folder import open_top
from overlay_prepare.request import Request

FILES, RUNS = 100_000, 5
# Directories, files in each of them on top, and those frozen in it under other names; -1: the same names.
SHAPES = {
    "in directories that are new": (1000, 100, None, 3.0),
    "in directories with one frozen file each": (1000, 100, 1, None),
    "in 10 directories with 100 frozen files each": (10, 10_000, 100, 3.0),
    "each written again": (1000, 100, -1, None),
    "in directories with as many frozen files": (1000, 100, 100, None),
}


def main() -> int:
    """Print the figures; 0."""
    if os.geteuid() != 0:
        print("Rollback=yes: the marks of directories need root")
        return 0
    print(f"{'':76} {'here':>6} {'at most':>8}")
    freezes = [_measure_freeze() for _ in range(RUNS)]
    _row("freeze of 20,000 files, ms", statistics.median(freezes), 20)
    for name, (directories, above, below, limit) in SHAPES.items():
        _row(f"fold of 100,000 files : find, {name}", _measure_fold(directories, above, below), limit)
        _row(
            "  the same with nothing of the disk in memory, as at a boot",
            _measure_fold(directories, above, below, True),
        )
    return 0


def _measure_freeze() -> float:
    """Milliseconds."""
    # Not in memory, which has no disk to wait for.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        top = Path(name)
        for module in (report, layers, persistent, imagechange, rollback):
            vars(module)["STATE"] = str(top / "state")
        # By a mount, with which it takes the same time whatever is on the disk.
        fitness.probe = lambda *_: None
        where, backing = top / "var", top / "disk"
        (where / "lib/app").mkdir(parents=True)
        backing.mkdir()
        request = Request(str(where), str(backing), str(backing), "ext4", rollback="yes", commit="manual")

        def boot(image: str) -> float:
            identity.identify = lambda *_: image
            with contextlib.redirect_stderr(io.StringIO()), open_top(str(backing), print) as folder:
                return _take_time(lambda: persistent.make_persistent(request, folder))

        boot("IMAGE_VERSION=1\n")
        _fill(backing / "upper/many", 200, 100, "x")
        boot("IMAGE_VERSION=1\n")
        os.sync()
        taken = boot("IMAGE_VERSION=2\n") * 1000
        assert (backing / "frozen/upper/many").is_dir()
        return taken


def _measure_fold(directories: int, above: int, below: "int | None", cold: bool = False) -> float:
    """The time of a fold over that of find(1) on the upper layer."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        top = Path(name)
        (top / "work").mkdir()
        _fill(top / "upper", directories, above, "x")
        (top / "frozen/upper").mkdir(parents=True)
        if below is not None:
            _fill(top / "frozen/upper", directories, above if below < 0 else below, "x" if below < 0 else "y")
        for path in ("image", "frozen/image"):
            (top / path).write_text("IMAGE_VERSION=1\n")
        _settle(cold)
        found = _take_time(lambda: subprocess.run(["find", top / "upper", "-printf", ""], check=True))
        if cold:
            _settle(cold)
        with open_top(name, print) as backing:
            folder = frozen.open_frozen(backing)
            assert folder
            taken = _take_time(lambda: fold.fold(backing, folder))
        return taken / found


def _settle(cold: bool) -> None:
    """Write out what is to be written; `cold`: forget what was read as well, but for find(1) itself."""
    os.sync()
    if cold:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
        subprocess.run(["find", os.devnull, "-printf", ""], check=True)


def _fill(top: Path, directories: int, files: int, name: str) -> None:
    for number in range(directories):
        directory = top / str(number)
        directory.mkdir(parents=True)
        for inner in range(files):
            os.close(os.open(directory / f"{name}{inner}", os.O_CREAT | os.O_WRONLY, 0o644))


def _take_time(step: "Callable[[], object]") -> float:
    """Seconds."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def _row(name: str, value: float, limit: "float | None" = None) -> None:
    print(f"{name:76} {value:>6.1f} {'' if limit is None else f'{limit:.0f}':>8}")


if __name__ == "__main__":
    sys.exit(main())
