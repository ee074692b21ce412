# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The steps before a persistent overlay is mounted, and what happens if one of them fails."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from hold import hold
from overlay_generator import render
from overlay_generator.model import Mounted
from overlay_prepare import (
    fitness,
    identity,
    imagechange,
    layers,
    main,
    overlays,
    patience,
    persistent,
    report,
    stamp,
)  # fmt: skip
from overlay_prepare.report import Unusable
from overlay_prepare.request import Request
from product import wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


class Machine:
    """A directory in place of a disk, and what mountinfo says of it."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.where, self.backing = top / "var", top / "mounts/var"
        self.where.mkdir(mode=0o755)
        self.backing.mkdir(parents=True)
        self.state, self.messages = top / "state", top / "motd"
        self.mounted = Mounted(str(self.backing), "ext4", "rw")
        self.fallbacks = 0
        for module in (report, layers, persistent, imagechange, overlays):
            monkeypatch.setattr(module, "STATE", str(self.state))
        monkeypatch.setattr(report, "_MESSAGES", str(self.messages))
        monkeypatch.setattr(overlays, "BACKING_ROOT", str(self.backing.parent))
        monkeypatch.setattr("posix.sync", lambda: None)  # of no use to these tests, and slow
        monkeypatch.setattr(fitness, "find_mounted", lambda _mount: self.mounted)
        monkeypatch.setattr(main, "_mount_fallback", self._mount_fallback)
        self.mark = top / "fallback"  # of the fallback unit
        monkeypatch.setattr(main, "fallback_mark", lambda _mount: str(self.mark))

    def _mount_fallback(self, _request: Request) -> None:
        self.fallbacks += 1

    def request(self, fallback: str = "", wanted: str = "ext4") -> Request:
        return Request(str(self.where), str(self.backing), str(self.backing), wanted, fallback)

    def run(self, *words: str) -> int:
        arguments = [f"--mount={self.backing}", *words, str(self.where), str(self.backing)]
        return main.main(["prepare", *arguments])


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_the_layers_are_made_and_the_image_noted(machine: Machine) -> None:
    assert main.prepare(machine.request()) == ""
    # "spare" where the file system has a fixed number of inodes.
    assert set(os.listdir(machine.backing)) - {"spare"} == {"image", "lower", "names", "upper", "uuids", "work"}
    assert machine.backing.stat().st_mode & 0o777 == 0o700
    assert stamp.is_current(hold(machine.backing), identity.identify(str(machine.where)))


def test_what_nobody_waits_for_leaves_the_priority_of_the_boot(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """prepare runs at -20, in a session that is as fast; a reset of a large upper must not."""

    def tell_priority(_backing: str) -> None:
        found = f"{os.nice(0)} {os.getsid(0) == os.getpid()}"
        (tmp_path / "found.new").write_text(found)
        (tmp_path / "found.new").rename(tmp_path / "found")

    monkeypatch.setattr("overlay_prepare.reset.empty_trash", tell_priority)
    (machine.backing / "trash").mkdir()
    started = os.fork()
    if started == 0:
        os.nice(-20)
        os._exit(machine.run())
    assert os.waitpid(started, 0)[1] == 0
    wait_for(tmp_path / "found")
    assert (tmp_path / "found").read_text() == "19 True"


def test_what_fails_behind_the_boot_is_said(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Such as a module that a distribution's minimal Python lacks; what comes after it is done all the same."""

    def fail(*_arguments: object) -> None:
        raise ModuleNotFoundError("No module named 'hashlib'", name="hashlib")

    monkeypatch.setattr("overlay_prepare.manifest.write", fail)
    monkeypatch.setattr("overlay_prepare.reset.empty_trash", fail)
    (machine.backing / "trash").mkdir()
    assert machine.run("--policy=refresh") == 0
    state = Path(report.STATE) / f"{machine.backing.name}.behind"
    wait_for(state)
    said = capfd.readouterr().err
    assert len(state.read_text().splitlines()) == 2
    for text in ("what a reset has put aside can't be deleted", "the list of what the image has can't be made"):
        assert said.count(f"<3>{machine.where}: {text}") == 1
    assert said.count("ModuleNotFoundError: No module named 'hashlib'\n") == 2


def test_with_the_same_image_nothing_is_touched(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    main.prepare(machine.request())
    os.setxattr(machine.backing / "upper", "trusted.overlay.origin", b"x")
    monkeypatch.setattr(fitness, "probe", lambda *_arguments: pytest.fail("probed again"))
    before = (machine.backing / "image").stat().st_mtime_ns
    assert main.prepare(machine.request()) == ""
    assert os.getxattr(machine.backing / "upper", "trusted.overlay.origin") == b"x"
    assert (machine.backing / "image").stat().st_mtime_ns == before


def test_another_image_and_a_power_cut_on_the_way_to_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    main.prepare(machine.request())
    file = machine.backing / "upper/file"
    file.write_text("the user's")
    os.setxattr(file, "trusted.overlay.origin", b"x")
    monkeypatch.setattr(identity, "identify", lambda _where: "IMAGE_VERSION=2\n")

    def cut(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fitness, "probe", lambda *_arguments: None)  # it removes what it made by the same function
        patch.setattr("overlay_prepare.normalise.remove_below", cut)
        with pytest.raises(KeyboardInterrupt):
            main.prepare(machine.request())
    # Whichever image boots next finds a note that is not its own.
    assert (machine.backing / "image").read_text().startswith("changing\n")
    assert main.prepare(machine.request()) == ""
    assert os.listxattr(file) == []
    assert file.read_text() == "the user's"
    assert (machine.backing / "image").read_text() == "IMAGE_VERSION=2\n"


def test_an_upper_of_unknown_origin_is_made_fit_too(machine: Machine) -> None:
    """From before there was such a note, or copied from another device."""
    (machine.backing / "upper").mkdir()
    (machine.backing / "upper/file").write_text("kept")
    os.setxattr(machine.backing / "upper/file", "trusted.overlay.origin", b"x")
    main.prepare(machine.request())
    assert os.listxattr(machine.backing / "upper/file") == []
    assert (machine.backing / "upper/file").read_text() == "kept"


BAD = [
    (Mounted("/mnt", "ext4", "ro"), "ext4", "mounted read-only"),
    (Mounted("/mnt", "vfat", "rw"), "auto", "vfat at /mnt"),
    (Mounted("/mnt", "xfs", "rw"), "ext4", "fstab wants ext4"),
]


@pytest.mark.parametrize(("mounted", "wanted", "reason"), BAD)
def test_what_is_unfit_is_replaced_by_memory_only_where_the_owner_said_nofail(
    mounted: Mounted, wanted: str, reason: str, machine: Machine
) -> None:
    machine.mounted = mounted
    with pytest.raises(Unusable, match=reason):
        main.prepare(machine.request(wanted=wanted))
    assert machine.fallbacks == 0
    assert reason in main.prepare(machine.request("size=25%", wanted))
    assert machine.fallbacks == 1
    assert (machine.backing / "upper").is_dir()
    assert not (machine.backing / "image").exists()


@pytest.mark.parametrize("words", [["--type=ext4"], ["--type=auto"], []])
def test_a_missing_disk_is_told_loudly(
    words: "list[str]", machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.mounted = Mounted(str(machine.backing), "tmpfs", "rw")
    machine.mark.mkdir()
    assert machine.run(*words, "--fallback=size=25%") == 0
    warning = f"{machine.where}: NOT persistent: {machine.backing} could not be mounted; all that is written is lost"
    assert capsys.readouterr().err == f"<4>{warning} at the next boot\n"
    assert (machine.messages / "overlay-generator-var").read_text().startswith(f"WARNING: {warning}")
    assert json.loads((machine.state / "var.json").read_text()) == {
        "where": str(machine.where),
        "backing": str(machine.backing),
        "fallen_back": f"{machine.backing} could not be mounted",
    }
    assert machine.fallbacks == 0, "the fallback unit has mounted it already"


def test_a_disk_without_nofail_that_is_not_there_fills_no_memory(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.mounted = Mounted(str(machine.backing), "tmpfs", "rw")
    assert machine.run("--type=ext4") == 1
    assert "tmpfs is mounted at" in capsys.readouterr().err
    assert os.listdir(machine.backing) == []


# The last two: a mount unit of the owner's, whose type nobody knows beforehand, is one for a tmpfs.
@pytest.mark.parametrize(
    "words", [["--type=tmpfs"], ["--type=tmpfs", "--fallback=size=25%"], [], ["--fallback=size=25%"]]
)
def test_memory_that_was_asked_for_is_no_fault(
    words: "list[str]", machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.mounted = Mounted(str(machine.backing), "tmpfs", "rw")
    assert machine.run(*words) == 0
    assert capsys.readouterr().err == ""
    assert json.loads((machine.state / "var.json").read_text())["fallen_back"] == ""
    assert not machine.messages.exists()
    assert not (machine.backing / "image").exists()


def test_a_good_boot_says_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.run("--type=ext4", "--fallback=size=25%") == 0
    assert capsys.readouterr() == ("", "")
    assert not machine.messages.exists()


def test_wrong_arguments_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["prepare", "/var"]) == 1
    assert capsys.readouterr() == ("", "<3>prepare: too few arguments; it is run by its unit alone\n")


def test_a_fault_of_ours_is_one_line(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistent, "make_layers", lambda *_arguments: 1 / 0)
    assert machine.run() == 1
    error = f"<3>{machine.where} stays as the image has it: ZeroDivisionError: division by zero\n"
    assert capsys.readouterr() == ("", error)


def test_a_fault_that_a_disk_calls_forth_costs_no_boot_with_nofail(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on the disk may be anybody's, and reach what nobody thought of."""
    monkeypatch.setattr(persistent, "make_persistent", lambda *_arguments: int("x"))
    assert machine.run("--type=ext4", "--fallback=size=25%") == 0
    assert machine.fallbacks == 1
    assert "ValueError" in json.loads((machine.state / "var.json").read_text())["fallen_back"]


@pytest.mark.parametrize("words", [["--fallback=size=25%"], []])
def test_what_takes_too_long_costs_no_boot_with_nofail(
    words: "list[str]",
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    in_time: None,  # noqa: ARG001
) -> None:
    """systemd would end it and nobody would make the fallback, nor keep PID 1 from trying it for each service."""
    marks: list[str] = []
    monkeypatch.setattr(patience, "SECONDS", 1)
    monkeypatch.setattr(persistent, "make_persistent", lambda *_arguments: time.sleep(200))
    monkeypatch.setattr(main, "_mark_failed", lambda request: marks.append(request.where))
    assert machine.run("--type=ext4", *words) == (0 if words else 1)
    assert machine.fallbacks == len(words)
    assert "it is not done after 0 minutes" in capsys.readouterr().err
    assert len(marks) == 1 - len(words)


def test_time_is_limited_for_the_disk_alone(machine: Machine) -> None:
    assert machine.run("--type=ext4") == 0
    assert signal.alarm(0) == 0
    text = render.confine()
    assert int(text.partition("TimeoutStartSec=")[2].partition("min")[0]) * 60 == patience.SECONDS + 60


def test_a_reset_happens_once_in_a_boot(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.run("--type=ext4") == 0
    (machine.backing / "upper/file").write_text("old")
    assert machine.run("--type=ext4", "--reset=yes") == 0
    assert "reset as asked at boot; the upper layer is empty" in capsys.readouterr().err
    assert list((machine.backing / "upper").iterdir()) == []
    (machine.backing / "upper/file").write_text("since")
    assert machine.run("--type=ext4", "--reset=yes") == 0
    assert (machine.backing / "upper/file").read_text() == "since"
    wait_for(machine.backing / "trash", gone=True)


def test_what_a_cut_off_boot_left_is_deleted_later(machine: Machine) -> None:
    (machine.backing / "trash/3/upper").mkdir(parents=True)
    assert machine.run("--type=ext4") == 0
    wait_for(machine.backing / "trash", gone=True)
    assert (machine.backing / "upper").is_dir()


@pytest.mark.parametrize("words", [[], ["--fallback=size=25%"]])
def test_on_a_disk_for_several_the_backing_directory_is_made(words: "list[str]", machine: Machine) -> None:
    machine.backing.rmdir()
    assert machine.run(f"--mount={machine.backing.parent}", "--type=ext4", *words, "--reset=yes") == 0
    assert machine.fallbacks == 0
    assert {"image", "upper"} <= set(os.listdir(machine.backing))


def test_a_read_only_overlay_is_told_and_nothing_is_done(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.run("--type=ext4") == 0
    before = sorted(os.listdir(machine.backing))
    assert machine.run("--verify=yes", "--type=ext4", "--reset=yes", "--policy=reset") == 0
    reason = f"the kernel mounted it read-only, as {machine.backing}/work can't be used; see the kernel's messages"
    assert capsys.readouterr().err == f"<3>{machine.where}: {reason}\n"
    assert json.loads((machine.state / "var.json").read_text())["fallen_back"] == reason
    assert (machine.messages / "overlay-generator-var").read_text() == f"WARNING: {machine.where}: {reason}\n"
    assert sorted(os.listdir(machine.backing)) == before
    assert machine.fallbacks == 0


@pytest.mark.parametrize("fallback", [False, True])
def test_what_is_left_for_later_is_done_by_nobody_s_wait(
    fallback: bool, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(machine.where)
    (machine.where / "file").write_text("image")
    if fallback:
        machine.mounted = Mounted(str(machine.backing), "tmpfs", "rw")
    assert machine.run("--type=ext4", "--fallback=size=1%", "--policy=refresh") == 0
    if not fallback:
        wait_for(machine.backing / "contents")
        assert "file\tf " in (machine.backing / "contents").read_text()
    else:
        assert not (machine.backing / "contents").exists(), "memory has no next image"
