# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the text of a unit says of its place in the order: src/core/ of systemd 247 to 262. Pure.

The text of a unit is followed by those of its drop-ins, and by Wants= for what its directories .wants and .requires
have.
"""

from overlay_generator.cmdline import parse_boolean
from overlay_generator.model import FstabEntry
from overlay_generator.names import normalise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Settings that make a unit wait for the mounts of a path (systemd.exec(5), .socket(5), .path(5)), and where it begins.
_PLACES = {
    "RequiresMountsFor": "", "WantsMountsFor": "", "StateDirectory": "/var/lib/", "CacheDirectory": "/var/cache/",
    "LogsDirectory": "/var/log/", "ConfigurationDirectory": "/etc/", "WorkingDirectory": "", "RootDirectory": "",
    "RootImage": "", "ListenStream": "", "ListenDatagram": "", "ListenSequentialPacket": "", "ListenFIFO": "",
    "ListenSpecial": "", "ListenMessageQueue": "", "PathExists": "", "PathExistsGlob": "", "PathChanged": "",
    "PathModified": "", "DirectoryNotEmpty": "",
}  # fmt: skip
# Of one path, blanks and all; the others are lists.
_SINGLE = ("WorkingDirectory", "RootDirectory", "RootImage")
_SPECIFIERS = {
    "S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc", "t": "/run", "T": "/tmp", "V": "/var/tmp",
}  # fmt: skip
# By default these don't come after sysinit.target, and so not after local-fs.target.
_EARLY = (".target", ".device", ".mount", ".automount", ".swap", ".slice", ".scope")
# What a target waits for if it wants it (target_add_default_dependencies()).
_WANTED = ("Wants", "Requires", "Requisite", "BindsTo")


class Needs:
    """What the unit `name` with this `text` waits for: `late`: all local file systems; `units`; `paths`. `defaults`: it
    has the default dependencies.
    """

    def __init__(self, name: str, text: str) -> None:
        self.units: list[str] = []
        self.paths: list[str] = []
        self.values = values = _read_settings(text)
        defaults = True
        for value in values.get("DefaultDependencies", []):
            wanted = parse_boolean(value)
            defaults = defaults if wanted is None else wanted
        self.defaults = defaults
        self.late = defaults and not name.endswith(_EARLY)
        for value in values.get("After", []):
            self.units += value.split()
        if name.endswith(".target") and defaults:
            self.units += [word for key in _WANTED for value in values.get(key, []) for word in value.split()]
        if parse_boolean("".join(values.get("PrivateTmp", [])[-1:])):
            # Also after what makes files there, which comes after all local file systems (247 to 262).
            self.late = True
        for key, top in _PLACES.items():
            for value in values.get(key, []):
                words = [value.lstrip("-")] if key in _SINGLE else split_words(value)
                # The name of a link may follow.
                self.paths += [_expand(top + (word.partition(":")[0] if top else word)) for word in words]

    def find_last(self, key: str) -> str:
        """The value of the setting `key`, of which the last line counts."""
        return "".join(self.values.get(key, [])[-1:])


def read_mount(name: str, needs: Needs) -> FstabEntry:
    """What the mount, swap or automount unit `name` mounts, as if fstab had it."""
    where, what = (_expand(needs.find_last(key)) for key in ("Where", "What"))
    return FstabEntry(what, normalise(where), needs.find_last("Type"), needs.find_last("Options"), name)


def split_words(text: str) -> "list[str]":
    """`text` as a list of words, which may be quoted (EXTRACT_UNQUOTE of extract_first_word() in systemd)."""
    words: list[str] = []
    quote = ""
    inside = escaped = False
    for character in text:
        if not inside and not character.isspace():
            words.append("")
            inside = True
        if escaped:
            words[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        elif quote or not character.isspace():
            words[-1] += character
        else:
            inside = False
    return words


def read_units(
    names: "list[str]", is_unknown: "Callable[[str], bool]", read: "Callable[[str], str]"
) -> "dict[str, str]":
    """The texts of the units `names`, and of those that these wait for, as `read` has them."""
    texts: dict[str, str] = {}
    names = list(names)
    for name in names:
        text = read(name)
        if text:
            texts[name] = text
            # The list grows while the loop goes through it.
            for other in dict.fromkeys(Needs(name, text).units):
                if is_unknown(other) and other not in names:
                    names.append(other)
    return texts


def _read_settings(text: str) -> "dict[str, list[str]]":
    """The values of each setting, in their order."""
    values: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").split("\n"):
        key, equals, value = line.partition("=")
        if equals:
            values.setdefault(key.strip(), []).append(value.strip())
    return values


def _expand(path: str) -> str:
    """`path` with its specifiers replaced, up to the first whose value only systemd knows."""
    head, *parts = path.split("%")
    parts.reverse()
    while parts:
        part = parts.pop()
        if not part and parts:
            head += "%" + parts.pop()
        elif part[:1] in _SPECIFIERS:
            head += _SPECIFIERS[part[0]] + part[1:]
        else:
            return head + "?"
    return head
