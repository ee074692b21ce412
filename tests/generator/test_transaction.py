# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""systemd finds no ordering cycle among the units of any case, along with its own and those of fstab and crypttab.

The systemd is this machine's; those of other releases are tried as in test_fstab_differential.py.
"""

import os
from pathlib import Path

import pytest

import fakeroot
from product import Run, skip_without_mount_namespace
from runcase import CASES, read
from transaction import UNITS, find_cycles, prepare_root

SEEN: "set[tuple[str, frozenset[tuple[str, bytes]]]]" = set()
TREES = ["/", *filter(None, os.environ.get("FSTAB_TREES", "").split(":"))]


@pytest.fixture(autouse=True)
def _possible() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a root directory of its own")
    skip_without_mount_namespace()


def generate(case: Path, run: Run, root: Path) -> "frozenset[tuple[str, bytes]]":
    """Everything in the machine of `case` that bears on the order: our units, fstab and crypttab."""
    fakeroot.build(case, root)
    environ = dict(line.split("=", 1) for line in read(case / "env").splitlines())
    places = prepare_root(root)
    run("--root", root, *places, environ=environ)
    units = [path for place in places for path in place.rglob("*") if path.is_file()]
    tables = [path for path in (root / "etc/fstab", root / "etc/crypttab") if path.is_file()]
    return frozenset((str(path.relative_to(root)), path.read_bytes()) for path in (*units, *tables) if units)


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_case_has_a_cycle(case: Path, tree: str, run: Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    files = generate(case, run, root)
    # Many cases ask for the same in different ways.
    if not files or (tree, files) in SEEN:
        return
    SEEN.add((tree, files))
    cycles, units = find_cycles(root, Path(tree, "usr"))
    assert "Unit local-fs.target" in units
    assert cycles == []


@pytest.mark.parametrize("tree", TREES)
def test_a_cycle_would_be_found(tree: str, run: Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert generate(fakeroot.CASES / "01-default", run, root)
    with (root / UNITS / "normal/prepare-var-overlay.service").open("a") as stream:
        stream.write("[Unit]\nAfter=local-fs.target\n")
    cycles, _ = find_cycles(root, Path(tree, "usr"))
    assert cycles
