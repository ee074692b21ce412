# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk that was used over one image and boots with another one: for the tests of persistent.py."""

import os
import shutil
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import fitness, identity, imagechange, layers, manifest, persistent, report, rollback, stamp
from overlay_prepare.layers import open_backing
from overlay_prepare.persistent import make_persistent
from overlay_prepare.request import Request
from tree import ORIGIN, copy, fill, read_tree

OLD, NEW = "IMAGE_VERSION=1\n", "IMAGE_VERSION=2\n"


class Device:
    """A disk that was used over one image, and boots with another one."""

    identity = OLD

    def __init__(self, top: Path) -> None:
        self.where, self.backing = top / "var", top / "mounts/var"
        self.upper = self.backing / "upper"
        self.backing.mkdir(parents=True)
        fill(self.where, "conf=1", "lib/app/one=1", "lib/app/two=1", "lib/docker/base=1", "o/x=1")

    def boot(
        self,
        policy: str = "keep",
        direct: "tuple[str, ...]" = (),
        reset: bool = False,
        fallback: str = "",
        rollback: str = "no",
        commit: str = "manual",
    ) -> None:
        paths = tuple(f"{self.where}/{path}" for path in direct)
        where, backing = str(self.where), str(self.backing)
        request = Request(
            where, backing, backing, "ext4", fallback, reset, policy, paths, rollback=rollback, commit=commit
        )
        with open_backing(request) as folder:
            make_persistent(request, folder)

    def use(self) -> None:
        """What a user leaves behind, and the process that describes the image."""
        fill(
            self.upper,
            "mine=mine",
            "lib/app/one=mine",
            "lib/app/two!",
            "o/ opaque",
            "o/own=mine",
            "lib/docker/layer=mine",
        )
        copy(self.where / "conf", self.upper / "conf")
        os.setxattr(self.upper / "lib/app/one", ORIGIN, b"x")
        fill(self.backing, "work/work/#1=half")
        before = Path.cwd()
        os.chdir(self.where)
        manifest.write(hold(self.backing), stamp.read_previous(hold(self.backing)))
        os.chdir(before)

    def update(self) -> None:
        """Another image is there at the next boot."""
        shutil.rmtree(self.where)
        fill(
            self.where,
            "conf=2",
            "lib/app/one=2",
            "lib/app/two=2",
            "lib/app/new=2",
            "lib/docker/base=2",
            "o/x=2",
            "o/new=2",
        )
        Device.identity = NEW

    def stage(self, text: str) -> None:
        (self.backing / "reset").write_text(text.replace("/VAR", str(self.where)))

    def layers(self) -> "dict[str, object]":
        """The upper layer and what is passed through, and the notes on them."""
        top = {path.name.rpartition("-")[2]: read_tree(path) for path in self.backing.glob("direct/*")}
        notes = {name: (self.backing / name).read_text() for name in ("image", "uuids", "names")}
        return {"upper": read_tree(self.upper), "direct": top, **notes, "work": len(os.listdir(self.backing / "work"))}


def pretend(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let images be told apart by name, and no overlay be mounted to probe a disk."""
    Device.identity = OLD
    monkeypatch.setattr(identity, "identify", lambda _where: Device.identity)
    monkeypatch.setattr(fitness, "probe", lambda *_arguments: None)
    for module in (report, layers, persistent, imagechange, rollback):
        monkeypatch.setattr(module, "STATE", str(top / "state"))
    monkeypatch.setattr("posix.sync", lambda: None)
    monkeypatch.setattr("posix.fsync", lambda _fd: None)
