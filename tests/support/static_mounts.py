# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Carries out static units with real mounts, as PID 1 would: run as root by test_units_mounts.py.

    unshare -m python3 static_mounts.py ROOT TOOLS CMDLINE CHECK [BETWEEN]

ROOT is an image's tree with rendered units, TOOLS a directory of commands that go before the machine's, CMDLINE the
kernel command line, CHECK a shell script that runs in ROOT when all is done. With BETWEEN, a script too, the units are
then stopped, BETWEEN runs, and they are started again, as somebody may do on a running machine. mountns.py does much of
the work; the conditions here are those that only static units have.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from mountns import Settings, commands, is_mounted, order, read_unit, run

BOOT_ID = "0123456789abcdef0123456789abcdef"


def main() -> int:
    """The exit status of the check. Raises CalledProcessError if a command of the units fails."""
    root, tools = Path(sys.argv[1]), Path(sys.argv[2])
    words = shlex.split(sys.argv[3])
    units = root / "usr/lib/systemd/system"
    # Except for those that are there to fail.
    files = (path for path in units.glob("*.*") if path.is_file() and not path.name.startswith("overlay-"))
    loaded = {path.name: read_unit(path) for path in files}
    run("mount", "--bind", root, root)
    run("mount", "--make-shared", root)
    run("mount", "-t", "tmpfs", "run", root / "run")
    for name in ("bin", "sbin", "lib", "lib64", "usr/bin", "usr/sbin"):
        (root / name).mkdir(exist_ok=True)
        below = f"{tools}:/{name}" if name == "bin" else f"{root / name}:/{name}"
        run("mount", "-t", "overlay", "-o", f"lowerdir={below}", name, root / name)
    run("mount", "-t", "overlay", "-o", f"lowerdir={root}/usr/lib:/usr/lib", "lib", root / "usr/lib")
    for name in ("proc", "sys", "dev"):
        (root / name).mkdir(exist_ok=True)
        run("mount", "--rbind", "/" + name, root / name)
    os.chroot(root)
    os.chdir("/")
    start(loaded, words)
    if len(sys.argv) > 5:
        run("umount", "/var")
        run("umount", "/run/buildroot/mounts/var/lower")
        run("sh", "-eu", "-c", sys.argv[5])
        print("started again", flush=True)
        start(loaded, words)
    return subprocess.run(["sh", "-eu"], input=sys.argv[4], text=True, check=False).returncode


def start(loaded: "dict[str, Settings]", words: "list[str]") -> None:
    """Start all units whose conditions hold, each when those before it are done."""
    for name in order(loaded):
        if conditions_hold(loaded[name], words):
            print(f"started {name}", flush=True)
            for command in commands(loaded[name]):
                path = command[0].lstrip("-").replace("%b", BOOT_ID)
                done = subprocess.run([path, *(word.replace("%b", BOOT_ID) for word in command[1:])], check=False)
                if done.returncode and not command[0].startswith("-"):
                    print(f"failed {name}: {' '.join(command)}", flush=True)
                    break


def conditions_hold(settings: Settings, words: "list[str]") -> bool:
    """True if a unit may start: all of its conditions, and one of its triggers if there are any."""
    results: dict[bool, list[bool]] = {False: [], True: []}
    for key, test in CONDITIONS.items():
        for value in settings.get(key, []):
            trigger, wanted = value.startswith("|"), "!" not in value[:2]
            results[trigger].append(test(value.lstrip("|!"), words) == wanted)
    return all(results[False]) and (not results[True] or any(results[True]))


def is_given(value: str, words: "list[str]") -> bool:
    return value in words if "=" in value else any(word.partition("=")[0] == value for word in words)


def is_writable(path: str, _words: "list[str]") -> bool:
    """As systemd has it: also true of what does not exist."""
    return not os.path.exists(path) or not os.statvfs(path).f_flag & os.ST_RDONLY


CONDITIONS = {
    "ConditionKernelCommandLine": is_given,
    "ConditionPathExists": lambda path, _words: os.path.exists(path),
    "ConditionPathIsMountPoint": lambda path, _words: is_mounted(path),
    "ConditionPathIsReadWrite": is_writable,
}


if __name__ == "__main__":
    sys.exit(main())
