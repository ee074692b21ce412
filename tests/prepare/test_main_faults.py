# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What prepare says where it can't leave word, its steps, what it runs for a fallback, and how its processes end."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from children import list_children
from overlay_generator.model import Mounted
from overlay_generator.names import fallback_mark
from overlay_prepare import fitness, labels, main, report
from overlay_prepare.request import Request
from tree import fill

PREPARE, WORK_BEHIND = main.prepare, main._work_behind

FULL = "overlayctl status does not learn how this went: No space left on device"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(report, "_MESSAGES", str(tmp_path / "motd.d"))
    monkeypatch.setattr(main, "failure_mark", lambda where: f"{tmp_path}/units{where}.failed")
    monkeypatch.setattr(main, "prepare", lambda _request: "")
    monkeypatch.setattr(main, "_work_behind", lambda *_arguments: None)
    return tmp_path


def fail(*_arguments: object) -> str:
    raise OSError(28, "No space left on device")


def run(*words: str) -> int:
    return main.main(["prepare", "--mount=/m", *words, "/var", "/m/var"])


@pytest.mark.parametrize(("broken", "words", "status", "said"), [
    (["note"], [], 0, [f"<4>/var: {FULL}"]),
    (["leave"], ["--verify=yes"], 0, [
        "<3>/var: the kernel mounted it read-only, as /m/var/work can't be used; see the kernel's messages",
        f"<4>/var: {FULL}",
    ]),
    (["prepare", "fail"], [], 1, [
        "<3>/var stays as the image has it: No space left on device", f"<4>/var: {FULL}",
    ]),
    (["_work_behind"], [], 0, ["<4>/var: No space left on device"]),
])  # fmt: skip
def test_word_that_can_not_be_left_is_told_and_costs_nothing(
    broken: "list[str]", words: "list[str]", status: int, said: "list[str]", monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name in broken:
        monkeypatch.setattr(main, name, fail)
    assert run(*words) == status
    assert capsys.readouterr().err.splitlines() == said


def test_what_can_not_be_prepared_is_marked_for_pid_1_and_its_unit_fails(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "prepare", fail)
    (places / "units").mkdir()
    held = len(os.listdir("/proc/self/fd"))
    before = os.umask(0)
    try:
        assert [run(), run()] == [1, 1]
    finally:
        os.umask(before)
    mark = places / "units/var.failed"
    assert (mark.read_text(), mark.stat().st_mode & 0o7777) == ("", 0o644)
    assert (places / "state/var.failed").read_text() == "No space left on device\n"
    assert len(os.listdir("/proc/self/fd")) == held


@pytest.mark.parametrize(("spoil", "said"), [
    # Without the directory, no unit of the generator has started it, and none of them runs it once more.
    (None, ""),
    (Path.mkdir, "<4>/var is prepared again for each service with a directory in it: {mark}: Is a directory\n"),
])  # fmt: skip
def test_a_mark_that_can_not_be_made(
    spoil: "Callable[[Path], None] | None", said: str, places: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = places / "units/var.failed"
    if spoil:
        mark.parent.mkdir()
        spoil(mark)
    main._mark_failed(Request("/var", "/m/var", "/m"))
    assert capsys.readouterr().err == said.format(mark=mark)


def test_memory_takes_the_place_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []
    monkeypatch.setattr(fitness, "run", lambda *command: commands.append(" ".join(command)))
    main._mount_fallback(Request("/var", "/m/var", "/m", fallback="size=1%"))
    assert commands == [
        f"/bin/mkdir -p {fallback_mark('/m')}", "/bin/umount /m", "/bin/mount -n -t tmpfs -o size=1% tmpfs /m",
    ]  # fmt: skip


@pytest.mark.parametrize(("words", "status"), [(["--mount=/m", "/var", "/m/var"], 0), (["/var"], 1)])
def test_a_process_ends_with_what_main_returns(words: "list[str]", status: int) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            main.run(["prepare", *words])
        finally:
            os._exit(77)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status


@pytest.mark.parametrize("problem", [False, True])
def test_what_works_behind_the_boot_ends_well_and_goes_nowhere_else(
    problem: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it: neither a status nor a traceback would be of use."""

    def empty_trash(_backing: object) -> None:
        (tmp_path / "found").write_text(os.getcwd())
        if problem:
            fail()

    monkeypatch.setattr(main, "_work_behind", WORK_BEHIND)
    monkeypatch.setattr("overlay_prepare.reset.empty_trash", empty_trash)
    fill(tmp_path, "b/trash/0/", "b/image=IMAGE_VERSION=1\n", "var/")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            main._work_behind(Request(f"{tmp_path}/var", f"{tmp_path}/b", f"{tmp_path}/b"), "")
            status = 7 if os.waitpid(-1, 0)[1] == 0 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert (tmp_path / "found").read_text() == f"{tmp_path}/var", "there it sees the image"
    assert sorted(os.listdir(tmp_path / "b")) == ["image", "trash"], "no list of the image that nobody wants"
    behind = tmp_path / "state/b.behind"
    text = "what a reset has put aside can't be deleted: No space left on device\n"
    assert (behind.read_text() if behind.exists() else "") == (text if problem else "")


@pytest.mark.parametrize(("policy", "reason"), [("keep", ""), ("prune", ""), ("refresh", "memory took its place")])
def test_without_anything_to_do_there_is_no_process(policy: str, reason: str, tmp_path: Path) -> None:
    fill(tmp_path, "b/image=IMAGE_VERSION=1\n", "state/", "var/")
    children = list_children()
    WORK_BEHIND(Request(f"{tmp_path}/var", f"{tmp_path}/b", f"{tmp_path}/b", policy=policy), reason)
    assert list_children() == children
    assert os.listdir(tmp_path / "b") == ["image"]


def test_what_an_earlier_run_could_not_do_behind_the_boot_is_forgotten(tmp_path: Path) -> None:
    fill(tmp_path, "b/", "state/b.behind")
    WORK_BEHIND(Request(str(tmp_path), f"{tmp_path}/b", f"{tmp_path}/b"), "")
    assert os.listdir(tmp_path / "state") == []


@pytest.mark.parametrize(("fstype", "request_", "reason", "steps"), [
    ("ext4", {"wanted": "ext4"}, "", ["fit for ext4", "one label", "persistent", "projects"]),
    ("ext4", {"mounter": "u:r:x"}, "", ["by u:r:x", "fit for ", "one label", "persistent", "projects"]),
    ("tmpfs", {"wanted": "tmpfs"}, "", ["fit for tmpfs", "one label", "in memory"]),
    ("tmpfs", {"wanted": "ext4", "fallback": "size=1%"}, "/m could not be mounted", ["in memory"]),
    ("tmpfs", {"adapt": True, "mounter": "u:r:x"}, "adapted", ["by u:r:x"]),
])  # fmt: skip
def test_the_steps_before_an_overlay_is_mounted(
    fstype: str, request_: "dict[str, Any]", reason: str, steps: "list[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(fitness, "find_mounted", lambda mount: Mounted(mount, fstype, "rw"))
    monkeypatch.setattr(fitness, "verify", lambda _mounted, wanted: done.append(f"fit for {wanted}"))
    monkeypatch.setattr(fitness, "warn_of_projects", lambda *_arguments: done.append("projects"))
    monkeypatch.setattr(labels, "verify_mounter", lambda context, _where: done.append(f"by {context}"))
    monkeypatch.setattr(labels, "warn_of_one_label", lambda _mounted: done.append("one label"))
    monkeypatch.setattr(main, "open_backing", lambda _request: contextlib.nullcontext())
    monkeypatch.setattr(main, "make_layers", lambda *_arguments: done.append("in memory"))
    monkeypatch.setattr("overlay_prepare.persistent.make_persistent", lambda *_arguments: done.append("persistent"))
    monkeypatch.setattr("overlay_prepare.adapt.prepare", lambda _request: "adapted")
    assert PREPARE(Request("/var", "/m/var", "/m", **request_)) == reason
    assert done == steps
