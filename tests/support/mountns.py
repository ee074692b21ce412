# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Carries out emitted units with real mounts: run by test_mounts.py as root in a mount namespace of its own.

    unshare -m python3 mountns.py ROOT UNITS IMAGE CHECK

ROOT is a machine's tree, UNITS the generator's output for it (normal/ and late/), IMAGE what `make install` put
into a DESTDIR, CHECK a shell script's text: it runs in ROOT when everything is mounted, and its exit status is
ours. The ExecStart= lines and the mount units' settings are carried out in the order of their dependencies. systemd
is not run.
"""

import os
import shlex
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

from commands import split_line

Settings = dict[str, list[str]]


def main() -> int:
    """The exit status of the check. Raises CalledProcessError if a command of the units fails."""
    root, units, image = (Path(argument) for argument in sys.argv[1:4])
    # As under systemd: mounts propagate, unless a unit says otherwise.
    run("mount", "--rbind", root, root)
    run("mount", "--make-rshared", root)
    for name in ("bin", "sbin", "lib", "lib64", "proc", "sys", "dev"):
        source, target = Path("/") / name, root / name
        if source.is_symlink():
            target.unlink(missing_ok=True)
            target.symlink_to(source.readlink())
        elif source.is_dir():
            target.mkdir(exist_ok=True)
            run("mount", "--rbind", source, target)
    (root / "usr").mkdir(exist_ok=True)
    run("mount", "-t", "overlay", "-o", f"lowerdir={image}/usr:/usr", "usr", root / "usr")
    files = (path for path in units.rglob("*") if path.is_file() and not path.parent.name.endswith(".d"))
    # Except for those that are there to fail.
    files = (path for path in files if not path.name.startswith("overlay-"))
    loaded = {path.name: read_unit(path) for path in files}
    os.chroot(root)
    os.chdir("/")
    for name in order(loaded):
        if not conditions_hold(loaded[name]):
            print(f"skipped {name}", flush=True)
            continue
        for command in commands(loaded[name]):
            run(command[0].lstrip("-"), *command[1:], check=not command[0].startswith("-"))
    return subprocess.run(["sh", "-eu"], input=sys.argv[4], text=True, check=False).returncode


def run(*command: object, check: bool = True) -> None:
    """Run `command`. Raises CalledProcessError."""
    subprocess.run([str(word) for word in command], check=check)


def read_unit(path: Path) -> Settings:
    """The settings of a unit file, each with all its values, specifiers resolved."""
    settings: Settings = {}
    for line in path.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings.setdefault(key, []).append(value.replace("%%", "%"))
    return settings


def order(loaded: "dict[str, Settings]") -> "list[str]":
    """Unit names, each after those that it must wait for."""
    graph = TopologicalSorter({name: set[str]() for name in sorted(loaded)})
    for name, settings in loaded.items():
        for after in " ".join(settings.get("After", [])).split():
            graph.add(name, after)
        for before in " ".join(settings.get("Before", [])).split():
            graph.add(before, name)
        for wanted in shlex.split(" ".join(settings.get("RequiresMountsFor", []))):
            for other, others in loaded.items():
                where = others.get("Where", ["-"])[0]
                if other != name and (wanted == where or wanted.startswith(where + "/")):
                    graph.add(name, other)
        if "Where" in settings:
            for other, others in loaded.items():
                where = others.get("Where", ["-"])[0]
                if settings["Where"][0].startswith(where + "/"):
                    graph.add(name, other)
    return [name for name in graph.static_order() if name in loaded]


def conditions_hold(settings: Settings) -> bool:
    """True if every condition of a unit holds."""
    results = []
    for value in settings.get("ConditionPathIsMountPoint", []):
        results.append(is_mounted(value.lstrip("!")) != value.startswith("!"))
    for value in settings.get("ConditionPathIsReadWrite", []):
        results.append(is_writable(value.lstrip("!")) != value.startswith("!"))
    for value in settings.get("ConditionPathExists", []):
        results.append(os.path.exists(value.lstrip("!")) != value.startswith("!"))
    results.extend(os.path.isdir(value) for value in settings.get("ConditionPathIsDirectory", []))
    return all(results)


def is_writable(path: str) -> bool:
    """True if `path` is there and not on a read-only mount, as systemd.unit(5) has it."""
    return os.path.exists(path) and not os.statvfs(path).f_flag & os.ST_RDONLY


def is_mounted(path: str) -> bool:
    """True if `path` is a mount point; os.path.ismount() does not see a bind mount on its own file system."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4].replace("\\040", " ").replace("\\134", "\\") == path for line in lines)


def commands(settings: Settings) -> "list[list[str]]":
    """What PID 1 would execute for a unit."""
    if "Where" in settings:
        where = settings["Where"][0]
        os.makedirs(where, exist_ok=True)
        return [["mount", settings["What"][0], where, "-t", settings["Type"][0], "-o", settings["Options"][0]]]
    return [split_line(line) for line in settings["ExecStart"]]


if __name__ == "__main__":
    sys.exit(main())
