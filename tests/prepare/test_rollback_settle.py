# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rollback=yes: what settle() and follow() find, do, return and tell in each state of a disk, without a whole boot."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import events, fold, freeze, frozen, imagechange, rollback, room, stamp
from overlay_prepare.report import ERROR, NOTICE, Unusable
from overlay_prepare.request import Request
from persistentdevice import NEW, OLD, pretend
from rollbackdevice import THIRD, RollbackDevice, make
from tree import fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
Told = list[tuple[str, int, str, dict[str, str]]]
BACK = "back on the image before, with its data; those written since are in {}/undone"
ONE = "the data from before the update and those after it are one again"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RollbackDevice:
    pretend(tmp_path, monkeypatch)
    return make(tmp_path)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What becomes an event of the journal."""
    found: Told = []
    for module in (rollback, imagechange):
        monkeypatch.setattr(module, "tell", lambda *words: found.append(words))
    return found


def ask(device: RollbackDevice, word: str = "yes", policy: str = "keep", *direct: str) -> Request:
    backing = str(device.backing)
    paths = tuple(f"{device.where}/{path}" for path in direct)
    return Request(str(device.where), backing, backing, "ext4", policy=policy, direct=paths, rollback=word)


def settle(device: RollbackDevice, image: str, word: str = "yes", staged: bool = False) -> bool:
    return rollback.settle(ask(device, word), hold(device.backing), image, staged)


def test_without_anything_frozen_nothing_is_in_the_way(device: RollbackDevice, told: Told) -> None:
    shutil.rmtree(device.backing / "frozen")
    before = read_tree(device.backing)
    for staged in (False, True):
        assert settle(device, OLD, staged=staged)
        assert settle(device, OLD, "no", staged)
    assert read_tree(device.backing) == before
    assert told == []


@pytest.mark.parametrize("word", ["yes", "hold", "no"])
def test_notes_of_what_is_not_frozen_go(word: str, device: RollbackDevice, told: Told) -> None:
    fill(device.backing, "frozen/names=old", "frozen/since=TIME=5", "frozen/making/x")
    before = read_tree(device.upper)
    assert settle(device, OLD, word, staged=True)
    assert read_tree(device.upper) == before
    if word == "no":
        assert not (device.backing / "frozen").exists()
    else:
        assert os.listdir(device.backing / "frozen") == ["upper"]
        assert not (device.backing / "trash").exists()
    assert told == []


@pytest.mark.parametrize("word", ["yes", "hold"])
def test_where_nothing_is_due_nothing_is_changed(word: str, device: RollbackDevice, told: Told) -> None:
    device.use_b()
    told.clear()
    before = read_tree(device.backing)
    assert settle(device, NEW, word)
    assert read_tree(device.backing) == before
    assert told == []


def test_a_layer_for_the_mount_that_is_missing_is_made_before_the_mount(device: RollbackDevice) -> None:
    device.use_b()
    shutil.rmtree(device.backing / "frozen/upper")
    assert settle(device, NEW)
    assert not stamp.is_current(hold(device.backing), NEW)
    assert stamp.read_previous(hold(device.backing)) == NEW
    device.start()
    assert device.shown("linked") == "a"


@pytest.mark.parametrize(("image", "word", "event", "text"), [
    (OLD, "yes", events.STEPPED_BACK, BACK), (OLD, "no", events.STEPPED_BACK, BACK),
    (OLD, "hold", events.DATA_FOLDED, ONE), (NEW, "no", events.DATA_FOLDED, ONE),
    (THIRD, "yes", events.DATA_FOLDED, ONE),
])  # fmt: skip
def test_what_is_done_is_told_once(
    image: str, word: str, event: str, text: str, device: RollbackDevice, told: Told, tmp_path: Path
) -> None:
    device.use_b()
    told.clear()
    fill(device.backing, "trash/0/x", "spare/0")
    assert settle(device, image, word, staged=True)
    assert not (device.backing / "frozen/image").exists()
    back = event == events.STEPPED_BACK
    versions = {"FROM_VERSION": "2", "TO_VERSION": image[-2]}
    fields = {"where": str(device.where), **versions, **({"undone": f"{device.backing}/undone"} if back else {})}
    assert told[0] == (event, NOTICE, f"{device.where}: {text.format(device.backing)}", fields)
    # A step back is a change of the image as well, one that no boot finds otherwise.
    assert [words[0] for words in told[1:]] == ([events.IMAGE_CHANGED] if back else [])
    assert (device.shown("own"), device.shown("linked")) == ("" if back else "b", "a")
    what = "stepped-back" if back else "folded"
    text = (tmp_path / "state/var.rollback").read_text()
    assert text == f'EVENT="{what}"\nFROM_VERSION="2"\nTO_VERSION="{image[-2]}"\n'
    if back:
        assert 'DATA="stepped-back"\n' in (tmp_path / "state/var.changed").read_text()
        assert told[1][3]["references"] == "0"
    assert (device.backing / "trash/0/x").exists(), "there is room"
    assert (device.backing / "spare/0").exists()


@pytest.mark.parametrize("word", ["yes", "no"])
def test_a_fold_that_fails_is_told_and_two_layers_are_left(
    word: str, device: RollbackDevice, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    device.use_b()
    told.clear()
    monkeypatch.setattr(fold, "fold", fail)
    reason = "what an update has frozen can't be folded: Input/output error"
    if word == "no":
        with pytest.raises(Unusable, match=f"^{reason}$"):
            settle(device, NEW, word)
        assert told == []
        return
    assert not settle(device, THIRD, word)
    ((event, level, text, fields),) = told
    assert (event, level, fields["reason"]) == (events.ROLLBACK_REFUSED, ERROR, reason)
    assert text == f"{device.where}: {reason}; it is tried again at the next boot"


def test_a_note_that_a_cut_has_left_with_two_names_is_healed_before_it_is_read(device: RollbackDevice) -> None:
    device.use_b()
    (device.backing / "names").unlink()
    os.link(device.backing / "frozen/names", device.backing / "names")
    assert settle(device, NEW)
    assert not (device.backing / "names").exists()
    assert device.read("frozen/names")


@pytest.mark.parametrize(("image", "with_upper", "left"), [
    (OLD, False, "a"), (OLD, True, "a"), (NEW, False, "b"), (NEW, True, "other"),
])  # fmt: skip
def test_a_step_back_that_was_cut_off_at_its_beginning(
    image: str, with_upper: bool, left: str, device: RollbackDevice, told: Told, tmp_path: Path
) -> None:
    """The newer layer was put away, the older one is not back; perhaps another program has made an upper layer."""
    device.use_b()
    newer = read_tree(device.upper)
    told.clear()
    (tmp_path / "state/var.rollback").unlink()
    device.upper.rename(device.backing / "frozen/undoing")
    if with_upper:
        fill(device.upper, "other=c")
    other = read_tree(device.upper)
    assert settle(device, image)
    assert read_tree(device.upper) == {"a": device.a[0], "b": newer, "other": other}[left]
    assert (device.backing / "frozen/undoing").exists() is (left == "other")
    assert (device.backing / "undone").exists() is (image == OLD)
    names = [events.STEPPED_BACK, events.IMAGE_CHANGED] if image == OLD else []
    assert [words[0] for words in told] == names
    assert (tmp_path / "state/var.rollback").exists() is (image == OLD)
    assert settle(device, image), "and once more there is nothing to do"
    assert len(told) == len(names)


@pytest.mark.parametrize(("previous", "image", "data"), [
    (OLD, OLD, None), (NEW, NEW, None), ("", NEW, None), (NEW, THIRD, "kept"),
])  # fmt: skip
@pytest.mark.parametrize("settled", [True, False])
def test_what_goes_on_top_of_what_is_frozen(
    settled: bool, previous: str, image: str, data: "str | None", device: RollbackDevice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked = ask(device, policy="refresh")
    device.use_b()
    made: list[object] = []
    announced: list[object] = []
    monkeypatch.setattr(freeze, "finish", lambda *words: made.append(words[3:]))
    monkeypatch.setattr(imagechange, "announce", lambda *words: announced.append(words))
    assert rollback.follow(asked, hold(device.backing), previous, image, "keep", settled) == ""
    assert made == [(previous, image, "refresh", settled)]
    assert announced == ([(asked, previous, image, 0, data)] if data else [])


@pytest.mark.parametrize(("previous", "image"), [("", NEW), (OLD, OLD)])
def test_without_another_image_nothing_is_frozen(
    previous: str, image: str, device: RollbackDevice, told: Told, tmp_path: Path
) -> None:
    for policy in ("keep", "prune"):
        assert rollback.follow(ask(device), hold(device.backing), previous, image, policy) == policy
    assert told == []
    assert device.upper.exists()
    assert not (tmp_path / "state/var.rollback").exists()


def test_for_another_image_it_is_frozen(device: RollbackDevice, told: Told, tmp_path: Path) -> None:
    assert rollback.follow(ask(device), hold(device.backing), OLD, NEW, "keep") == ""
    assert [(event, fields.get("references")) for event, _, _, fields in told] == [
        (events.DATA_FROZEN, None), (events.IMAGE_CHANGED, "0"),
    ]  # fmt: skip
    assert 'DATA="frozen"\n' in (tmp_path / "state/var.changed").read_text()
    assert (device.backing / "frozen/image").read_text() == OLD


@pytest.mark.parametrize(("hindrance", "lack", "policy"), [
    ("it would not step back", "", "prune"), ("", "1 inodes are left", "keep"),
])  # fmt: skip
def test_why_it_is_not_frozen_is_told_and_what_then_becomes_of_the_policy(
    hindrance: str, lack: str, policy: str, device: RollbackDevice, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to come back is not dropped for good; what never was to come back is dropped as always."""
    monkeypatch.setattr(freeze, "find_hindrance", lambda *_: hindrance)
    monkeypatch.setattr(room, "find_lack", lambda *_: lack)
    assert rollback.follow(ask(device), hold(device.backing), OLD, NEW, "prune") == policy
    ((event, level, text, fields),) = told
    assert (event, level, fields["reason"]) == (events.ROLLBACK_REFUSED, NOTICE, hindrance or lack)
    assert text.endswith(f"will not go back with the image before this one: {hindrance or lack}")
    assert device.upper.exists()


def test_a_mark_that_can_not_be_read_commits_nothing(device: RollbackDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(frozen, "read_good", fail)
    asked = Request("/var", "/b", "/b", rollback="yes", commit="good")
    assert not rollback._is_committed(asked, hold(device.backing), NEW)
    (device.backing / "commit").mkdir()
    assert not rollback._is_committed(asked, hold(device.backing), NEW), "that is no word of the operator"


@pytest.mark.parametrize(("direct", "moves"), [((), False), (("lib/docker",), True), (("lib/none",), False)])
def test_what_is_in_two_layers_and_passed_through_now_has_to_move(
    direct: "tuple[str, ...]", moves: bool, device: RollbackDevice
) -> None:
    device.start(NEW)
    backing = hold(device.backing)
    with backing.open("frozen") as folder:
        for staged in (False, True):
            due = rollback.find_due(ask(device, "yes", "keep", *direct), backing, folder, NEW, NEW, staged)
            assert due == (rollback.FOLD if moves or staged else rollback.NOTHING)
        due = rollback.find_due(ask(device, "yes", "keep", *direct), backing, folder, NEW, OLD, True)
        assert due == rollback.STEP_BACK, "which leaves one layer"
