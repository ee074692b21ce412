# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What overlayctl preview costs against overlayctl diff on the same tree: the part of tests/bench/preview.py for CI."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from product import REPOSITORY
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="an upper layer needs root")

ENTRIES = 15000
MOST = 150 << 10  # KiB
# In a process of its own: that of the tests has had other children, which may have been larger.
LARGEST = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPOSITORY / "tests/bench"))
    spec = importlib.util.spec_from_file_location("bench_preview", REPOSITORY / "tests/bench/preview.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("size", [1000, ENTRIES], ids=["directories", "flat"])
def test_at_most_twice_the_time_of_diff(size: int, bench: ModuleType, tmp_path: Path) -> None:
    """Of all processors together: that of the clock goes by what else a machine does."""
    top = str(tmp_path)
    bench.fill(top, ENTRIES, size)
    bench.renew(top)
    layers = ["--upper", f"{top}/upper"]
    command = [sys.executable, "-m", "overlayctl"]
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY / "generator")}
    taken = [bench.measure([*command, "diff", *layers, "--lower", f"{top}/lower"])[1] for _ in range(3)]
    for policy in ("keep", "refresh", "prune", "reset"):
        words = ["preview", f"{top}/new", *layers, "--old", f"{top}/old", "--where", "/var", "--policy", policy]
        needed = min(bench.measure([*command, *words])[1] for _ in range(3))
        assert needed < 2 * min(taken), f"{policy}: {needed:.2f} s, diff {min(taken):.2f} s"
        largest = subprocess.run(
            [sys.executable, "-c", LARGEST, *command, *words], env=environ, capture_output=True, check=True
        )
        assert int(largest.stdout) < MOST


def test_owners_that_move_are_not_what_takes_the_time(bench: ModuleType, tmp_path: Path) -> None:
    """Each entry has to be looked at then, also what neither image has."""
    top = str(tmp_path)
    bench.fill(top, ENTRIES, 1000)
    bench.renew(top)
    for name, user in (("old", "app"), ("new", "ntp")):
        fill(tmp_path / name, f"etc/passwd={user}:x:990:990::/:/bin/sh\n")
    layers = ["--upper", f"{top}/upper"]
    command = [sys.executable, "-m", "overlayctl"]
    taken = min(bench.measure([*command, "diff", *layers, "--lower", f"{top}/lower"])[1] for _ in range(3))
    words = ["preview", f"{top}/new", *layers, "--old", f"{top}/old", "--where", "/var"]
    needed = min(bench.measure([*command, *words])[1] for _ in range(3))
    assert needed < 2 * taken, f"{needed:.2f} s, diff {taken:.2f} s"
