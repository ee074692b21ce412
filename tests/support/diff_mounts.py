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
    """The layers in `top`, mounted at `at` with `options`. `tells_index`: walk() is told of the index."""

    tells_index = True

    def __init__(self, top: Path, chance: random.Random) -> None:
        self.top = top
        self.at, self.lower, self.upper, self.work = (top / name for name in ("at", "lower", "upper", "work"))
        for path in (self.at, self.lower, self.upper, self.work, top / "tree"):
            path.mkdir()
        self.chance = chance
        self.normalised = False
        self.options: dict[str, str] = {}
        self.change_options()

    def change_options(self) -> None:
        """Other options for the next mount, of those that make sense with what was written under the last ones."""
        chance, last = self.chance, self.options
        # What was written with it can't be read without.
        metacopy = last.get("metacopy") == "on" or chance.random() < 0.3
        index = chance.random() < 0.5
        can_export = index and not metacopy and not self.normalised
        self.options = {
            "redirect_dir": "on" if metacopy else chance.choice(["on", "on", "follow", "off"]),
            "index": "on" if index else "off",
            "metacopy": "on" if metacopy else "off",
            "xino": chance.choice(["on", "off", "auto"]),
            "nfs_export": "on" if can_export and chance.random() < 0.3 else "off",
        }

    @contextlib.contextmanager
    def mounted(self) -> "Iterator[None]":
        """The overlay, mounted anew: what the kernel has in memory of the last mount is gone."""
        layers = f"lowerdir={self.lower},upperdir={self.upper},workdir={self.work}"
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        run("mount", "-t", "overlay", "-o", f"{layers},{options}", "overlay", self.at)
        try:
            yield
        finally:
            run("umount", self.at)

    def layers(self) -> Layers:
        """What walk() takes."""
        index = self.work / "index" if self.options["index"] == "on" and self.tells_index else None
        return Layers(os.fsencode(self.upper), os.fsencode(self.lower), os.fsencode(index) if index else b"")


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
