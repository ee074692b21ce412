"""The parts of the boot tests that judge: neither a report cut short nor a scenario that says nothing may pass."""

import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests/boot"))
from hostchecks import run_host_check
from protocol import read_report, untold
from scenario import ScenarioError, read_scenarios

WHOLE = """\
info systemd 257
ok one
not ok two - it was wrong
begin shutdown.log
|[ 1.0] systemd[1]: Unmounted var.mount
|[ 2.0] systemd[1]: line
|[ 3.0] systemd[1]: line
end shutdown.log
done
shutdown done
"""


def test_a_report_is_read_whole() -> None:
    report = read_report(WHOLE)
    assert [(outcome.name, outcome.ok) for outcome in report.outcomes] == [("one", True), ("two", False)]
    assert (report.checks_done, report.shutdown_done) == (True, True)
    assert report.info["systemd"] == "257"
    assert "Unmounted var.mount" in report.attachments["shutdown.log"]


def test_a_report_that_ends_early_says_so() -> None:
    report = read_report(WHOLE.partition("done\n")[0])
    assert (report.checks_done, report.shutdown_done) == (False, False)
    assert untold(report, ["one", "two", "three"]) == ["three"]


def test_a_line_that_is_no_result_is_noticed() -> None:
    assert read_report("okay nothing\n").stray == ("okay nothing",)


def test_an_attachment_can_not_report_a_result() -> None:
    assert not read_report("begin journal.log\n|ok one\nend journal.log\n").outcomes


@pytest.mark.parametrize(
    ("line", "clean"),
    [
        ("[4.0] systemd[1]: Unmounted run-buildroot-mounts-var.mount", True),
        ("[4.0] systemd[1]: Failed unmounting var.mount", False),
        ("[4.0] umount: /var: target is busy.", False),
        ("[4.0] systemd-shutdown[1]: Unmounting '/var'.", False),
    ],
)
def test_the_shutdown_is_judged_by_its_log(line: str, clean: bool) -> None:
    report = read_report(WHOLE.replace("[ 3.0] systemd[1]: line", line))
    assert run_host_check("shutdown-clean", report, {}).ok == clean


def test_a_shutdown_that_nobody_saw_is_not_clean() -> None:
    assert not run_host_check("shutdown-clean", read_report("done\n"), {}).ok


@pytest.mark.parametrize(
    "text",
    [
        "[scenario]\ndescription = no boots\n",
        "[scenario]\ndescription = x\n[boot one]\n",
        "[scenario]\ndescription = x\n[boot one]\nchecks = a\ndisks = none-such\n",
        "[scenario]\ndescription = x\nnonsense = 1\n[boot one]\nchecks = a\n",
        "no section\n",
    ],
)
def test_a_scenario_that_makes_no_sense_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "broken.ini").write_text(text)
    with pytest.raises(ScenarioError, match=r"broken\.ini"):
        read_scenarios(tmp_path)


def test_every_scenario_that_we_have_is_read() -> None:
    scenarios = read_scenarios(REPOSITORY / "tests/boot/scenarios")
    assert all(scenario.description and scenario.boots for scenario in scenarios.values())
    assert {"flag-off", "flag-on", "persistent-ext4", "missing-disk-nofail"} <= set(scenarios)
