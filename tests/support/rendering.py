# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trees of images for overlayctl render, each made of a case, and its installed verb."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import fakeroot
from product import REPOSITORY

CASES = sorted(path for path in (REPOSITORY / "tests/overlayctl/render/cases").iterdir() if path.is_dir())
COMMANDS = ("mkdir", "rmdir", "chmod", "chown", "mv", "rm", "ln", "touch", "echo", "mount", "umount")

Result = subprocess.CompletedProcess[str]
Render = Callable[..., Result]


def build(name: str, root: Path) -> "list[str]":
    """Make the tree of the case whose name starts with `name`; the arguments that it is rendered with."""
    case = next(path for path in CASES if path.name.startswith(name))
    fakeroot.build(case, root)
    # An image's tree has none of this, except for the list of file systems, which says what its kernel can do.
    shutil.rmtree(root / "proc/self", ignore_errors=True)
    add_commands(root)
    arguments = case / "arguments"
    return arguments.read_text().splitlines() if arguments.exists() else []


def add_commands(root: Path) -> None:
    for path in (*(f"bin/{name}" for name in COMMANDS), "sbin/modprobe"):
        place = root / path
        if not os.path.lexists(place):
            place.parent.mkdir(exist_ok=True)
            place.touch()
