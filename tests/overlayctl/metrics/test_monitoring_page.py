# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What docs/monitoring.md offers to be copied works as it is."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from overlayctl.metrics import exposition
from overlayctl.mounts import Mount
from overlayctl.status.machine import DirectoryStatus, MachineStatus
from product import REPOSITORY

PAGE = (REPOSITORY / "docs/monitoring.md").read_text()
OVERLAY = Mount(2, 1, "0:40", "/var", ("rw",), "overlay", "overlay", ())


def blocks(language: str) -> "list[str]":
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


TESTS = r"""
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 5m
    input_series:
      - {series: 'overlay_persistent_wanted{instance="lost", directory="/var"}', values: '1x20'}
      - {series: 'overlay_persistent{instance="lost", directory="/var"}', values: '1 1 0x18'}
      - {series: 'overlay_persistent_wanted{instance="memory", directory="/var"}', values: '0x20'}
      - {series: 'overlay_persistent{instance="memory", directory="/var"}', values: '0x20'}
      - {series: 'overlay_persistent_wanted{instance="good", directory="/var"}', values: '1x20'}
      - {series: 'overlay_persistent{instance="good", directory="/var"}', values: '1x20'}
      - {series: 'overlay_status{instance="lost", directory="/var"}', values: '0 0 1x18'}
      - {series: 'overlay_status{instance="good", directory="/var"}', values: '0x20'}
      - {series: 'overlay_problems{instance="typo"}', values: '1x20'}
      - {series: 'overlay_upper_used_bytes{instance="lost", directory="/var"}', values: '50x20'}
      - {series: 'overlay_upper_free_bytes{instance="lost", directory="/var"}', values: '50x20'}
      - {series: 'overlay_upper_used_bytes{instance="full", directory="/var"}', values: '95x20'}
      - {series: 'overlay_upper_free_bytes{instance="full", directory="/var"}', values: '5x20'}
      - {series: 'node_textfile_mtime_seconds{instance="old", file="/x/overlay.prom"}', values: '0x20'}
      - {series: 'node_textfile_mtime_seconds{instance="good", file="/x/overlay.prom"}', values: '0+300x20'}
      - {series: 'node_textfile_mtime_seconds{instance="other", file="/x/other.prom"}', values: '0x20'}
    alert_rule_test:
      - {eval_time: 5m, alertname: OverlayNotPersistent}
      - eval_time: 40m
        alertname: OverlayNotPersistent
        exp_alerts:
          - exp_labels: {instance: lost, directory: /var}
            exp_annotations: {summary: "lost: /var is in memory, its disk is missing or unfit"}
      - eval_time: 40m
        alertname: OverlayNotAsAsked
        exp_alerts:
          - exp_labels: {instance: lost, directory: /var}
            exp_annotations: {summary: "lost: not as asked, overlayctl status says why"}
          - exp_labels: {instance: typo}
            exp_annotations: {summary: "typo: not as asked, overlayctl status says why"}
      - eval_time: 40m
        alertname: OverlayNearlyFull
        exp_alerts:
          - exp_labels: {instance: full, directory: /var}
            exp_annotations: {summary: "full: the upper layer of /var is nearly full"}
      - eval_time: 40m
        alertname: OverlayMetricsOld
        exp_alerts:
          - exp_labels: {instance: old, file: /x/overlay.prom}
            exp_annotations: {summary: "old: overlay-metrics.service has not written for half an hour"}
"""


def test_the_rules_alert_on_what_they_say_and_on_nothing_else(tmp_path: Path) -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian: prometheus)")
    (rules,) = blocks("yaml")
    (tmp_path / "rules.yml").write_text(rules)
    (tmp_path / "tests.yml").write_text(TESTS)
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "tests.yml"]):
        done = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_know_no_names_that_are_not_written() -> None:
    """Also where there is no promtool."""
    named = set(re.findall(r"\boverlay_[a-z]\w+", PAGE))
    assert len(named) > 8
    assert named - set(exposition.HELP) == {"overlay_persistent_var"}, "but for what Mender gets"


@pytest.fixture
def machine(tmp_path: Path) -> "dict[str, str]":
    """An environment in which overlayctl says what it would on a machine with two directories."""
    found = MachineStatus((DirectoryStatus("/var", overlay=OVERLAY), DirectoryStatus("/srv/my app")))
    (tmp_path / "text").write_text(exposition.spell(found, {}, ""))
    (tmp_path / "overlayctl").write_text(f'#!/bin/sh\n[ "$*" = metrics ] && cat {tmp_path}/text\n')
    (tmp_path / "overlayctl").chmod(0o755)
    return {"PATH": f"{tmp_path}:/usr/bin:/bin"}


def run(script: str, machine: "dict[str, str]") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["sh", "-c", script], env=machine, capture_output=True, text=True, check=False)


def test_the_inventory_of_mender(machine: "dict[str, str]") -> None:
    (script,) = [block for block in blocks("sh") if "sed" in block]
    done = run(script, machine)
    lines = dict(line.split("=") for line in done.stdout.splitlines())
    assert done.stderr == ""
    assert (lines["overlay_active_var"], lines["overlay_active_srv_my app"]) == ("1", "0")
    assert lines["overlay_persistent_var"] == "0"
    assert all(re.fullmatch(r"[a-z_ ]+", name) for name in lines)


def test_the_state_script_of_mender(machine: "dict[str, str]", tmp_path: Path) -> None:
    (script,) = [block for block in blocks("sh") if "grep -q" in block]
    assert run(script, machine).returncode == 0
    text = (tmp_path / "text").read_text()
    name = 'overlay_writable{directory="/var"}'
    (tmp_path / "text").write_text(text.replace(f"{name} 1", f"{name} 0"))
    assert run(script, machine).returncode == 1


def test_telegraf_runs_what_is_there() -> None:
    (block,) = blocks("toml")
    assert 'commands = ["/usr/bin/overlayctl metrics"]' in block
    assert 'data_format = "prometheus"' in block
