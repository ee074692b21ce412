# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Overlays with random options over random kinds of images, for diff_fuzz.py."""

import contextlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from overlayctl.layers.change import Layers

MAKE = {
    "squashfs": "mksquashfs {tree} {image} -quiet -no-progress -noappend -comp lz4",
    "erofs": "mkfs.erofs --quiet {image} {tree}",
    "ext4": "mkfs.ext4 -q -F -m 0 -d {tree} {image} 2M",
}


class Overlay:
    """The layers in `top`, mounted at `at` with `options`. `tells_index`: walk() is told of the index. `freezes`: the
    upper layer becomes a lower one in the midst of the history, as by an update with Rollback=yes.
    """

    tells_index = True
    freezes = False

    def __init__(self, top: Path, chance: random.Random) -> None:
        self.top = top
        self.at, self.lower, self.upper, self.work = (top / name for name in ("at", "lower", "upper", "work"))
        for path in (self.at, self.lower, self.upper, self.work, top / "tree"):
            path.mkdir()
        self.frozen = top / "frozen"
        self.chance = chance
        self.normalised = False
        self.options: dict[str, str] = {}
        self.change_options()

    def change_options(self) -> None:
        """Other options for the next mount, of those that make sense with what was written under the last ones."""
        chance, last = self.chance, self.options
        # What was written with it can't be read without.
        metacopy = not self.freezes and (last.get("metacopy") == "on" or chance.random() < 0.3)
        index = chance.random() < 0.5 and not self.frozen.exists()
        can_export = index and not metacopy and not self.normalised
        self.options = {
            "redirect_dir": "on" if metacopy else chance.choice(["on", "on", "follow", "off"]),
            "index": "on" if index else "off",
            "metacopy": "on" if metacopy else "off",
            "xino": chance.choice(["on", "off", "auto"]),
            "nfs_export": "on" if can_export and chance.random() < 0.3 else "off",
        }

    def freeze(self) -> None:
        """Put a new upper layer on top of the one that there is."""
        self.upper.rename(self.frozen)
        self.upper.mkdir()
        shutil.copystat(self.frozen, self.upper)
        os.chown(self.upper, self.frozen.stat().st_uid, self.frozen.stat().st_gid)
        for name in os.listxattr(self.upper):
            os.removexattr(self.upper, name)
        for name in os.listxattr(self.frozen):
            if not name.startswith("trusted.overlay."):
                os.setxattr(self.upper, name, os.getxattr(self.frozen, name))
        shutil.rmtree(self.work)
        self.work.mkdir()
        self.change_options()

    def lowers(self) -> str:
        """The value of lowerdir=."""
        return f"{self.frozen}:{self.lower}" if self.frozen.exists() else f"{self.lower}"

    @contextlib.contextmanager
    def looked_at(self, lowers: str) -> "Iterator[None]":
        """What two layers show without one on top."""
        run("mount", "-t", "overlay", "-o", f"lowerdir={lowers},redirect_dir=follow", "overlay", self.at)
        try:
            yield
        finally:
            run("umount", self.at)

    @contextlib.contextmanager
    def mounted(self) -> "Iterator[None]":
        """The overlay, mounted anew: what the kernel has in memory of the last mount is gone."""
        layers = f"lowerdir={self.lowers()},upperdir={self.upper},workdir={self.work}"
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        run("mount", "-t", "overlay", "-o", f"{layers},{options}", "overlay", self.at)
        try:
            yield
        finally:
            run("umount", self.at)

    def layers(self) -> Layers:
        """What walk() takes."""
        index = self.work / "index" if self.options["index"] == "on" and self.tells_index else None
        frozen = os.fsencode(self.frozen) if self.frozen.exists() else b""
        return Layers(os.fsencode(self.upper), os.fsencode(self.lower), os.fsencode(index) if index else b"", frozen)


@contextlib.contextmanager
def make_image(overlay: Overlay, chance: random.Random) -> "Iterator[None]":
    """A random lower layer: a directory, or now and then the image of a file system."""
    from diff_history import fill

    fill(overlay.top / "tree", chance)
    kind = chance.choice(["directory"] * 9 + list(MAKE))
    tree, image = overlay.top / "tree", overlay.top / "image"
    if kind == "directory" or not shutil.which(MAKE[kind].split()[0]):
        run("mount", "-o", "bind,ro", tree, overlay.lower)
    else:
        run(*MAKE[kind].format(tree=tree, image=image).split())
        run("mount", "-o", "loop,ro", image, overlay.lower)
    run("mount", "--make-private", overlay.lower)
    try:
        yield
    finally:
        run("umount", overlay.lower)


def run(*command: object) -> None:
    """Run `command`. Raises CalledProcessError with what it said."""
    try:
        subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{' '.join(map(str, command))}: {error.stderr}") from error
