# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An update of an image, with what its owner has in the upper layer, for the tests of the policies."""

import os
import shutil
import stat
from pathlib import Path

from hold import hold
from overlay_prepare import manifest, policy, stamp
from tree import OPAQUE, copy, fill

OLD = "IMAGE_VERSION=1\n"


class Update:
    """An image in two versions, and an upper layer written over the first."""

    def __init__(self, top: Path) -> None:
        self.where, self.backing = top / "var", top / "backing"
        self.upper = self.backing / "upper"
        self.upper.mkdir(parents=True)
        self.where.mkdir()

    def note_image(self, *entries: str) -> None:
        """The first version, and its description."""
        fill(self.where, *entries)
        stamp.write(hold(self.backing), OLD)
        before = Path.cwd()
        os.chdir(self.where)
        manifest.write(hold(self.backing), OLD)
        os.chdir(before)

    def change_image(self, *entries: str) -> None:
        """The second version, in the place of the first."""
        shutil.rmtree(self.where)
        fill(self.where, *entries)

    def copy_up(self, *paths: str) -> None:
        """What the kernel does with the first write: attributes and times stay."""
        for path in paths:
            (self.upper / path).parent.mkdir(parents=True, exist_ok=True)
            copy(self.where / path, self.upper / path)

    def apply(self, word: str) -> "tuple[int, str]":
        count, reason, kept = policy.apply(word, str(self.where), hold(self.backing), "IMAGE_VERSION=2")
        assert kept == reason.endswith("so all of the upper layer was kept")
        return count, reason

    def dropped(self) -> "list[str]":
        """The paths in the log, below the overlaid directory."""
        lines = (self.backing / "dropped").read_text(errors="surrogateescape").splitlines()
        return [line.replace(f"{self.where}/", "") for line in lines if not line.startswith("# ")]

    def kinds(self) -> "dict[str, str]":
        found = {}
        for path in self.upper.rglob("*"):
            mode = path.lstat().st_mode
            kind = "deleted" if stat.S_ISCHR(mode) else "file" if stat.S_ISREG(mode) else "link"
            if stat.S_ISDIR(mode):
                kind = "opaque" if OPAQUE in os.listxattr(path) else "directory"
            found[path.relative_to(self.upper).as_posix()] = kind
        return found
