# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The text of overlayctl metrics, read by the reference parsers of OpenMetrics and of what node_exporter takes."""

import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from openmetrics import parse, parse_textfile
from overlay_generator import __version__
from overlay_generator.model import Backing, Directory, OverlayMount, Skipped
from overlay_prepare.resetrequest import Staged
from overlayctl.metrics import exposition
from overlayctl.metrics.exposition import Facts
from overlayctl.mounts import Mount
from overlayctl.status.machine import DirectoryStatus, MachineStatus
from overlayctl.status.space import Space

BACKING = "/run/buildroot/mounts/var"
DISK = Mount(3, 1, "8:1", BACKING, ("rw",), "ext4", "/dev/sda1", ("rw",))
WANTED = OverlayMount(
    "/var", "var", Backing(BACKING, BACKING, False, False, True, "/etc/fstab:1"), Directory("directory")
)
STAMP = 'IMAGE_ID="a\\b"\nIMAGE_VERSION=7\next4=00'
GOOD = DirectoryStatus(
    "/var", WANTED, None, Mount(2, 1, "0:40", "/var", ("rw",), "overlay", "overlay", ()), BACKING, DISK,
    space=Space(1000, 100, 800, 90, 10, False), image=STAMP, image_current=True,
)  # fmt: skip
FACTS = Facts(dropped=3, staged=False)


def samples(
    machine: MachineStatus, facts: "dict[str, Facts] | None" = None, image: str = ""
) -> "dict[tuple[str, str], float]":
    """Every sample by its name and directory, as both parsers read it."""
    text = exposition.spell(machine, facts or {}, image)
    families = parse(text)
    assert [family.type for family in families] == ["gauge"] * len(families)
    assert all(family.documentation for family in families)
    found = [sample for family in families for sample in family.samples]
    # node_exporter's parser knows no types but those of its own format; the last line is a comment to it.
    assert found == [sample for family in parse_textfile(text) for sample in family.samples]
    return {(sample.name, sample.labels.get("directory", "")): sample.value for sample in found}


def of_var(directory: DirectoryStatus, facts: Facts = FACTS) -> "dict[str, float]":
    found = samples(MachineStatus((directory,)), {"/var": facts})
    return {name.replace("overlay_", "", 1): value for (name, where), value in found.items() if where == "/var"}


ALL = {
    "wanted": 1, "active": 1, "writable": 1, "read_only": 0, "persistent": 1, "persistent_wanted": 1, "fallen_back": 0,
    "status": 0, "upper_size_bytes": 1000, "upper_used_bytes": 100, "upper_free_bytes": 800, "upper_inodes": 90,
    "upper_inodes_used": 10, "dropped_entries": 3, "reset_staged": 0, "image_info": 1, "image_current": 1,
}  # fmt: skip


def test_all_is_there() -> None:
    assert of_var(GOOD) == ALL


MEMORY = replace(DISK, fstype="tmpfs", source="tmpfs")
IN_MEMORY = OverlayMount("/var", "var", Backing(BACKING, "/run", True, False, False, ""), Directory("directory"))
LOST = OverlayMount(
    "/var", "var", Backing(BACKING, "/run", True, True, False, "", lost="a cycle"), Directory("directory")
)
OTHERS: "list[tuple[DirectoryStatus, dict[str, float]]]" = [
    (replace(GOOD, backing=MEMORY, fallen_back="it is gone"), {"persistent": 0, "fallen_back": 1, "status": 1}),
    (replace(GOOD, wanted=IN_MEMORY, backing=MEMORY), {"persistent": 0, "persistent_wanted": 0}),
    (
        replace(GOOD, wanted=LOST, backing=MEMORY, fallen_back="a cycle"),
        {"persistent": 0, "persistent_wanted": 1, "fallen_back": 1, "status": 1},
    ),
    (replace(GOOD, volatile="/dev/zram0 is memory"), {"persistent": 0, "status": 1}),
    (replace(GOOD, read_only=True), {"writable": 0, "read_only": 1, "status": 1}),
    (replace(GOOD, image_current=False), {"image_current": 0, "status": 1}),
]


@pytest.mark.parametrize(("directory", "other"), OTHERS)
def test_what_differs(directory: DirectoryStatus, other: "dict[str, float]") -> None:
    assert of_var(directory) == {**ALL, **other}


def test_what_is_staged() -> None:
    assert of_var(GOOD, Facts(0, True)) == {**ALL, "dropped_entries": 0, "reset_staged": 1}
    assert exposition.is_staged(replace(GOOD, staged=Staged(False, ("/var/x",), ())))
    assert not exposition.is_staged(GOOD)


def test_what_is_not_known_is_not_there() -> None:
    """No number is better than a wrong one: absent() and staleness are what monitoring has for that."""
    found = of_var(replace(GOOD, image_current=None), Facts(None, None))
    assert set(ALL) - set(found) == {"image_current", "dropped_entries", "reset_staged"}
    found = of_var(replace(GOOD, space=None))
    assert not [name for name in found if name.startswith("upper_")]
    found = of_var(replace(GOOD, space=Space(1000, 100, 800, 0, 0, False)))
    assert [name for name in found if name.startswith("upper_inodes")] == []


def test_a_directory_that_is_not_overlaid() -> None:
    found = of_var(replace(GOOD, overlay=None, space=None, image="", image_current=None), Facts(None, False))
    expected = {**ALL, "active": 0, "writable": 0, "persistent": 0, "status": 2}
    assert found == {name: value for name, value in expected.items() if name in found}
    assert found["persistent_wanted"] == 1
    left = DirectoryStatus("/var", skipped=Skipped("/var", "the owner's own"))
    assert of_var(left, Facts(None, None))["status"] == 0


def test_the_machine() -> None:
    found = samples(MachineStatus((), problems=("a", "b"), notes=("c",)))
    assert found == {("overlay_generator_info", ""): 1, ("overlay_problems", ""): 2, ("overlay_notes", ""): 1}
    families = {family.name: family for family in parse(exposition.spell(MachineStatus(), {}, ""))}
    assert families["overlay_generator_info"].samples[0].labels == {"version": __version__}


def find_image(directory: DirectoryStatus, image: str) -> "dict[str, str]":
    families = parse(exposition.spell(MachineStatus((directory,)), {}, image))
    (sample,) = next(family for family in families if family.name == "overlay_image_info").samples
    return dict(sample.labels)


def test_the_image_is_that_of_the_upper_layer_and_in_memory_the_one_that_runs() -> None:
    now = "IMAGE_ID=now\nBUILD_ID='a b'\n"
    assert find_image(GOOD, now) == {"directory": "/var", "image_id": "a\\b", "image_version": "7", "build_id": ""}
    with pytest.raises(StopIteration):
        find_image(replace(GOOD, image=""), now)
    memory = replace(DISK, fstype="tmpfs")
    assert find_image(replace(GOOD, image="", backing=memory), now) == {
        "directory": "/var", "image_id": "now", "image_version": "", "build_id": "a b",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("where", "label"),
    [('/a"b', '/a"b'), ("/a\\b", "/a\\b"), ("/a\nb", "/a\\x0ab"), ("/\udcff", "/\\xff"), ("/ä €", "/ä €")],
)
def test_names_of_directories_that_are_not_plain(where: str, label: str) -> None:
    machine = MachineStatus((replace(GOOD, where=where), replace(GOOD, where="/var")))
    assert ("overlay_active", label) in samples(machine, {where: FACTS})
    exposition.spell(machine, {}, "").encode("utf-8")


def test_promtool_has_nothing_to_say() -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian: prometheus)")
    text = exposition.spell(MachineStatus((GOOD, replace(GOOD, where="/srv"))), {"/var": FACTS}, "")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_bytes_have_their_unit() -> None:
    text = exposition.spell(MachineStatus((GOOD,)), {}, "")
    assert re.findall(r"^# UNIT (\S+) bytes$", text, re.M) == re.findall(r"^# TYPE (\S+_bytes) ", text, re.M) != []
