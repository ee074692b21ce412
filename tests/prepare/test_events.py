# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which event is told of what: each of them once, and none of an ordinary boot."""

import errno
import os
from pathlib import Path

import pytest

import rollbackdevice
from journald import Journald
from overlay_prepare import events, factoryreset, fold, identity, imagechange, main, overlays, policy, report, room
from overlay_prepare.report import ERROR, NOTICE
from overlay_prepare.request import Request
from persistentdevice import NEW, OLD, Device, pretend
from tree import fill

root = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes need root")


@pytest.fixture
def device(tmp_path: Path, journald: Journald, monkeypatch: pytest.MonkeyPatch) -> Device:
    pretend(tmp_path, monkeypatch)
    made = Device(tmp_path)
    made.boot()
    made.use()
    assert journald.read() == [], "an ordinary boot is no event"
    return made


@root
def test_another_image_is_one_event_and_what_it_drops_another(device: Device, journald: Journald) -> None:
    device.update()
    device.boot("refresh")
    changed, dropped = journald.read()
    assert changed["MESSAGE_ID"] == events.IMAGE_CHANGED
    assert (changed["OVERLAY_FROM_VERSION"], changed["OVERLAY_TO_VERSION"]) == ("1", "2")
    assert (changed["OVERLAY_STEP_BACK"], changed["OVERLAY_WHERE"]) == ("no", str(device.where))
    assert dropped["MESSAGE_ID"] == events.ENTRIES_DROPPED
    assert (dropped["OVERLAY_POLICY"], int(dropped["OVERLAY_COUNT"])) == ("refresh", 1)
    assert dropped["OVERLAY_LIST"] == f"{device.backing}/dropped"
    device.boot("refresh")
    assert journald.read() == []


@root
def test_another_image_is_told_also_where_there_was_nothing_to_do(device: Device, journald: Journald) -> None:
    os.removexattr(device.upper / "lib/app/one", "trusted.overlay.origin")
    device.update()
    device.boot()
    device.where.touch()
    Device.identity = "IMAGE_VERSION=3\n"
    device.boot()
    first, second = journald.read()
    assert first["MESSAGE_ID"] == second["MESSAGE_ID"] == events.IMAGE_CHANGED
    assert second["MESSAGE"] == f"{device.where}: another image; nothing in the upper layer refers to the old one"
    assert second["PRIORITY"] == f"{NOTICE}"


@root
def test_freeze_step_back_and_fold(tmp_path: Path, journald: Journald, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch)
    device = rollbackdevice.make(tmp_path)
    journald.read()
    device.start(NEW)
    fill(device.upper, "own=b")
    device.start(OLD)
    device.start(NEW)
    (device.backing / "commit").touch()
    device.start()
    told = [entry for entry in journald.read() if entry["MESSAGE_ID"] != events.IMAGE_CHANGED]
    assert [entry["MESSAGE_ID"] for entry in told] == [
        events.DATA_FROZEN, events.STEPPED_BACK, events.DATA_FROZEN, events.DATA_FOLDED,
    ]  # fmt: skip
    versions = [(entry["OVERLAY_FROM_VERSION"], entry["OVERLAY_TO_VERSION"]) for entry in told]
    assert versions == [("1", "2"), ("2", "1"), ("1", "2"), ("2", "2")]
    assert {entry["OVERLAY_WHERE"] for entry in told} == {str(device.where)}
    assert {entry["PRIORITY"] for entry in told} == {f"{NOTICE}"}
    assert told[1]["OVERLAY_UNDONE"] == f"{device.backing}/undone"
    device.start()
    assert journald.read() == []


@root
def test_no_room_for_a_freeze(tmp_path: Path, journald: Journald, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch)
    device = rollbackdevice.make(tmp_path)
    journald.read()
    monkeypatch.setattr(room, "find_lack", lambda _backing: "3 inodes are left")
    device.start(NEW)
    told, changed = journald.read()
    assert (told["MESSAGE_ID"], changed["MESSAGE_ID"]) == (events.ROLLBACK_REFUSED, events.IMAGE_CHANGED)
    assert (told["OVERLAY_REASON"], told["PRIORITY"]) == ("3 inodes are left", f"{NOTICE}")
    assert Path(report.STATE, "var.changed").read_text().endswith('DATA="kept"\n')


@root
def test_a_fold_that_fails(tmp_path: Path, journald: Journald, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch)
    device = rollbackdevice.make(tmp_path)
    device.use_b()
    (device.backing / "commit").touch()
    journald.read()

    def fail(*_arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "upper/x")

    monkeypatch.setattr(fold, "fold", fail)
    device.start()
    (told,) = journald.read()
    assert (told["MESSAGE_ID"], told["PRIORITY"]) == (events.ROLLBACK_REFUSED, f"{ERROR}")
    assert told["OVERLAY_REASON"] == "what an update has frozen can't be folded: upper/x: Input/output error"


@root
def test_a_policy_that_was_not_carried_out(device: Device, journald: Journald, monkeypatch: pytest.MonkeyPatch) -> None:
    (device.backing / "contents").unlink()
    device.update()
    device.boot("refresh")
    kept, changed = journald.read()
    assert kept["MESSAGE_ID"] == events.POLICY_NOT_DONE
    assert kept["OVERLAY_REASON"].endswith("not finished, so all of the upper layer was kept")
    assert changed["MESSAGE_ID"] == events.IMAGE_CHANGED

    def fail(*_arguments: object) -> None:
        raise OSError(5, "Input/output error", "/x")

    monkeypatch.setattr(policy, "apply", fail)
    Device.identity = "IMAGE_VERSION=3\n"
    device.boot("prune")
    assert journald.read_events() == ["POLICY_NOT_DONE", "IMAGE_CHANGED"]
    monkeypatch.setattr("overlay_prepare.identity.compare", lambda *_pair: identity.UNSURE)
    Device.identity = "IMAGE_VERSION=4\n"
    device.boot("prune")
    assert journald.read_events() == ["POLICY_NOT_DONE", "IMAGE_CHANGED"]


@root
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("all\n", ["RESET_DONE"]),
        ("path /VAR/lib/app/one\n", ["RESET_DONE"]),
        ("nonsense\n", ["RESET_REFUSED"]),
        ("path /elsewhere\n", ["RESET_REFUSED"]),
        ("path /VAR/lib/app/one\npath /elsewhere\n", ["RESET_REFUSED", "RESET_DONE"]),
    ],
)
def test_resets(text: str, told: "list[str]", device: Device, journald: Journald) -> None:
    device.stage(text)
    device.boot()
    assert journald.read_events() == told
    device.boot()
    assert journald.read() == []


@root
def test_a_request_that_is_no_file_is_refused(device: Device, journald: Journald) -> None:
    (device.backing / "reset").mkdir()
    device.boot()
    assert journald.read_events() == ["RESET_REFUSED"]


@root
def test_resets_that_others_ask_for(device: Device, journald: Journald) -> None:
    device.boot(reset=True)
    (reset,) = journald.read()
    assert (reset["MESSAGE_ID"], reset["OVERLAY_REASON"]) == (events.RESET_DONE, "reset as asked at boot")
    device.use()
    device.update()
    device.boot("reset")
    assert journald.read_events() == ["RESET_DONE", "IMAGE_CHANGED"]


def test_a_factory_reset_that_can_t_be_asked_for(
    journald: Journald, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("state", "mounts/var/image"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "state/var.json").touch()
    monkeypatch.setattr(overlays, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(overlays, "BACKING_ROOT", str(tmp_path / "mounts"))

    def fail(_backing: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(factoryreset, "_stage", fail)
    assert factoryreset.stage_all() == 1
    assert journald.read_events() == ["RESET_REFUSED"]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(report, "_MESSAGES", str(tmp_path / "motd"))
    monkeypatch.setattr(main, "failure_mark", lambda _where: str(tmp_path / "gone/mark"))
    return tmp_path / "state"


ARGUMENTS = ["prepare", "--mount=/mounts/var", "/var", "/mounts/var"]


@pytest.mark.parametrize(
    ("outcome", "words", "status", "told"),
    [
        ("the disk is missing", [], 0, "FELL_BACK"),
        (report.Unusable("the disk is unfit"), [], 1, "NOT_OVERLAID"),
        (OSError(28, "No space left on device", "/x"), [], 1, "NOT_OVERLAID"),
        (RuntimeError("a fault of ours"), [], 1, "NOT_OVERLAID"),
        ("", ["--verify=yes"], 0, "READ_ONLY"),
    ],
)
def test_what_is_not_as_asked_is_told_and_a_unit_fails(
    outcome: "str | Exception", words: "list[str]", status: int, told: str,
    journald: Journald, state: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def prepare(_request: Request) -> str:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(main, "prepare", prepare)
    monkeypatch.setattr(main, "_work_behind", lambda *_arguments: None)
    assert main.main([*ARGUMENTS[:1], *words, *ARGUMENTS[1:]]) == status
    (found,) = journald.read()
    assert found["MESSAGE_ID"] == getattr(events, told)
    assert found["OVERLAY_WHERE"] == "/var"
    assert found["OVERLAY_REASON"] in found["MESSAGE"]
    assert (state / "var.failed").read_text() == found["OVERLAY_REASON"] + "\n"
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("state")
def test_a_good_boot_is_no_event(journald: Journald, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "prepare", lambda _request: "")
    monkeypatch.setattr(main, "_work_behind", lambda *_arguments: None)
    assert main.main(ARGUMENTS) == 0
    assert journald.read() == []


def test_what_the_generator_has_found(journald: Journald, capfd: pytest.CaptureFixture[str]) -> None:
    one = ["not-overlaid", "error", "/home", "/home is not overlaid: why", "why"]
    two = ["not-passed-through", "notice", "/var", "full copies", "docker"]
    assert main.main(["prepare", "--tell", *one, *two]) == 0
    first, second = journald.read()
    assert (first["MESSAGE_ID"], first["PRIORITY"], first["OVERLAY_WHERE"]) == (events.NOT_OVERLAID, "3", "/home")
    assert (second["MESSAGE_ID"], second["PRIORITY"]) == (events.NOT_PASSED_THROUGH, "5")
    assert main.main(["prepare", "--tell", *one[:4]]) == 1
    assert main.main(["prepare", "--tell", "made-up", *one[1:]]) == 1
    assert "prepare: --tell: not known" in capfd.readouterr().err


@root
def test_a_full_run_costs_no_writable_directory(
    device: Device, journald: Journald, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is only that migrations are not told; the event is."""

    def fail(*_arguments: object) -> None:
        raise OSError(28, "No space left on device", "/run/x")

    monkeypatch.setattr(imagechange, "write", fail)
    device.update()
    device.boot()
    assert journald.read_events() == ["IMAGE_CHANGED"]
    assert capfd.readouterr().err == (
        f"<4>{device.where}: migrations don't learn of another image: /run/x: No space left on device\n"
    )
    assert (device.backing / "image").read_text() == Device.identity
