# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Notes what the generator reads while it makes its plan, so that the list for a bug report is never out of date."""

import os
import posix
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from overlay_generator import boot, entries, gather, look
from overlay_generator.model import Plan

_LOOKS = ("lstat", "stat", "listdir", "listxattr", "scandir")


@dataclass
class Record:
    """The paths, as the machine has them, in the order in which they were asked for; also those that don't exist.

    `opened` were read, `links` read as links, `looked` looked at; `release` is the kernel's, "" if nobody asked.
    """

    opened: "dict[str, None]" = field(default_factory=dict)
    links: "dict[str, None]" = field(default_factory=dict)
    looked: "dict[str, None]" = field(default_factory=dict)
    release: str = ""

    def paths(self) -> "list[str]":
        """All paths, sorted: a directory comes before what is in it."""
        return sorted({**self.opened, **self.links, **self.looked})


class _Recorder:
    """Stands in for the module posix in gather, look and entries, the readers of the machine."""

    def __init__(self, root: str, record: Record) -> None:
        self._root = root
        self._record = record
        self._find = gather._place
        self._asked: dict[str, str] = {}

    def place(self, root: str, path: str, follow: bool = True) -> str:
        """Stands in for gather's own: notes what was asked for, not where links of the tree lead."""
        found = self._find(root, path, follow)
        if ".." not in path.split("/"):
            self._asked[found] = path
        return found

    def __getattr__(self, name: str) -> Any:
        real = getattr(posix, name)
        if name == "open":
            return self._wrap(real, self._record.opened)
        if name == "readlink":
            return self._wrap(real, self._record.links)
        if name in _LOOKS:
            return self._wrap(real, self._record.looked)
        if name == "uname":
            self._record.release = posix.uname().release
        return real

    def _wrap(self, real: "Callable[..., Any]", noted: "dict[str, None]") -> "Callable[..., Any]":
        def call(path: str, *arguments: object, **options: object) -> Any:
            # Never a path with "..": modules.dep may have such, and they would lead out of the case.
            inside = os.path.normpath("/" + self._asked.get(path, path[len(self._root) :]).lstrip("/"))
            noted[inside] = None
            return real(path, *arguments, **options)

        return call


def make_plan(root: str, environ: "Mapping[str, str]") -> "tuple[Plan | None, Record]":
    """The plan for the machine at `root`, and what was read for it. Raises OSError."""
    record = Record()
    recorder = _Recorder(root, record)
    own = gather._place
    try:
        vars(gather).update(posix=recorder, _place=recorder.place)
        # look.py reads by itself, and entries.py follows links in the paths of mount points.
        vars(look).update(posix=recorder)
        vars(entries).update(posix=recorder)
        return boot.make_plan(root, environ), record
    finally:
        vars(gather).update(posix=posix, _place=own)
        vars(look).update(posix=posix)
        vars(entries).update(posix=posix)
