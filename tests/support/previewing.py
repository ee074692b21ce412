# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Images and an upper layer made by hand, and overlayctl preview run on them in this process."""

import contextlib
import io
import json
import subprocess
from pathlib import Path

import schemas
from overlayctl import main
from tree import fill


class Update:
    """A step from the image `old` to `new`, whose /var the upper layer is over."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.old, self.new, self.upper = top / "old", top / "new", top / "disk/upper"
        for path in (self.old / "var", self.new / "var", self.upper):
            path.mkdir(parents=True)

    def fill(self, old: "list[str]", new: "list[str]", upper: "list[str]") -> None:
        """Let the images and the upper layer have that, see tree.fill()."""
        fill(self.old / "var", *old)
        fill(self.new / "var", *new)
        fill(self.upper, *upper)

    def run(self, *words: str, new: "Path | None" = None, old: bool = True) -> "tuple[int, str, str]":
        """Exit status, output and errors."""
        command = ["preview", str(new or self.new), "--upper", str(self.upper), *words]
        return run(*command, *(["--old", str(self.old)] if old else []))

    def find(self, *words: str, new: "Path | None" = None, old: bool = True) -> "list[tuple[str, str]]":
        """Kinds and paths of what is found, each held against the schema."""
        status, out, err = self.run("--json", *words, new=new, old=old)
        assert (status in (0, 1), err == "" or status == 1) == (True, True), err
        found = [json.loads(line) for line in out.splitlines()]
        for one in found:
            schemas.validate("preview", one)
        self.summary = found.pop()
        assert self.summary["kind"] == "summary"
        self.found = found
        return [(one["kind"], one["path"]) for one in found]


def run(*words: str) -> "tuple[int, str, str]":
    """The command in this process: exit status, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main.main(list(words))
    return status, out.getvalue(), err.getvalue()


def make_image(kind: str, tree: Path, image: Path) -> Path:
    """An image of the file system `kind` of `tree`."""
    command = {
        "squashfs": ["mksquashfs", tree, image, "-quiet", "-no-progress", "-noappend"],
        "erofs": ["mkfs.erofs", "--quiet", image, tree],
        "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0", "-d", tree, image, "2M"],
    }[kind]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    return image
