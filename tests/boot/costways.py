# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The ways to a writable /var that cost.py compares, each as an image and a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scenario import read_scenario
from values import FIRST_IMAGE, File, Image

SCENARIOS = Path(__file__).resolve().parent / "scenarios"
GENERATOR = "/usr/lib/systemd/system-generators/overlay-generator"
UNITS = "/usr/lib/systemd/system"
# Room for 500 MB three times: the image, the page cache of what is copied, and the copy.
MUCH = 3072

# As Buildroot's BR2_INIT_SYSTEMD_VAR_FACTORY has it: a tmpfs, filled by systemd-tmpfiles from a copy of /var.
FACTORY_MOUNT = """\
[Unit]
Description=Variable files (/var)
DefaultDependencies=no
Conflicts=umount.target
Before=basic.target local-fs.target umount.target
After=swap.target
[Mount]
What=tmpfs
Where=/var
Type=tmpfs
Options=mode=0755,size=50%,nr_inodes=1m
"""
# The least that a generator in Python can cost.
EMPTY_GENERATOR = "#!/usr/bin/python3 -ISB\n"
FACTORY_TMPFILES = "C! /var/payload - - - - /usr/share/factory/var/payload\nd /var/log/journal 0755 root root -\n"


@dataclass(frozen=True)
class Way:
    """One way: its kind, the unit by which /var becomes writable, and how many MB are in it; memory is in MiB."""

    name: str
    title: str
    kind: str
    writable_by: str = "var.mount"
    payload: int = 0
    cmdline: str = ""
    memory: int = 0


WAYS = (
    Way("nothing", "without overlay-generator, /var read-only", "none", ""),
    Way("python", "a generator that is an empty Python program", "python", ""),
    Way("flag-off", "overlay-generator switched off, /var read-only", "ours", ""),
    Way("static", "Buildroot's static units", "static"),
    Way("ours", "overlay-generator", "ours", cmdline="overlayfs.mounts=/var"),
    Way("factory-10", "/var factory by tmpfiles, 10 MB", "factory", "systemd-tmpfiles-setup.service", 10),
    Way("ours-10", "overlay-generator, 10 MB", "ours", payload=10, cmdline="overlayfs.mounts=/var"),
    Way("factory-500", "/var factory by tmpfiles, 500 MB", "factory", "systemd-tmpfiles-setup.service", 500, "", MUCH),
    Way("ours-500", "overlay-generator, 500 MB", "ours", payload=500, cmdline="overlayfs.mounts=/var", memory=MUCH),
)
# Ways that differ from the first in their generator alone; also measured with a second processor to run on.
NO_GENERATOR, GENERATORS = "nothing", ("python", "flag-off", "ours")


def way_image(way: Way) -> Image:
    """Return the image of a way; all images are the same except for what makes the way.

    Raises ScenarioError when the scenario with the static units cannot be read.
    """
    files = []
    if way.kind == "python":
        files.append(File(GENERATOR, "text", EMPTY_GENERATOR, 0o755))
    elif way.kind != "ours":
        files.append(File(GENERATOR, "removed"))
    if way.kind == "static":
        theirs = read_scenario(SCENARIOS / "buildroot-units.ini").images[FIRST_IMAGE].files
        files += [file for file in theirs if file.path.startswith(UNITS)]
    if way.kind == "factory":
        files.append(File(f"{UNITS}/var.mount", "text", FACTORY_MOUNT))
        files.append(File(f"{UNITS}/local-fs.target.requires/var.mount", "link", "../var.mount"))
        files.append(File("/usr/lib/tmpfiles.d/00-factory.conf", "text", FACTORY_TMPFILES))
    if way.payload:
        top = "/usr/share/factory/var" if way.kind == "factory" else "/var"
        files.append(File(f"{top}/payload", "random", f"{way.payload}M"))
    return Image("", files=tuple(files), whole=True)
