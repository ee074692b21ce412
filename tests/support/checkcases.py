# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds the image of a case of overlayctl check: a faultless one, with the case's tree laid over it.

A case is a directory in tests/overlayctl/check/cases: README (one line), root/ and layout as fakeroot.py has them,
`options` (the words of the command line, {root} is the tree), `expected`. In `expected`, 3.X is the version of Python
that the image has.
"""

import os
import re
import shutil
from pathlib import Path

import pytest

import fakeroot

CASES = Path(__file__).resolve().parents[1] / "overlayctl/check/cases"
NAMES = sorted(path.name for path in CASES.iterdir() if path.name[0].isdigit())

# What a good image has besides the product.
_PROGRAMS = ("mount", "umount", "mkdir", "chown", "chmod", "modprobe", "test", "touch", "true", "mv", "rm", "cat")
_MODULES = (
    "encodings/__init__", "encodings/aliases", "encodings/utf_8", "codecs", "io", "abc", "argparse", "tarfile",
    "dataclasses", "difflib", "subprocess", "json/__init__", "fnmatch", "hashlib",
)  # fmt: skip
_PACKAGED = ("psutil/__init__", "pyudev/__init__")


def build_good(image: Path, common: Path) -> str:
    """Make the good image at `common` from what `make install` gives; the version of Python that it has."""
    shutil.copytree(image, common, symlinks=True)
    shutil.copytree(CASES / "common", common, symlinks=True, dirs_exist_ok=True)
    compiled = next((common / "usr/lib/overlay-generator/overlay_generator/__pycache__").iterdir())
    found = re.search(r"cpython-3(\d+)", compiled.name)
    assert found
    version = f"3.{found[1]}"
    binaries = common / "usr/bin"
    binaries.mkdir(parents=True, exist_ok=True)
    for name in (*_PROGRAMS, f"python{version}"):
        (binaries / name).write_text("#!/bin/false\n")
        (binaries / name).chmod(0o755)
    (binaries / "python3").symlink_to(f"python{version}")
    for link in ("bin", "sbin"):
        (common / link).symlink_to("usr/bin")
    for name in _MODULES:
        _write(common / f"usr/lib/python{version}/{name}.py")
    for name in _PACKAGED:
        _write(common / f"usr/lib/python3/dist-packages/{name}.py")
    (common / "var/lib").mkdir(parents=True)
    # As systemd-update-done --root leaves it: younger than /usr, whatever a case puts there.
    _write(common / "var/.updated")
    os.utime(common / "var/.updated", (2**31 - 1, 2**31 - 1))
    return version


def build(name: str, common: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> "list[str]":
    """Make the tree of the case `name` at `root`. Returns the words to check it with."""
    # These cases have a common tree of their own.
    monkeypatch.setattr(fakeroot, "CASES", common.parent)
    fakeroot.build(CASES / name, root)
    options = CASES / name / "options"
    return options.read_text().replace("{root}", str(root)).splitlines() if options.exists() else []


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
