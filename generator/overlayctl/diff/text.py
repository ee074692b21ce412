# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The text of one change: a line for a person, or an object of JSON. Pure."""

import os
import stat
from functools import lru_cache

from overlayctl.layers.change import ADDED, CHANGED, DELETED, EQUAL, METADATA, MOVED, OPAQUE, REPLACED, Change
from overlayctl.layers.entry import describe_entry, spell_type
from overlayctl.output import printable
from overlayctl.status.space import spell_size

COLOURS = {
    ADDED: "green", CHANGED: "yellow", METADATA: "yellow", EQUAL: "dim",
    DELETED: "red", REPLACED: "cyan", MOVED: "cyan", OPAQUE: "cyan",
}  # fmt: skip
# The version of packaging/schemas/diff.json: it goes up when a name is removed or gets another meaning.
SCHEMA = 1
_NO_SIZE = " " * 10

# Most files have one of a few sizes.
_spell_size = lru_cache(4096)(lambda size: f"{spell_size(size):>10}")


def spell_line(change: Change, path: str) -> str:
    """The line for `change` at the absolute `path`: kind, size, path, and in parentheses the details."""
    kind, info = change.kind, change.info or change.old_info
    assert info
    mode = info.st_mode & 0o170000
    size = _spell_size(info.st_size) if mode == 0o100000 else _NO_SIZE
    name = path if path.isprintable() else printable(path)
    if mode == 0o040000 and not name.endswith("/"):
        name += "/"
    details = "" if kind == ADDED else _spell_details(change, path)
    return f"{kind:<9}{size}  {name}  ({details})" if details else f"{kind:<9}{size}  {name}"


def describe(change: Change, path: str) -> "dict[str, object]":
    """`change` at the absolute `path` for json.dumps(): bytes that are not UTF-8 are lone surrogates."""
    found: dict[str, object] = {"kind": change.kind, "path": path}
    if change.what:
        found["what"] = list(change.what)
    if change.source:
        found["from"] = _place_source(change, path)
    found["new"] = describe_entry(change.info)
    found["old"] = describe_entry(change.old_info)
    found["schema"] = SCHEMA
    return found


def _spell_details(change: Change, path: str) -> str:
    new, old = change.info, change.old_info
    details = []
    if change.kind == MOVED:
        details.append(f"from {printable(_place_source(change, path))}/")
    if change.kind == OPAQUE:
        details.append("hides what the image has in it")
    if new and old and change.kind == REPLACED:
        details.append(f"was a {spell_type(old)}, is a {spell_type(new)}")
    for what in change.what:
        if new and old:
            details.append(_spell_difference(what, new, old))
    return ", ".join(filter(None, details))


def _spell_difference(what: str, new: os.stat_result, old: os.stat_result) -> str:
    if what == "mode":
        return f"mode {stat.S_IMODE(old.st_mode):04o} -> {stat.S_IMODE(new.st_mode):04o}"
    if what == "owner":
        return f"owner {old.st_uid}:{old.st_gid} -> {new.st_uid}:{new.st_gid}"
    if what == "content":
        differs = stat.S_ISREG(new.st_mode) and new.st_size != old.st_size
        return f"was {spell_size(old.st_size)}" if differs else ""
    return what


def _place_source(change: Change, path: str) -> str:
    below = change.path.decode("utf-8", "surrogateescape")
    return path[: len(path) - len(below)] + change.source.decode("utf-8", "surrogateescape")
