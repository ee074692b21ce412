# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ordering proof: which units of an image may use an overlaid directory before it is mounted.

By default a unit starts after basic.target, and so after local-fs.target. One with DefaultDependencies=no is on its
own: systemd orders it only after mounts that it names in the settings below, and after what After= says. A path
anywhere else (a command, a condition, a sandbox) orders nothing (systemd.unit(5), systemd.exec(5), systemd 247 to 262).
"""

import re

from overlay_generator.names import is_below, mount_unit, normalise
from overlayctl.check.finding import Finding, make
from overlayctl.check.image import Image
from overlayctl.check.unitfiles import UnitText, read_all

_MOUNTS_FOR = (
    "RequiresMountsFor",
    "WantsMountsFor",
    "WorkingDirectory",
    "RootDirectory",
    "RootImage",
)
# Below /var/lib, /var/cache and /var/log of a system service; each implies RequiresMountsFor=.
_STATE = {"StateDirectory": "/var/lib", "CacheDirectory": "/var/cache", "LogsDirectory": "/var/log"}
# What the default dependencies order units after, and what comes after that.
_LATE = ("local-fs.target", "sysinit.target", "basic.target", "multi-user.target", "graphical.target")
# PID 1 adds the mounts that these kinds need for their own paths.
_ORDERED_KINDS = (
    ".mount", ".automount", ".swap", ".socket", ".path", ".timer", ".slice", ".scope", ".target", ".device",
)  # fmt: skip
_SANDBOX = frozenset((
    "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "BindReadOnlyPaths", "ExecPaths",
    "NoExecPaths",
))  # fmt: skip
_PATH = re.compile(r"(?<![\w./])(/[\w.@%+:/-]+)")


def check(image: Image, wheres: "tuple[str, ...]") -> "list[Finding]":
    """A finding for each early unit that uses one of the directories `wheres` and is not ordered after its mount."""
    units = read_all(image)
    findings = []
    for where in wheres:
        ordered = find_ordered(units, where)
        for name in sorted(units):
            use = find_use(units[name], where)
            if use and name not in ordered and is_early(units[name]):
                path, source, line = use
                dropin = f"/etc/systemd/system/{name}.d/overlay.conf"
                words = {"path": path, "mount": mount_unit(where), "dropin": dropin}
                findings.append(make("unordered-unit", source, line, **words))
    return findings


def is_early(unit: UnitText) -> bool:
    """True for a service without the default dependencies; other kinds get the mounts of their paths from systemd."""
    if "/etc/initrd-release" in unit.words("ConditionPathExists", "AssertPathExists"):
        return False  # it runs in the initrd alone, where nothing is overlaid
    return not unit.name.endswith(_ORDERED_KINDS) and not unit.is_true("DefaultDependencies", True)


def find_use(unit: UnitText, where: str) -> "tuple[str, str, int] | None":
    """The first path at or below `where` that `unit` names, with its place, None if it names none."""
    for key, values in unit.settings.items():
        if key in ("Description", "Documentation", "SourcePath", "RequiresMountsFor", "WantsMountsFor"):
            continue
        for value, source, line in values:
            if key == "PrivateTmp" and value == "disconnected" and is_inside("/var/tmp", where):
                return "/var/tmp", source, line  # it mounts there, and is ordered after nothing (systemd 257)
            for found in _PATH.findall(_expand(value)):
                path = normalise(found.split(":")[0] if key in _SANDBOX else found)
                if is_inside(path, where):
                    return path, source, line
    return None


def find_ordered(units: "dict[str, UnitText]", where: str) -> "set[str]":
    """The units that start after the overlay on `where`, directly or through others."""
    mount = mount_unit(where)
    after: dict[str, set[str]] = {name: set(unit.words("After")) for name, unit in units.items()}
    for name, unit in units.items():
        for other in unit.words("Before"):
            after.setdefault(other, set()).add(name)
    ordered = {mount, *_LATE}
    ordered |= {name for name, unit in units.items() if not is_early(unit) and not unit.name.endswith(".target")}
    ordered -= {name for name, unit in units.items() if not unit.is_true("DefaultDependencies", True)}
    ordered |= {mount, *_LATE} | {name for name, unit in units.items() if _needs_mount(unit, where)}
    followers: dict[str, list[str]] = {}
    for name, others in after.items():
        for other in others:
            followers.setdefault(other, []).append(name)
    pending = list(ordered)
    while pending:
        for name in followers.get(pending.pop(), ()):
            if name not in ordered:
                ordered.add(name)
                pending.append(name)
    return ordered


def is_inside(path: str, where: str) -> bool:
    """True if `path` is `where` or lies below it."""
    return path == where or is_below(path, where)


def _expand(value: str) -> str:
    """`value` with the specifiers of the state directories resolved, as the system manager has them."""
    for specifier, path in (("%S", "/var/lib"), ("%C", "/var/cache"), ("%L", "/var/log"), ("%V", "/var/tmp")):
        value = value.replace(specifier, path)
    return value


def _needs_mount(unit: UnitText, where: str) -> bool:
    """True if systemd itself orders `unit` after the mount at `where`, by what it says it needs."""
    paths = [path.lstrip("-~!") for path in unit.words(*_MOUNTS_FOR)]
    paths += [f"{top}/{word.partition(':')[0]}" for key, top in _STATE.items() for word in unit.words(key)]
    if unit.values("PrivateTmp")[-1:] and unit.is_true("PrivateTmp", False):
        paths.append("/var/tmp")
    return any(is_inside(normalise(path), where) for path in paths)
