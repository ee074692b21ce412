# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A device whose upper layer is to be reset, and what its directory shows: for the tests of reset."""

import os
from pathlib import Path

from hold import hold
from overlay_generator.names import backing_name
from overlay_prepare import stamp
from overlay_prepare.passthrough import TOP
from overlay_prepare.reset import reset
from overlay_prepare.resetrequest import Staged
from tree import OPAQUE, fill

IMAGE = "IMAGE_VERSION=1\n"


class Device:
    """The image's directory `var` and a backing directory whose upper layer was last mounted over it."""

    def __init__(self, top: Path) -> None:
        self.where, self.backing = top / "var", top / "backing"
        self.upper = self.backing / "upper"
        fill(self.where, "conf", "lib/app/conf", "lib/app/data", "lib/other/file")
        fill(self.backing, "upper/", "work/work/#1", "lower/")
        stamp.write(hold(self.backing), IMAGE)

    def reset(self, *paths: str, keep: "tuple[str, ...]" = (), passed: bool = True) -> "tuple[int, list[str]]":
        """By `paths` below the directory, all without any; the globs `keep` are below it too."""
        asked = Staged(not paths, tuple(f"{self.where}/{p}" for p in paths), tuple(f"{self.where}/{g}" for g in keep))
        count, problems = reset(str(self.where), hold(self.backing), asked, passed)
        return count, [problem.replace(f"{self.where}/", "") for problem in problems]

    def pass_through(self, path: str) -> Path:
        """The directory of a path that is passed through."""
        return self.backing / TOP / backing_name(f"{self.where}/{path}")

    def view(self, top: str = "") -> "dict[str, str]":
        """What the overlay shows: each file with its text, told from the layers without the kernel."""
        shown: dict[str, str] = {}
        _merge(self.upper / top, self.where / top, "", shown)
        return shown


def _merge(upper: Path, lower: "Path | None", name: str, shown: "dict[str, str]") -> None:
    if lower is not None and (not lower.is_dir() or (upper.is_dir() and OPAQUE in os.listxattr(upper))):
        lower = None
    over = set(os.listdir(upper)) if upper.is_dir() else set()
    for inner in sorted(over | set(os.listdir(lower) if lower else ())):
        path, below = upper / inner, lower / inner if lower else None
        place = f"{name}{inner}"
        if inner in over and path.is_char_device():
            continue
        real = path if inner in over else below
        assert real is not None
        if real.is_dir():
            _merge(path, below, place + "/", shown)
        else:
            shown[place] = real.read_text()
