"""Read the scenario files: which machine to boot, how often, and what must be true then."""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass
from pathlib import Path

from hostchecks import HOST_CHECKS

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
CHECK = re.compile(r"(?P<must_fail>!?)(?P<name>[a-z0-9-]+(:[^\s,\"!]+)?)")
SIZE = re.compile(r"[1-9][0-9]*[KMG]")
FILESYSTEMS = ("ext4",)
SCENARIO_KEYS = {"description", "cmdline", "fstab"}
DISK_KEYS = {"size", "filesystem", "label"}
BOOT_KEYS = {"checks", "host-checks", "disks", "cmdline"}


class ScenarioError(Exception):
    """A scenario file is wrong; the text names the file, the section and the key."""


@dataclass(frozen=True)
class Disk:
    """A disk made empty before the first boot of its scenario and kept until the last."""

    name: str
    size: str
    filesystem: str
    label: str


@dataclass(frozen=True)
class Check:
    """A check as NAME or NAME:ARGUMENT; wanted ok, or with must_fail wanted not ok."""

    name: str
    must_fail: bool = False


@dataclass(frozen=True)
class Boot:
    """One start of the machine: what it is told, what is attached, what is checked inside and afterwards."""

    name: str
    cmdline: str
    checks: tuple[Check, ...]
    host_checks: tuple[Check, ...]
    disks: tuple[str, ...]


@dataclass(frozen=True)
class Scenario:
    """A root image (by its fstab), disks, and boots in their order."""

    name: str
    description: str
    fstab: str
    disks: tuple[Disk, ...]
    boots: tuple[Boot, ...]


def read_scenarios(directory: Path) -> dict[str, Scenario]:
    """Return all scenarios of a directory by name, sorted.

    Raises ScenarioError.
    """
    return {path.stem: read_scenario(path) for path in sorted(directory.glob("*.ini"))}


def read_scenario(path: Path) -> Scenario:
    """Return the scenario of one file.

    Raises ScenarioError.
    """
    parser = configparser.ConfigParser(
        interpolation=None, delimiters=("=",), comment_prefixes=("#",), empty_lines_in_values=False
    )
    try:
        parser.read_string(path.read_text(), source=path.name)
    except (OSError, UnicodeError, configparser.Error) as error:
        raise ScenarioError(f"{path.name}: {error}") from error
    head = _section(path, parser, "scenario", SCENARIO_KEYS)
    disks: list[Disk] = []
    boots: list[Boot] = []
    for title in parser.sections():
        kind, _, name = title.partition(" ")
        if kind == "disk" and NAME.fullmatch(name):
            disks.append(_disk(path, parser, title, name))
        elif kind == "boot" and NAME.fullmatch(name):
            boots.append(_boot(path, parser, title, name, head.get("cmdline", "")))
        elif title != "scenario":
            raise ScenarioError(f"{path.name}: [{title}]: wanted [scenario], [disk NAME] or [boot NAME]")
    if not boots:
        raise ScenarioError(f"{path.name}: there is no [boot NAME]")
    known = {disk.name for disk in disks}
    for boot in boots:
        of_checks = [check.name.partition(":")[2] for check in boot.host_checks]
        for name in [*boot.disks, *of_checks]:
            if name and name not in known:
                raise ScenarioError(f"{path.name}: [boot {boot.name}]: there is no [disk {name}]")
    # Leading newline of a value that starts on the next line.
    fstab = head.get("fstab", "").strip()
    return Scenario(path.stem, head.get("description", ""), fstab + "\n" if fstab else "", tuple(disks), tuple(boots))


def _section(path: Path, parser: configparser.ConfigParser, title: str, keys: set[str]) -> dict[str, str]:
    if not parser.has_section(title):
        raise ScenarioError(f"{path.name}: there is no [{title}]")
    found = dict(parser[title])
    for key in found:
        if key not in keys:
            known = ", ".join(sorted(keys))
            raise ScenarioError(f"{path.name}: [{title}]: unknown key '{key}', known: {known}")
    return found


def _disk(path: Path, parser: configparser.ConfigParser, title: str, name: str) -> Disk:
    values = _section(path, parser, title, DISK_KEYS)
    size, filesystem = values.get("size", ""), values.get("filesystem", "ext4")
    if not SIZE.fullmatch(size):
        raise ScenarioError(f"{path.name}: [{title}]: size: wanted a number with K, M or G, found '{size}'")
    if filesystem not in FILESYSTEMS:
        known = ", ".join(FILESYSTEMS)
        raise ScenarioError(f"{path.name}: [{title}]: filesystem: wanted {known}, found '{filesystem}'")
    return Disk(name, size, filesystem, values.get("label", name))


def _boot(path: Path, parser: configparser.ConfigParser, title: str, name: str, cmdline: str) -> Boot:
    values = _section(path, parser, title, BOOT_KEYS)
    checks = _checks(path, title, "checks", values.get("checks", ""))
    host_checks = _checks(path, title, "host-checks", values.get("host-checks", ""))
    if not checks:
        raise ScenarioError(f"{path.name}: [{title}]: checks: a boot without a check proves nothing")
    for check in host_checks:
        if check.name.partition(":")[0] not in HOST_CHECKS:
            raise ScenarioError(f"{path.name}: [{title}]: host-checks: there is no '{check.name}'")
    words = f"{cmdline} {values.get('cmdline', '')}".split()
    return Boot(name, " ".join(words), checks, host_checks, tuple(values.get("disks", "").split()))


def _checks(path: Path, title: str, key: str, text: str) -> tuple[Check, ...]:
    found: dict[str, Check] = {}
    for word in text.split():
        match = CHECK.fullmatch(word)
        if match is None:
            raise ScenarioError(f"{path.name}: [{title}]: {key}: wanted [!]NAME[:ARGUMENT], found '{word}'")
        if match["name"] in found:
            raise ScenarioError(f"{path.name}: [{title}]: {key}: '{match['name']}' is there twice")
        found[match["name"]] = Check(match["name"], bool(match["must_fail"]))
    return tuple(found.values())
