# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Conditions of static units that stand for the keys of the kernel command line. Pure.

ConditionKernelCommandLine= compares whole words, quotes taken off as everywhere: `KEY=VALUE` is that word exactly,
`KEY` alone is the bare key and every `KEY=...` (systemd.unit(5), seen the same in 247 to 262). So a value can be
excluded, but a list can't be taken apart, the bare key can't be told from a wrong value, and "the last one wins" can't
be said. Each doubt goes the way that loses nothing: something is writable where somebody asked for that, a `no`
anywhere is a no, and nothing is reset unless the value is one that was foreseen.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# As kernel-command-line(7) and systemd.syntax(7) spell them; one letter or capitals would double each unit.
YES = ("yes", "1", "true", "on")
NO = ("no", "0", "false", "off")

_KEY = "ConditionKernelCommandLine="


def wanted(wheres: "Iterable[str]", rendered: "Iterable[str]", always: bool) -> "list[str]":
    """Those for overlaying one of `wheres`, of all directories `rendered`; `always`: also without the key."""
    inside = set(wheres)
    values = [*NO, *(where for where in rendered if where not in inside)]
    asked = [] if always else [f"{_KEY}overlayfs.mounts"]
    # systemd.volatile=state is not here: systemd-fstab-generator's var.mount takes the place of a static one.
    other_ways = [f"{_KEY}!systemd.volatile={value}" for value in (*YES, "overlay")]
    return [*asked, *(f"{_KEY}!overlayfs.mounts={_word(value)}" for value in values), *other_ways]


def in_memory() -> "list[str]":
    """Those for a boot that is to leave the disk as it is."""
    return [f"{_KEY}overlayfs.upper=volatile"]


def on_disk() -> "list[str]":
    """Those for a boot that may use the disk."""
    return [f"{_KEY}!overlayfs.upper=volatile"]


def reset(where: str, rendered: "Iterable[str]") -> "list[str]":
    """Those for emptying `where`, of all directories `rendered`; triggers, so nothing else may have any."""
    asked = [f"{_KEY}|overlayfs.reset={_word(value)}" for value in (*YES, where)]
    others = [*NO, *(other for other in rendered if other != where)]
    return [*asked, *(f"{_KEY}!overlayfs.reset={_word(value)}" for value in others)]


def _word(value: str) -> str:
    return value.replace("%", "%%")
