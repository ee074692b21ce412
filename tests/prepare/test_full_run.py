# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A boot with a full /run: what can't be written there is told in one line, and costs nothing else."""

import os
from pathlib import Path

import pytest

from device import VAR, Device, needs_mounts
from journald import Journald
from overlay_prepare import main, report
from product import Run

# A file of one byte needs a page; a name needs none.
FULL = "mount -o remount,size=64k {run}; head -c 1M /dev/zero >{run}/full || true"


@pytest.fixture
def device(run: Run, image: Path, tmp_path: Path) -> Device:
    device = Device(run, image, tmp_path)
    device.add_disk()
    return device


@needs_mounts
def test_a_missing_disk_lets_the_unit_fail_all_the_same(device: Device) -> None:
    look = "find /run/overlay-generator -type f -printf '%f %s\\n'; touch /var/x; stat -f -c %T /var"
    left = device.boot(look, disk=False, before=FULL.format(run=device.root / "run")).splitlines()
    # Its unit has ConditionPathExists= of it.
    assert left[-2:] == ["var.failed 0", "overlayfs"]


@needs_mounts
def test_the_next_update_finds_the_list_of_what_the_image_had(device: Device) -> None:
    device.cmdline += " overlayfs.policy=refresh"
    (device.root / "etc/overlay-generator.conf").write_text("[/var]\nPolicy=refresh\n")
    wait = f"for i in $(seq 100); do [ -e {VAR}/contents ] && break; sleep 0.1; done; ls {VAR}"
    left = device.boot(wait, before=FULL.format(run=device.root / "run"))
    assert "contents" in left.split()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setattr(report, "STATE", str(state))
    monkeypatch.setattr(report, "_MESSAGES", str(tmp_path / "motd"))
    return state


ARGUMENTS = ["prepare", "--mount=/mounts/var", "/var", "/mounts/var"]
LINE = "<4>/var: overlayctl status does not learn how this went: /run/x: No space left on device\n"


@pytest.mark.parametrize("words", [[], ["--verify=yes"]])
def test_it_is_one_line(
    words: "list[str]",
    journald: Journald,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(28, "No space left on device", "/run/x")

    behind: list[str] = []
    monkeypatch.setattr(report, "write_whole", refuse)
    monkeypatch.setattr(main, "prepare", lambda _request: "the disk is missing")
    monkeypatch.setattr(main, "_work_behind", lambda *_arguments: behind.append("done"))
    assert main.main([*ARGUMENTS[:1], *words, *ARGUMENTS[1:]]) == 0
    assert len(journald.read()) == 1, "the event is sent"
    assert capfd.readouterr().err == LINE
    assert os.listdir(state) == ["var.failed"]
    assert behind == ([] if words else ["done"]), "what is put aside is deleted, and the image described"
