# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The unit files of an image with their drop-ins, as far as order and paths go (systemd.unit(5))."""

from dataclasses import dataclass, field

from overlay_generator.cmdline import parse_boolean
from overlayctl.check.image import Image

# Highest first, as in the unit search path of the system manager.
DIRECTORIES = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_LONGEST = 1 << 20  # bytes of a unit file; the largest of a distribution have some thousand
KINDS = (".service", ".socket", ".mount", ".automount", ".path", ".timer", ".target", ".swap", ".slice", ".scope")


@dataclass
class UnitText:
    """One unit: its settings with all their values and the place of each."""

    name: str
    path: str
    settings: "dict[str, list[tuple[str, str, int]]]" = field(default_factory=dict)

    def values(self, key: str) -> "list[str]":
        """The values of `key`, after the last empty one."""
        found: list[str] = []
        for value, _source, _line in self.settings.get(key, []):
            if value:
                found.append(value)
            else:
                found.clear()
        return found

    def words(self, *keys: str) -> "list[str]":
        """All words of the values of `keys`."""
        return [word.strip("\"'") for key in keys for value in self.values(key) for word in value.split()]

    def is_true(self, key: str, default: bool) -> bool:
        """The boolean `key`, `default` if it is not set or not a boolean."""
        values = self.values(key)
        wanted = parse_boolean(values[-1]) if values else None
        return default if wanted is None else wanted


def read_all(image: Image) -> "dict[str, UnitText]":
    """All units of the image by their names; masked ones and links to others are left out."""
    units: dict[str, UnitText] = {}
    seen: set[str] = set()
    done: set[str] = set()
    for folder in DIRECTORIES:
        real = image.resolve(folder)
        if real in done:
            continue  # /lib is /usr/lib nearly everywhere
        done.add(real)
        for name in image.names(folder):
            if not name.endswith(KINDS) or name in seen:
                continue
            seen.add(name)
            path = f"{folder}/{name}"
            target = image.resolve(path)
            # An alias is another name of a unit that is read under its own.
            if target == "/dev/null" or (target.rpartition("/")[2] != name and "@" not in name):
                continue
            text = image.text(path, _LONGEST)
            if text:
                units[name] = UnitText(name, path)
                _add(units[name], text, path)
    for unit in units.values():
        for folder in reversed(DIRECTORIES):
            for name in image.names(f"{folder}/{unit.name}.d", "*.conf"):
                _add(unit, image.text(f"{folder}/{unit.name}.d/{name}", _LONGEST), f"{folder}/{unit.name}.d/{name}")
    return units


def _add(unit: UnitText, text: str, source: str) -> None:
    """Add the settings of one file; a backslash at the end of a line joins the next one."""
    pieces: list[str] = []
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if line.startswith(("#", ";")):
            continue
        start = start if pieces else number
        if line.endswith("\\"):
            pieces.append(line[:-1])
            continue
        key, equals, value = " ".join([*pieces, line]).partition("=")
        pieces = []
        if equals and not key.startswith("["):
            unit.settings.setdefault(key.strip(), []).append((value.strip(), source, start))
