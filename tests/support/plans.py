# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Overlays as decide() plans them, and the units made of them, for the tests of render."""

from overlay_generator.model import Backing, Directory, OverlayMount, Plan, UnitFile
from overlay_generator.names import backing_name, backing_path
from overlay_generator.render import render


def overlay(
    where: str = "/var",
    at: str = "",
    tmpfs: bool = True,
    volatile: bool = True,
    nofail: bool = False,
    directory: "Directory | None" = None,
    parent: str = "/",
    before: "tuple[str, ...]" = (),
    optional: bool = False,
) -> OverlayMount:
    path = backing_path(where)
    backing = Backing(path, at or path, tmpfs, volatile, nofail, "/proc/cmdline" if tmpfs else "/etc/fstab")
    directory = directory or Directory("directory")
    return OverlayMount(where, backing_name(where), backing, directory, parent, before, optional)


def disk(where: str = "/var", at: str = "", nofail: bool = False) -> OverlayMount:
    return overlay(where, at, tmpfs=False, volatile=False, nofail=nofail)


def units(*mounts: OverlayMount, size: int = 25, load_module: bool = False, shell: bool = True) -> "dict[str, str]":
    plan = Plan(mounts, size=size, load_module=load_module, library="/usr/lib/overlay-generator", shell=shell)
    return {file.path: file.text for file in render(plan) if isinstance(file, UnitFile)}


def values(text: str, key: str) -> "list[str]":
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(key + "=")]
