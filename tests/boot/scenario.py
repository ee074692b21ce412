# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Read the scenario files; whatever makes no sense in one is reported as an error with its place."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hostchecks import HOST_CHECKS
from values import (
    BASES,
    CUT_AT,
    EXPECTED,
    FILESYSTEMS,
    FIRST_IMAGE,
    ROOTS,
    Boot,
    Check,
    Cut,
    Disk,
    File,
    Image,
    Late,
    Scenario,
)

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
CHECK = re.compile(r"(?P<must_fail>!?)(?P<name>[a-z0-9-]+(:[^\s,\"!]+)?)")
SIZE = re.compile(r"[1-9][0-9]*[KMG]")
CUT = re.compile(rf"(?P<at>{'|'.join(CUT_AT)}):(?P<least>[0-9.]+)(-(?P<most>[0-9.]+))?")
LATE = re.compile(r"(?P<disk>[a-z0-9-]+)(:(?P<after>[0-9.]+))?")
RANGE = re.compile(r"(?P<offset>[0-9]+):(?P<length>[1-9][0-9]*)")
FILE_KINDS = {"content": "text", "link": "link", "directory": "directory", "remove": "removed"}
KEYS = {
    "scenario": {
        "description",
        "cmdline",
        "fstab",
        "root",
        "base",
        "suites",
        "suites-because",
        "quick",
        "memory",
        "static",
        "policy-module",
    },
    "image": {"fstab", "root", "uuid"},
    "disk": {"size", "filesystem", "filesystem-size", "label", "partlabel", "overwrite", "read-only", "bundle"},
    "file": {*FILE_KINDS, "mode"},
    "boot": {
        *("checks", "host-checks", "disks", "cmdline", "image", "memory", "expect"),
        *("cut-at", "late-disks", "repeat"),
    },
}


class ScenarioError(Exception):
    """A scenario file is wrong; the text names the file, the section and the key."""


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
    sections = [_Section(path, parser, title) for title in parser.sections()]
    heads = [section for section in sections if section.kind == "scenario"]
    if not heads:
        raise ScenarioError(f"{path.name}: there is no [scenario]")
    head = heads[0]
    images = {
        FIRST_IMAGE: Image(
            _fstab(head.get("fstab")),
            head.choice("root", ROOTS),
            static=head.flag("static"),
            policy=head.flag("policy-module"),
        )
    }
    for section in sections:
        if section.kind == "image":
            images[section.name] = Image(
                _fstab(section.get("fstab", head.get("fstab"))),
                section.choice("root", ROOTS, head.get("root")),
                uuid=section.get("uuid"),
                static=head.flag("static"),
                policy=head.flag("policy-module"),
            )
    _add_files(images, [section for section in sections if section.kind == "file"])
    scenario = Scenario(
        path.stem,
        head.get("description"),
        images,
        tuple(_disk(section) for section in sections if section.kind == "disk"),
        tuple(_boot(section, head) for section in sections if section.kind == "boot"),
        head.choice("base", BASES),
        tuple(head.get("suites").split()),
        head.flag("quick"),
        head.get("suites-because"),
    )
    _check(path, scenario)
    return scenario


class _Section:
    """One section: its kind, the rest of its title, and its values."""

    def __init__(self, path: Path, parser: configparser.ConfigParser, title: str) -> None:
        self.kind, _, self.name = title.partition(" ")
        self._place = f"{path.name}: [{title}]"
        self._values: Mapping[str, str] = parser[title]
        plain = self.kind == "scenario" and not self.name
        if not plain and self.kind != "file" and not (self.kind in KEYS and NAME.fullmatch(self.name)):
            known = "[scenario], [image NAME], [disk NAME], [file PATH], [file IMAGE PATH] or [boot NAME]"
            raise self.error(f"wanted {known}")
        for key in self._values:
            if key not in KEYS[self.kind]:
                raise self.error(f"unknown key '{key}', known: {', '.join(sorted(KEYS[self.kind]))}")

    def error(self, text: str) -> ScenarioError:
        """Return an error that names this section."""
        return ScenarioError(f"{self._place}: {text}")

    def has(self, key: str) -> bool:
        """Return whether the key is there."""
        return key in self._values

    def get(self, key: str, default: str = "") -> str:
        """Return a value."""
        return self._values.get(key, default)

    def flag(self, key: str) -> bool:
        """Return a value that has to be yes or no, no where it is missing."""
        return self.choice(key, ("no", "yes")) == "yes"

    def choice(self, key: str, known: tuple[str, ...], default: str = "") -> str:
        """Return a value that has to be one of these; default, or the first of them, where it is missing."""
        value = self.get(key, default or known[0])
        if value not in known:
            raise self.error(f"{key}: wanted {', '.join(known)}, found '{value}'")
        return value

    def number(self, key: str, default: str = "0") -> float:
        """Return a value that has to be a number."""
        value = self.get(key, default)
        try:
            return float(value)
        except ValueError:
            raise self.error(f"{key}: wanted a number, found '{value}'") from None


def _fstab(value: str) -> str:
    """Return the lines of an fstab; <CR> in them stands for a carriage return."""
    return _lines(value).replace("<CR>", "\r")


def _lines(text: str) -> str:
    """Return a value of several lines as the text of a file."""
    text = text.strip()
    return f"{text}\n" if text else ""


def _add_files(images: dict[str, Image], sections: list[_Section]) -> None:
    """Give each image its files: those of `[file PATH]`, and those that name it."""
    for section in sections:
        first, _, rest = section.name.partition(" ")
        only, path = ("", first) if first.startswith("/") else (first, rest)
        if not path.startswith("/") or (only and only not in images):
            raise section.error("wanted [file /PATH] or [file IMAGE /PATH], with an image that there is")
        kinds = [key for key in FILE_KINDS if section.has(key)]
        if len(kinds) != 1:
            raise section.error(f"wanted one of {', '.join(FILE_KINDS)}")
        kind = FILE_KINDS[kinds[0]]
        value = section.get(kinds[0])
        mode = int(section.get("mode", "0755" if kind == "directory" else "0644"), 8)
        file = File(path, kind, _lines(value) if kind == "text" else value, mode)
        for name in [only] if only else list(images):
            images[name] = replace(images[name], files=(*images[name].files, file))


def _disk(section: _Section) -> Disk:
    for key in ("size", "filesystem-size"):
        if (section.has(key) or key == "size") and not SIZE.fullmatch(section.get(key)):
            raise section.error(f"{key}: wanted a number with K, M or G, found '{section.get(key)}'")
    spoilt = RANGE.fullmatch(section.get("overwrite"))
    if section.has("overwrite") and not spoilt:
        raise section.error(f"overwrite: wanted OFFSET:LENGTH in bytes, found '{section.get('overwrite')}'")
    return Disk(
        section.name,
        section.get("size"),
        section.choice("filesystem", FILESYSTEMS),
        section.get("label", section.name),
        section.get("filesystem-size"),
        section.get("partlabel"),
        (int(spoilt["offset"]), int(spoilt["length"])) if spoilt else None,
        section.flag("read-only"),
        section.get("bundle"),
    )


def _boot(section: _Section, head: _Section) -> Boot:
    checks = _checks(section, "checks")
    if not checks:
        raise section.error("checks: a boot without a check proves nothing")
    cuts = tuple(
        Cut(found["at"], float(found["least"]), float(found["most"] or found["least"]))
        for found in _words(section, "cut-at", CUT, f"WHEN:SECONDS or WHEN:LEAST-MOST, WHEN one of {', '.join(CUT_AT)}")
    )
    late = tuple(
        Late(found["disk"], float(found["after"]) if found["after"] else None)
        for found in _words(section, "late-disks", LATE, "NAME:SECONDS or NAME")
    )
    expect = "cut" if cuts else section.choice("expect", EXPECTED)
    if expect == "cut" and not cuts:
        raise section.error("expect: a boot that is cut off needs cut-at")
    return Boot(
        section.name,
        " ".join(f"{head.get('cmdline')} {section.get('cmdline')}".split()),
        checks,
        _checks(section, "host-checks"),
        tuple(section.get("disks").split()),
        tuple(section.get("image", FIRST_IMAGE).split()),
        int(section.number("memory", head.get("memory", "0"))),
        expect,
        cuts,
        late,
        int(section.number("repeat", "1")),
    )


def _words(section: _Section, key: str, form: re.Pattern[str], wanted: str) -> list[re.Match[str]]:
    """Return the words of a value, each of which has to be of a form."""
    found = [(word, form.fullmatch(word)) for word in section.get(key).split()]
    for word, match in found:
        if match is None:
            raise section.error(f"{key}: wanted {wanted}, found '{word}'")
    return [match for _, match in found if match]


def _checks(section: _Section, key: str) -> tuple[Check, ...]:
    found: dict[str, Check] = {}
    for word in section.get(key).split():
        match = CHECK.fullmatch(word)
        if match is None:
            raise section.error(f"{key}: wanted [!]NAME[:ARGUMENT], found '{word}'")
        if match["name"] in found:
            raise section.error(f"{key}: '{match['name']}' is there twice")
        if key == "host-checks" and match["name"].partition(":")[0] not in HOST_CHECKS:
            raise section.error(f"{key}: there is no '{match['name']}'")
        found[match["name"]] = Check(match["name"], bool(match["must_fail"]))
    return tuple(found.values())


def _check(path: Path, scenario: Scenario) -> None:
    """Raise ScenarioError when a boot speaks of something that the scenario does not have."""
    if scenario.suites and not scenario.because:
        raise ScenarioError(f"{path.name}: [scenario]: suites: say in suites-because why it is not for the others")
    if not scenario.boots:
        raise ScenarioError(f"{path.name}: there is no [boot NAME]")
    known = {disk.name for disk in scenario.disks}
    for disk in (disk for disk in scenario.disks if disk.bundle):
        if disk.bundle not in scenario.images or disk.filesystem != "ext4" or scenario.base != "rauc":
            raise ScenarioError(f"{path.name}: [disk {disk.name}]: bundle: an image, on ext4, with 'base = rauc'")
    for boot in scenario.boots:
        of_checks = [check.name.partition(":")[2] for check in boot.host_checks]
        for name in [*boot.disks, *(late.disk for late in boot.late), *of_checks]:
            if name and name not in known:
                raise ScenarioError(f"{path.name}: [boot {boot.name}]: there is no [disk {name}]")
        for name in boot.images:
            if name not in scenario.images:
                raise ScenarioError(f"{path.name}: [boot {boot.name}]: there is no [image {name}]")
        if not boot.images or boot.repeat < 1:
            raise ScenarioError(f"{path.name}: [boot {boot.name}]: an image and a repeat of 1 at least are needed")
        if boot.repeat == 1 and (len(boot.images) > 1 or len(boot.cuts) > 1):
            raise ScenarioError(f"{path.name}: [boot {boot.name}]: several images or cuts need repeat")
    if scenario.base == "small" and any(image.root == "erofs" for image in scenario.images.values()):
        raise ScenarioError(f"{path.name}: [scenario]: the tool for an erofs root is in 'base = full'")
