# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Memory in the place of a disk that only prepare has seen: a unit fails for it as for any other."""

import shutil
import subprocess
from pathlib import Path

import pytest

from overlay_prepare import adapt, fitness, main
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
