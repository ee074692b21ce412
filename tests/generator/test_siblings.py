"""Other generators of the same parent are waited for, and nobody else."""

import os
import subprocess
import sys
import time

import pytest

from product import REPOSITORY

# A process called (x), as those of PID 1 are, runs two programs: one that takes a while, and ours.
SCRIPT = """
import sys, subprocess, time
sys.path.insert(0, sys.argv[1])
open("/proc/self/comm", "w").write(sys.argv[2])
other = subprocess.Popen(["sleep", sys.argv[3]])
ours = f"import sys; sys.path.insert(0, {sys.argv[1]!r}); from overlay_generator import gather, siblings; "
ours += f"siblings.wait(gather.read_file, {sys.argv[4]})"
start = time.monotonic()
subprocess.run([sys.executable, "-c", ours], check=True)
print(time.monotonic() - start)
other.kill()
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/comm"), reason="there is no /proc here")
@pytest.mark.parametrize(
    ("name", "takes", "limit", "least", "most"),
    [
        ("(sd-executor)", "1.5", "20", 1.0, 19.0),
        ("(generators)", "60", "0.5", 0.4, 30.0),
        ("bash", "60", "30", 0.0, 25.0),
    ],
)
def test_other_generators_are_waited_for(name: str, takes: str, limit: str, least: float, most: float) -> None:
    command = [sys.executable, "-c", SCRIPT, str(REPOSITORY / "generator"), name, takes, limit]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert least <= float(done.stdout) <= most
    assert time.monotonic() - start < 60
