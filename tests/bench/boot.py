# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a boot pays for the generator: `make bench`. Ratios of paired runs and counts, beside their limits.

Not a test: the times of a shared machine are for people to judge. What can be counted is asserted in test_imports.py
and test_syscalls.py.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
INTERPRETER = ["/usr/bin/python3", "-ISB"]
BARE = [*INTERPRETER, "-c", "pass"]
ENVIRON = {"PATH": "/usr/bin:/bin", "SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "0"}
ON, OFF = "quiet overlayfs.mounts=/var", "quiet"
PAIRS = 101


def main() -> int:
    """Print the figures; 0."""
    with tempfile.TemporaryDirectory() as scratch:
        prefix, out = Path(scratch, "usr"), Path(scratch, "out")
        subprocess.run(["make", "-s", "-C", REPOSITORY, "install", f"PREFIX={prefix}"], check=True)
        ours = [*INTERPRETER, f"{prefix}/lib/systemd/system-generators/overlay-generator", str(out)]

        def ratio(measure: "Callable[[list[str], str], float]", cmdline: str, count: int) -> float:
            pairs = []
            for _ in range(count):
                bare = measure(BARE, cmdline)
                _empty(out)
                pairs.append(measure(ours, cmdline) / bare)
            return statistics.median(pairs)

        print(f"{'':44} {'here':>8} {'at most':>8}")
        _row("CPU time, flag on : bare interpreter", ratio(_cpu_seconds, ON, PAIRS), 1.40)
        _row("CPU time, flag off : bare interpreter", ratio(_cpu_seconds, OFF, PAIRS), 1.15)
        if shutil.which("valgrind"):
            _row("instructions, flag on : bare interpreter", ratio(_instructions, ON, 1), None)
            _row("instructions, flag off : bare interpreter", ratio(_instructions, OFF, 1), None)
        else:
            print("instructions: valgrind is not installed")
        _row("CPU time, 1000 lines of fstab : one line", _fstab_ratio(scratch, ours, out), 2.0)
        if shutil.which("strace"):
            _empty(out)
            opened = _files_opened(ours, scratch) - _files_opened(BARE, scratch)
            _row("files opened over a bare interpreter", opened, 19)
        _show_persistent(f"{prefix}/lib/overlay-generator", Path(scratch, "persistent"))
    return 0


def _show_persistent(library: str, scratch: Path) -> None:
    if os.geteuid() != 0:
        print("persistent upper layers: mounts need root")
        return
    scratch.mkdir()
    command = [
        "unshare",
        "-m",
        "--propagation",
        "private",
        sys.executable,
        str(Path(__file__).with_name("prepare.py")),
    ]
    done = subprocess.run([*command, library, scratch], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    prepare, every, directories = (float(line) for line in done.stdout.split())
    _row("persistent prepare, nothing changed", prepare, 1.5)
    # Where a reference of a file can't be followed in the new image, files are not looked at: see identity.find_uuid().
    _row("normalising 100,000 files : find", directories, 2.0)
    _row("the same where each file is looked at", every, None)


def _row(name: str, value: float, limit: "float | None") -> None:
    number = f"{value:.2f}" if isinstance(value, float) else str(value)
    print(f"{name:44} {number:>8} {'' if limit is None else f'{limit:.2f}'.rstrip('0').rstrip('.'):>8}")


def _empty(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()


def _cpu_seconds(command: "list[str]", cmdline: str, fstab: str = "/dev/null") -> float:
    """User and system time of one run, in seconds."""
    pid = os.posix_spawn(command[0], command, {**ENVIRON, "SYSTEMD_PROC_CMDLINE": cmdline, "SYSTEMD_FSTAB": fstab})
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"{command} ended with status {status}")
    return usage.ru_utime + usage.ru_stime


def _instructions(command: "list[str]", cmdline: str) -> float:
    """Instructions of one run, as callgrind counts them."""
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
    environ = {**ENVIRON, "SYSTEMD_PROC_CMDLINE": cmdline, "SYSTEMD_FSTAB": "/dev/null"}
    done = subprocess.run(valgrind, env=environ, capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found
    return float(found[1])


def _fstab_ratio(scratch: str, ours: "list[str]", out: Path) -> float:
    """A run with 1000 lines of fstab over one with a single line, median of paired runs."""
    line = "UUID=0f3dcc1a-7d0f-4f6b-9d2c-{0:012d} /srv/{0} ext4 defaults,nofail,x-systemd.device-timeout=30s 0 2\n"
    paths = []
    for count in (1, 1000):
        path = Path(scratch, f"fstab{count}")
        path.write_text("".join(line.format(number) for number in range(count)))
        paths.append(str(path))
    ratios = []
    for _ in range(PAIRS // 2):
        times = []
        for path_name in paths:
            _empty(out)
            times.append(_cpu_seconds(ours, ON, path_name))
        ratios.append(times[1] / times[0])
    return statistics.median(ratios)


def _files_opened(command: "list[str]", scratch: str) -> int:
    """The files that one run opens, without directories."""
    log = Path(scratch, "strace")
    environ = {**ENVIRON, "SYSTEMD_PROC_CMDLINE": ON}
    subprocess.run(["strace", "-f", "-e", "trace=open,openat", "-o", log, *command], env=environ, check=True)
    lines = log.read_text().splitlines()
    return sum(1 for line in lines if "= -1" not in line and "O_DIRECTORY" not in line and "open" in line)


if __name__ == "__main__":
    sys.exit(main())
