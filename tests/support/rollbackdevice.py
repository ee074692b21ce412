# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

"""A device with Rollback=yes, for the tests of freeze, fold and step back: image A was used, then perhaps B."""

import os
import shutil
from pathlib import Path

from hold import hold
from overlay_prepare import reset
from persistentdevice import NEW, OLD, Device
from tree import OPAQUE, Tree, fill, read_tree

Exact = tuple[Tree, dict[str, int], dict[str, str]]
THIRD = "IMAGE_VERSION=3\n"


class RollbackDevice(Device):
    """`a` and `b` are what the layers had when their image was left."""

    policy = "keep"

    def start(self, image: str = "", **words: "str | bool | tuple[str, ...]") -> None:
        """Boot `image`, or the one that is there."""
        if image and image != Device.identity:
            shutil.rmtree(self.where)
            entries = {
                OLD: ("conf=1", "lib/app/one=1", "lib/app/two=1", "lib/docker/base=1", "o/x=1"),
                NEW: ("conf=2", "lib/app/one=2", "lib/app/two=2", "lib/app/new=2", "lib/docker/base=2", "o/x=2",
                      "o/new=2"),
                THIRD: ("conf=3", "lib/app/one=3", "lib/app/new=3", "o/x=3", "o/new=3", "mine=3"),
            }  # fmt: skip
            fill(self.where, *entries[image])
            Device.identity = image
        self.boot(self.policy, rollback="yes", **words)  # type: ignore[arg-type]

    def use_a(self) -> None:
        """What the user of image A leaves behind."""
        self.start()
        self.use()
        fill(self.upper, "deep/er/file=a", "gone=a", "tree/x=a", "tree/y=a", ".updated=a")
        os.link(self.upper / "gone", self.upper / "linked")
        self.a = self.exact()

    def use_b(self) -> None:
        """Boot image B, and what its user leaves behind, as overlayfs would note it."""
        self.start(NEW)
        fill(self.upper, "mine=b", "gone!", "deep/er/file=b", "deep/er/more=b", "tree/ opaque", "tree/z=b", "own=b",
             "lib/app/two!")  # fmt: skip

    a: "Exact"

    def exact(self) -> "Exact":
        """The upper layer with what belongs to it, and the times of its directories."""
        times = {path: path.lstat().st_mtime_ns for path in sorted(self.upper.rglob("*")) if path.is_dir()}
        notes = {name: self.read(name) for name in ("image", "uuids", "names", "contents")}
        return read_tree(self.upper), {str(path.relative_to(self.upper)): time for path, time in times.items()}, notes

    def read(self, name: str) -> str:
        """The text of a note, "" where there is none."""
        path = self.backing / name
        return path.read_text() if path.exists() else ""

    def state(self) -> object:
        """All that is on the disk and means something, but for times."""
        reset.empty_trash(hold(self.backing))
        found = {path.name: read_tree(path) if path.is_dir() else path.read_text() for path in self.backing.iterdir()}
        since = self.backing / "frozen/since"
        frozen = found.get("frozen")
        frozen = {name: what for name, what in frozen.items() if name != "since"} if isinstance(frozen, dict) else {}
        for name in ("undone.since", "frozen", "spare", "trash", "dropped"):
            found.pop(name, None)
        return found, frozen, since.exists()

    def shown(self, path: str) -> str:
        """What the overlay shows at `path`, by the marks of its layers: a file's text, "" for nothing."""
        parts = path.split("/")
        for top in (self.upper, self.backing / "frozen/upper", self.where):
            here = top
            for number, part in enumerate(parts):
                opaque = here != self.where and OPAQUE in os.listxattr(here) if here.is_dir() else False
                there = here / part
                if there.is_char_device():
                    return ""
                if there.is_file():
                    return there.read_text() if number == len(parts) - 1 else ""
                if opaque and not there.exists():
                    return ""
                here = there
                if not here.exists():
                    break
        return ""


def make(top: Path, policy: str = "keep") -> RollbackDevice:
    """A device whose image A was used."""
    Device.identity = OLD
    device = RollbackDevice(top)
    device.policy = policy
    device.use_a()
    return device
