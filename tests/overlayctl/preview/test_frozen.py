# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl preview where an update has frozen something (Rollback=yes): a step back, a fold, a refusal."""

import json
import os
from pathlib import Path

import pytest

import schemas
from device import VAR, needs_mounts
from device import Device as Machine
from hold import hold
from overlay_prepare import manifest, room
from persistentdevice import NEW, OLD, pretend
from previewing import run
from product import Run
from rollbackdevice import THIRD, RollbackDevice, make
from tree import fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
TREES = {
    OLD: ("conf=1", "lib/app/one=1", "lib/app/two=1", "o/x=1"),
    NEW: ("conf=2", "lib/app/one=2", "lib/app/two=2", "lib/app/new=2", "o/x=2", "o/new=2"),
    THIRD: ("conf=3", "lib/app/one=3", "lib/app/new=3", "o/x=3", "o/new=3", "mine=3", "made=3", "tree/new=3"),
}
UNDONE = ["deep/er/file", "deep/er/more", "gone", "lib/app/two", "made", "mine", "own", "tree/z"]


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RollbackDevice:
    """Image A was used, then B, with what both have written still in two layers."""
    pretend(tmp_path, monkeypatch)
    made = make(tmp_path)
    made.use_b()
    # As the background process of B's boot does.
    before = Path.cwd()
    os.chdir(made.where)
    manifest.write(hold(made.backing), NEW)
    os.chdir(before)
    # Made and removed since: a whiteout for what no image has had.
    fill(made.upper, "made!", "deep/x!")
    fill(made.backing, "frozen/upper/made=a", "frozen/upper/deep/x=a")
    return made


class Asked:
    """What preview says of an image that has the text `version` in its os-release."""

    def __init__(self, device: RollbackDevice, version: str, *words: str, conf: str = "Rollback=yes") -> None:
        top = device.where.parent
        for entries in TREES.values():
            fill(top / f"tree-{entries[0][-1]}/var", *entries)
        new = top / f"tree-{TREES[version][0][-1]}"
        fill(new, f"etc/os-release={version}", f"etc/overlay-generator.conf=[/var]\n{conf}\n")
        command = ["preview", str(new), "--upper", str(device.upper), "--old", str(top / "tree-2"), *words]
        self.status, text, self.errors = run(*command, "--json")
        lines = [json.loads(line) for line in text.splitlines()]
        for one in lines:
            schemas.validate("preview", one)
        self.summary = lines[-1] if lines else {}
        self.found = [(one["kind"], one["path"], one.get("what", [])) for one in lines[:-1]]
        self.notes = " ".join(self.summary.get("notes", []))
        self.text = "" if self.status == 3 else run(*command)[1]


def test_the_image_before_steps_back(device: RollbackDevice) -> None:
    before = read_tree(device.backing)
    asked = Asked(device, OLD, "--fail-on", "undone")
    assert (asked.status, asked.summary["rollback"], asked.summary["policy"]) == (1, "back", "keep")
    assert [path for _, path, _ in asked.found] == [f"/var/{path}" for path in sorted([*UNDONE, "deep/x"])]
    assert {kind for kind, _, _ in asked.found} == {"undone"}
    assert [path for _, path, what in asked.found if what] == [
        "/var/deep/x",
        "/var/gone",
        "/var/lib/app/two",
        "/var/made",
    ]
    assert "note: it is version 1: its data of 20" in asked.text
    assert "come back, and what was written since is kept as undone\n" in asked.text
    assert "/var/gone  (its deletion)\n" in asked.text
    assert read_tree(device.backing) == before


@pytest.mark.parametrize("path", ["/var/deep", "/var/deep/er/more", "/var/conf"])
def test_a_step_back_below_a_path(path: str, device: RollbackDevice) -> None:
    expected = [f"/var/{one}" for one in sorted([*UNDONE, "deep/x"]) if f"/var/{one}/".startswith(f"{path}/")]
    asked = Asked(device, OLD, path)
    assert (asked.status, [one for _, one, _ in asked.found]) == (0, expected)


@pytest.mark.parametrize("policy", ["keep", "refresh", "prune", "reset"])
def test_a_third_image_finds_what_it_would_find_after_a_fold(policy: str, device: RollbackDevice) -> None:
    asked = Asked(device, THIRD, "--policy", policy)
    assert (asked.status, asked.summary["rollback"], asked.summary["policy"]) == (0, "folded", policy)
    assert "there is no way back to version 1 any more" in asked.notes
    fill(device.backing, "commit=")
    device.start(NEW)
    assert not (device.backing / "frozen/image").exists()
    after = Asked(device, THIRD, "--policy", policy)
    assert asked.found == after.found
    assert len(after.found) > 3
    assert after.summary["rollback"] == "frozen"


@pytest.mark.parametrize(
    ("version", "conf", "commit", "action"),
    [
        (OLD, "Rollback=no", False, "back"),
        (OLD, "Rollback=yes", True, "folded"),
        (NEW, "Rollback=yes", False, "left"),
        (NEW, "Rollback=no", False, "folded"),
        (NEW, "Rollback=yes", True, "folded"),
        (THIRD, "Rollback=no", False, "folded"),
    ],
)
def test_what_is_due(version: str, conf: str, commit: bool, action: str, device: RollbackDevice) -> None:
    fill(device.backing, *(["commit="] if commit else []))
    asked = Asked(device, version, conf=conf)
    assert (asked.status, asked.summary["rollback"]) == (0, action)
    if version == NEW:
        assert asked.found == []


def test_the_first_update_is_not_frozen(device: RollbackDevice) -> None:
    fill(device.backing, "commit=")
    device.start(NEW)
    (device.backing / "rollback").unlink()
    asked = Asked(device, THIRD, "--policy", "prune")
    assert (asked.summary["rollback"], asked.summary["policy"]) == ("refused", "prune")
    assert (
        "the data will not go back with the image before it: the image before did not have Rollback=yes" in asked.notes
    )


def test_without_room_for_a_second_layer_nothing_is_dropped(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "find_lack", lambda _backing: "9 inodes are left")
    asked = Asked(device, THIRD, "--policy", "prune")
    assert (asked.summary["rollback"], asked.summary["policy"], asked.summary["asked"]) == ("folded", "keep", "prune")
    assert "the data will not go back with the image before it: 9 inodes are left" in asked.notes
    assert "dropped" not in {kind for kind, _, _ in asked.found}


def test_a_step_back_that_was_cut_off_wants_a_boot(device: RollbackDevice) -> None:
    fill(device.backing, "frozen/undoing/x=1")
    asked = Asked(device, OLD)
    assert (asked.status, asked.summary) == (3, {})
    assert "frozen: a step back was cut off; boot once, and ask again" in asked.errors


def test_an_empty_directory_for_frozen_layers_is_nothing(device: RollbackDevice) -> None:
    fill(device.backing, "commit=")
    device.start(NEW)
    fill(device.backing, "frozen/upper/")
    assert Asked(device, THIRD).summary["rollback"] == "frozen"


def test_a_link_in_place_of_what_is_frozen_is_not_followed(device: RollbackDevice, tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "upper/secret=1", "image=IMAGE_VERSION=1\n")
    (device.backing / "frozen").rename(device.backing / "moved")
    (device.backing / "frozen").symlink_to(tmp_path / "elsewhere")
    asked = Asked(device, THIRD)
    assert "secret" not in json.dumps(asked.found)
    assert asked.summary["rollback"] == "frozen"


@needs_mounts
def test_on_a_device(run: Run, image: Path, tmp_path: Path) -> None:
    machine = Machine(run, image, tmp_path)
    machine.add_disk()
    fill(machine.root, "etc/overlay-generator.conf=[/var]\nRollback=yes\n")
    for version, script in enumerate(("echo one >/var/lib/app/conf", "echo two >/var/lib/app/data"), 1):
        fill(machine.root, f"etc/os-release=IMAGE_ID=test\nIMAGE_VERSION={version}\n")
        machine.boot(script)
    for version in (1, 3):
        top = machine.root / f"image-{version}"
        fill(
            top,
            f"etc/os-release=IMAGE_ID=test\nIMAGE_VERSION={version}\n",
            "etc/overlay-generator.conf=[/var]\nRollback=yes\n",
            f"etc/fstab=LABEL=data {VAR} ext4 defaults 0 2\n",
            "var/lib/app/conf=new",
        )
    output = machine.boot("for version in 1 3; do overlayctl preview --json /image-$version >/tmp/$version; done")
    found = {}
    for version in (1, 3):
        lines = (machine.root / f"tmp/{version}").read_text().splitlines()
        assert lines, output
        found[version] = [json.loads(line) for line in lines]
    assert [(one["kind"], one["path"]) for one in found[1][:-1]] == [("undone", "/var/lib/app/data")]
    assert ("hidden", "/var/lib/app/conf") in [(one["kind"], one["path"]) for one in found[3]]
    assert [found[version][-1]["rollback"] for version in (1, 3)] == ["back", "folded"]
