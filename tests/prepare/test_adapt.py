# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory in the place of a disk that only prepare has seen: a unit fails for it as for any other."""

import shutil
import subprocess
from pathlib import Path

import pytest

from overlay_generator.model import Mounted
from overlay_generator.render import OPTIONS_PERSISTENT
from overlay_prepare import adapt, fitness, labels, main
from overlay_prepare.report import Unusable
from overlay_prepare.request import Request
from product import REPOSITORY

UNIT = REPOSITORY / "lib/systemd/system/overlay-not-persistent@.service"


@pytest.mark.parametrize(
    ("reason", "words", "started"),
    [
        ("it is mounted read-only", ["--adapt=yes"], ["overlay-not-persistent@srv-a_20b.service"]),
        ("it is mounted read-only", ["--adapt=yes", "--notify=notice"], []),
        ("", ["--adapt=yes"], []),
        # The generator has written a unit for these.
        ("it is mounted read-only", [], []),
    ],
)
def test_the_unit_is_started_where_the_generator_had_no_reason_for_one(
    reason: str, words: "list[str]", started: "list[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(fitness, "run", lambda *command: commands.append(command))
    monkeypatch.setattr(main, "prepare", lambda _request: reason)
    monkeypatch.setattr(main, "note", lambda *_arguments: None)
    monkeypatch.setattr(main, "_work_behind", lambda *_arguments: None)
    arguments = ["--mount=/mounts/x", *words, "/srv/a b", "/mounts/x"]
    assert main.main(["prepare", *arguments]) == 0
    assert commands == [("/bin/systemctl", "--no-block", "start", name) for name in started]


def test_a_systemctl_that_fails_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_command: str) -> None:
        raise OSError(0, "/bin/systemctl failed", "x.service")

    monkeypatch.setattr(fitness, "run", fail)
    adapt.raise_failure("/var")
    assert capsys.readouterr().err == "<4>/var: no unit fails because of it: x.service: /bin/systemctl failed\n"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_takes_the_template(tmp_path: Path) -> None:
    shutil.copy(UNIT, tmp_path / "overlay-not-persistent@var.service")
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "overlay-not-persistent@var.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "overlay-not-persistent" not in done.stdout + done.stderr


class Machine:
    """Something is mounted at the backing directory, "" for nothing; commands are noted instead of run."""

    def __init__(self, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.top, self.fstype, self.fault = top, "", ""
        self.done: list[str] = []
        (top / "b/var").mkdir(parents=True)
        monkeypatch.setattr(fitness, "find_mounted", self._find)
        monkeypatch.setattr(fitness, "run", lambda *command: self.done.append(" ".join(command)))
        monkeypatch.setattr(adapt, "make_layers", lambda _request, _backing: self.done.append("layers in memory"))
        monkeypatch.setattr("overlay_prepare.persistent.make_persistent", self._persist)
        monkeypatch.setattr(fitness, "warn_of_projects", lambda *_arguments: self.done.append("project IDs"))

    def _find(self, mount: str) -> Mounted:
        if not self.fstype:
            raise Unusable(f"nothing is mounted at {mount}")
        return Mounted(mount, self.fstype, "rw")

    def _persist(self, _request: Request, _backing: object) -> None:
        if self.fault:
            raise OSError(5, self.fault)
        self.done.append("layers on the disk")

    def prepare(self, mounter: str = "") -> str:
        request = Request("/var", f"{self.top}/b/var", f"{self.top}/b", fallback="size=1%", adapt=True, flags="nosuid,",
                          mounter=mounter)  # fmt: skip
        return adapt.prepare(request)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_memory_as_planned(machine: Machine) -> None:
    machine.fstype = "tmpfs"
    top = machine.top
    assert machine.prepare() == ""
    assert machine.done == [
        "layers in memory",
        f"/bin/mount -n --make-private {top}/b",
        f"/bin/mount -n -o bind,private,ro,nosuid,nodev,noexec /var {top}/b/var/lower",
    ]


def test_a_disk_makes_it_persistent_and_its_overlay_is_mounted_here(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.fstype = "ext4"
    top = machine.top
    assert machine.prepare() == ""
    layers = ",".join(f"{layer}dir={top}/b/var/{layer}" for layer in ("lower", "upper", "work"))
    assert machine.done == [
        "layers on the disk",
        "project IDs",
        f"/bin/mount -n --make-private {top}/b",
        f"/bin/mount -n -o bind,private,ro,nosuid,nodev,noexec /var {top}/b/var/lower",
        f"/bin/mount -n -t overlay -o nosuid,{layers},{OPTIONS_PERSISTENT} overlay /var",
    ]
    assert "ext4 is mounted at" in capsys.readouterr().err


@pytest.mark.parametrize(("mounter", "expected"), [
    ("u:r:init_t", ["in", "/bin/mount", "out"]), ("", ["/bin/mount", "/bin/mount", "/bin/mount"]),
])  # fmt: skip
def test_with_selinux_it_is_mounted_in_the_domain_of_this_process(
    mounter: str, expected: "list[str]", machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Domain:
        def __enter__(self) -> None:
            machine.done.append("in")

        def __exit__(self, *_: object) -> None:
            machine.done.append("out")

    monkeypatch.setattr(labels, "OwnDomain", Domain)
    machine.fstype = "ext4"
    machine.prepare(mounter)
    words = [line.split()[0] for line in machine.done[-3:]]
    assert words == expected
    assert "overlay" in machine.done[-2 if mounter else -1]


def test_where_nothing_is_memory_is_mounted_and_why_is_told(machine: Machine) -> None:
    top = machine.top
    assert machine.prepare() == f"nothing is mounted at {top}/b"
    assert machine.done[:3] == [
        f"/bin/mkdir -p {top}/b", f"/bin/mount -n -t tmpfs -o size=1% tmpfs {top}/b", "layers in memory",
    ]  # fmt: skip
    assert len(machine.done) == 5


@pytest.mark.parametrize(("fstype", "fault", "reason"), [
    ("ext4", "it broke", "it broke"), ("vfat", "", "can't hold an upper layer"),
])  # fmt: skip
def test_a_disk_that_can_not_be_used_makes_room_for_memory(
    fstype: str, fault: str, reason: str, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.fstype, machine.fault = fstype, fault
    top = machine.top
    assert reason in machine.prepare()
    assert machine.done[:4] == [
        f"/bin/umount {top}/b", f"/bin/mkdir -p {top}/b", f"/bin/mount -n -t tmpfs -o size=1% tmpfs {top}/b",
        "layers in memory",
    ]  # fmt: skip
    assert not [line for line in machine.done if "overlay" in line]
    assert capsys.readouterr().err == ""
