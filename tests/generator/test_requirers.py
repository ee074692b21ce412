# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""x-systemd.required-by= of fstab with a unit of ours: no boot ends worse for it than without the overlay."""

import os
import re
from pathlib import Path

import pytest

from overlay_generator.decide import decide
from overlay_generator.model import Directory, FstabEntry, Inputs, Request
from overlay_generator.requirers import Softened
from product import Run, skip_without_mount_namespace
from transaction import ask_both

BACKING = "/run/buildroot/mounts/var"
TREES = ["/", *filter(None, os.environ.get("FSTAB_TREES", "").split(":"))]


def soften(*entries: "tuple[str, str, str]", wheres: "tuple[str, ...]" = ("/var",)) -> "tuple[Softened, ...]":
    lines = tuple(FstabEntry(what, where, "ext4", options, "/etc/fstab") for what, where, options in entries)
    directories = {where: Directory("directory") for where in wheres}
    plan = decide(Inputs(Request("/proc/cmdline", wheres), lines, directories=directories))
    assert len(plan.problems) == len(plan.softened)
    return plan.softened


@pytest.mark.parametrize(
    "unit", ["var.mount", "prepare-var-overlay.service", "fallback-run-buildroot-mounts-var.service"]
)
def test_a_disk_is_not_required_by_what_is_there_without_it(unit: str) -> None:
    found = soften(("LABEL=data", BACKING, f"x-systemd.required-by={unit}"))
    assert found == (Softened(unit, "run-buildroot-mounts-var.mount", "/var"),)


def test_a_disk_that_may_wait_is_spared_local_fs_target_alone() -> None:
    """Whatever else its line names: that may be no name of a file."""
    options = "x-systemd.required-by=local-fs.target,x-systemd.required-by=../../x,x-systemd.required-by=a.service"
    line = FstabEntry("LABEL=data", BACKING, "ext4", options, "/etc/fstab")
    request = Request("/proc/cmdline", ("/var",))
    inputs = Inputs(request, (line,), crypttab="d /dev/sda3 /var/k\n", directories={"/var": Directory("directory")})
    assert decide(inputs).softened == (Softened("local-fs.target", "run-buildroot-mounts-var.mount", "/var"),)


def test_of_any_line() -> None:
    line = ("LABEL=x", "/srv/x", "nofail,x-systemd.required-by=run-buildroot-mounts-var.mount")
    assert soften(line) == (Softened("run-buildroot-mounts-var.mount", "srv-x.mount", "/var"),)


@pytest.mark.parametrize(
    "options",
    [
        "x-systemd.wanted-by=var.mount",
        "x-systemd.required-by=other.service",
        "x-systemd.required-by=var.mount,x-systemd.required-by=local-fs.target",
        "x-systemd.required-by=var.mount,x-systemd.automount",
        "defaults",
    ],
)
def test_what_is_left_as_it_is(options: str) -> None:
    assert soften(("LABEL=data", BACKING, options)) == ()


def test_the_first_line_for_a_place_counts() -> None:
    assert soften(("LABEL=a", "/a", "defaults"), ("LABEL=b", "/a", "x-systemd.required-by=var.mount")) == ()


def test_only_of_what_is_overlaid() -> None:
    assert soften(("LABEL=a", "/a", "x-systemd.required-by=srv.mount")) == ()


def list_units(fstab: str, crypttab: str, tree: str, run: Run, root: Path) -> "dict[str, str]":
    """What systemd says of each unit that it would start."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for a root directory of its own")
    skip_without_mount_namespace()
    files = {"/etc/fstab": fstab, "/etc/crypttab": crypttab}
    _, _, listing = ask_both(run, root, tree, "overlayfs.mounts=/var", files)
    return {name: text for name, _, text in (one.partition(":\n") for one in re.split("(?:->|→) Unit ", listing))}


@pytest.mark.parametrize("tree", TREES)
def test_systemd_sees_no_requirement(tree: str, run: Run, tmp_path: Path) -> None:
    options = "x-systemd.required-by=var.mount,x-systemd.required-by=prepare-var-overlay.service"
    units = list_units(f"LABEL=data {BACKING} ext4 {options}\n", "", tree, run, tmp_path / "root")
    assert "Requires: var.mount" in units["local-fs.target"]
    for name in ("var.mount", "prepare-var-overlay.service"):
        assert "Wants: run-buildroot-mounts-var.mount" in units[name]
        assert "Requires: run-buildroot-mounts-var.mount" not in units[name]


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize(("fstab", "wanted"), [
    (f"LABEL=data {BACKING} ext4 defaults\n", ["run-buildroot-mounts-var"]),
    (f"LABEL=data /data ext4\n/data/up {BACKING} none bind\n", ["data", "run-buildroot-mounts-var"]),
    (f"LABEL=data /data ext4\n/data/up {BACKING} none bind,nofail\n", ["data"]),
])  # fmt: skip
def test_a_disk_that_may_wait_for_the_overlay_does_not_end_in_emergency_mode(
    fstab: str, wanted: "list[str]", tree: str, run: Run, tmp_path: Path
) -> None:
    units = list_units(fstab, "d /dev/sda3 /var/keys/d luks\n", tree, run, tmp_path / "root")
    for name in wanted:
        assert f"Wants: {name}.mount" in units["local-fs.target"]
        assert f"Requires: {name}.mount" not in units["local-fs.target"]
    assert "Requires: var.mount" in units["local-fs.target"]
