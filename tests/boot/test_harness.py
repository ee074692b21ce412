# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The parts of the boot tests that judge: neither a report cut short nor a scenario that says nothing may pass."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import debian
import machine
import pytest
from architectures import ARCHITECTURES, Architecture
from costpage import COLUMNS, write_page
from costways import WAYS, way_image
from demo import make_plain
from hostchecks import run_host_check
from protocol import Outcome, read_report, untold
from repeat import spelt_out
from runner import BootResult, find_obstacle
from scenario import ScenarioError, read_scenarios
from steps import StepFailed
from tally import tallies
from terminal import shorten
from values import Late
from watch import Event, run_until

from product import REPOSITORY

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
        ("[ 3.0] systemd-udevd[9]: Failed to push event serialization fd to service manager: refused", True),
        ("[ 3.0] systemd-udevd[9]: Failed to close a file system", False),
        ("[ 3.0] clocksource: Watchdog remote CPU 1 read timed out", True),
        ("[ 3.0] systemd[1]: var.mount: Unmounting timed out. Terminating.", False),
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
        "[scenario]\ndescription = x\n[boot one]\nchecks = a\nlate-disks = none-such:4\n",
        "[scenario]\ndescription = x\n[boot one]\nchecks = a\ncut-at = never:4\n",
        "[scenario]\ndescription = x\n[boot one]\nchecks = a\nexpect = cut\n",
        "[scenario]\ndescription = x\n[boot one]\nchecks = a\nimage = a b\nrepeat = 2\n",
        "[scenario]\ndescription = x\n[image b]\n[boot one]\nchecks = a\nimage = a b\n",
        "[scenario]\ndescription = x\n[boot one]\nchecks = a\nrepeat = 0\n",
        "[scenario]\ndescription = x\n[disk d]\nsize = 1M\nbundle = a\n[boot one]\nchecks = a\n",
        "[scenario]\ndescription = x\nbase = rauc\n[disk d]\nsize = 1M\nbundle = b\n[boot one]\nchecks = a\n",
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


REPEATED = """
[scenario]
description = x
[image b]
[disk data]
size = 8M
[boot cut]
repeat = 4
image = a b
late-disks = data:2.5
cut-at = writes:0-6 prepare:1
checks = a
[boot after]
checks = a
late-disks = data
"""


def test_a_repeated_boot_is_spelt_out(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(REPEATED)
    scenario = read_scenarios(tmp_path)["x"]
    boots = spelt_out(scenario, None, 0).boots
    assert [boot.name for boot in boots] == ["cut-01", "cut-02", "cut-03", "cut-04", "after"]
    # Each of them is an update, and both kinds of cut come with both images.
    assert [boot.image for boot in boots] == ["a", "b", "a", "b", "a"]
    assert [[cut.at for cut in boot.cuts] for boot in boots] == [["writes"], ["writes"], ["prepare"], ["prepare"], []]
    assert all(0 <= cut.least == cut.most <= 6 for boot in boots for cut in boot.cuts)
    assert (boots[0].late, boots[4].late) == ((Late("data", 2.5),), (Late("data", None),))
    assert len(spelt_out(scenario, 50, 0).boots) == 51


def test_cuts_that_come_to_each_image_in_turn_do_so(tmp_path: Path) -> None:
    """Else all early ones follow one another, and no boot in between gets far enough to be an update."""
    text = REPEATED.replace("image = a b", "image = a b a").replace("repeat = 4", "repeat = 6")
    (tmp_path / "x.ini").write_text(text)
    boots = spelt_out(read_scenarios(tmp_path)["x"], None, 0).boots
    assert [cut.at for boot in boots for cut in boot.cuts] == ["writes", "prepare"] * 3


def test_the_moments_of_cuts_go_by_the_seed(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(REPEATED)
    scenario = read_scenarios(tmp_path)["x"]
    assert spelt_out(scenario, 20, 1) == spelt_out(scenario, 20, 1)
    assert spelt_out(scenario, 20, 1) != spelt_out(scenario, 20, 2)


def test_the_power_is_cut_when_the_sign_is_there(tmp_path: Path) -> None:
    sign = tmp_path / "result.log"
    script = f"sleep 0.3; echo info kept-x >> {sign}; sleep 60"
    events = [Event((sign, re.compile("^info kept-", re.M)), 0.2)]
    ended = run_until(["sh", "-c", script], 30, tmp_path / "log", events)
    assert (ended.cut, ended.timed_out) == (True, False)
    assert 0.5 <= ended.seconds < 20


def test_a_machine_that_ends_before_its_cut_was_not_cut(tmp_path: Path) -> None:
    events = [Event((tmp_path / "none-such", re.compile("x")), 0.0)]
    ended = run_until(["true"], 30, tmp_path / "log", events)
    assert (ended.cut, ended.timed_out, ended.status) == (False, False, 0)


def test_a_machine_that_hangs_is_stopped(tmp_path: Path) -> None:
    for events in ([], [Event((tmp_path / "none-such", re.compile("x")), 0.0)]):
        assert run_until(["sleep", "60"], 0.3, tmp_path / "log", events).timed_out


@pytest.mark.parametrize(
    ("console", "again"),
    [
        ("[ 1.9] Oops: int3\n[ 2.0] Kernel panic - not syncing: Fatal exception\n", True),
        ("[ 5.0] systemd[1]: Started\n[ 9.0] Kernel panic - not syncing\n", False),
        ("[  OK  ] Reached target\n", False),
        ("", False),
    ],
)
def test_only_a_kernel_that_never_ran_a_program_is_started_again(console: str, again: bool, tmp_path: Path) -> None:
    (tmp_path / "console.log").write_text(console)
    assert machine.crashed_early(tmp_path / "console.log") == again


def test_a_series_of_cuts_is_summed_up() -> None:
    def cut(number: int, *outcomes: Outcome) -> BootResult:
        info = {"verified": str(number)} if number else {}
        return BootResult("x", f"cut-{number}", "sid", "passed", outcomes=outcomes, info=info, cut=True)

    whole, lost = Outcome("nothing-synced-is-lost", True), Outcome("nothing-synced-is-lost", False, "file 2 is lost")
    (line,) = tallies([cut(0), cut(4, whole), cut(9, lost), cut(0, Outcome("var-is-overlay", False))])
    assert "4 power cuts; 2 boots came to look at what was synced, 9 entries" in line
    assert line.endswith("lost something: 1, without a writable /var: 1")
    assert not list(tallies([cut(1)]))


def test_a_scenario_that_leaves_suites_out_says_why(tmp_path: Path) -> None:
    boot = "[boot one]\nchecks = var-is-overlay\n"
    (tmp_path / "x.ini").write_text(f"[scenario]\nsuites = sid\n{boot}")
    with pytest.raises(ScenarioError, match="suites-because"):
        read_scenarios(tmp_path)
    (tmp_path / "x.ini").write_text(f"[scenario]\nsuites = sid\nsuites-because = too new\n{boot}")
    assert read_scenarios(tmp_path)["x"].because == "too new"


def test_a_late_disk_is_plugged_in_by_an_order(tmp_path: Path) -> None:
    got = tmp_path / "got"
    event = Event(None, 0.2, {"execute": "device_add"})
    ended = run_until(["sh", "-c", f"head -n 2 > {got}"], 30, tmp_path / "log", [event])
    assert (ended.cut, ended.timed_out) == (False, False)
    orders = [json.loads(line)["execute"] for line in got.read_text().splitlines()]
    assert orders == ["qmp_capabilities", "device_add"]


def test_the_page_of_the_cost_says_what_was_not_held(tmp_path: Path) -> None:
    def rounds(ours: float) -> list[dict[str, dict[str, float]]]:
        usual = {**dict.fromkeys((*COLUMNS, "python"), 2.0), "GeneratorsStart": 0.5}
        found = {way.name: {**usual, "writable": ours if way.name == "ours" else 2.0} for way in WAYS}
        found["nothing"]["generators"] = 1.0
        return [found]

    about = {"suite": "trixie", "clock": "-icount x", "accelerator": "tcg", "processors": 1}
    for ours, held in ((2.05, True), (2.1, False)):
        write_page({**about, "rounds": rounds(ours)}, tmp_path)
        page = (tmp_path / "boot-cost.md").read_text()
        assert ("not held" not in page) == held
        assert all(way.title in page for way in WAYS)
        ElementTree.parse(tmp_path / "boot-cost.svg")


def test_the_page_compares_generators_that_run_at_the_same_time_with_one_start(tmp_path: Path) -> None:
    usual = {**dict.fromkeys((*COLUMNS, "python"), 2.0), "GeneratorsStart": 0.5}
    about = {"suite": "trixie", "clock": "x", "accelerator": "tcg", "processors": 1}
    for longer, held in ((1.9, "held"), (2.2, "**not held**")):
        ways = {
            way.name: {**usual, "generators": {"nothing": 1.0, "ours": 1.0 + longer}.get(way.name, 2.0)} for way in WAYS
        }
        beside = {"accelerator": "tcg", "processors": 2, "rounds": [ways]}
        write_page({**about, "rounds": [ways], "side by side": beside}, tmp_path)
        section = (tmp_path / "boot-cost.md").read_text().partition("on 2 processors")[2]
        row = next(line for line in section.splitlines() if line.startswith("| overlay-generator |"))
        assert row.endswith(f"| {longer / 2:.2f} | 1.00 | {held} |")


def test_the_ways_that_are_compared_differ_from_one_another() -> None:
    assert len({(repr(way_image(way)), way.cmdline) for way in WAYS}) == len(WAYS)


EACH_MACHINE = ("flag-off", "flag-on", "persistent-ext4", "image-update", "power-cut", "missing-disk-nofail")


def _base(architecture: Architecture) -> debian.Base:
    nowhere = Path("/none-such")
    return debian.Base(architecture, "trixie", "small", "key", nowhere, nowhere, nowhere, nowhere, nowhere)


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=str)
def test_what_stands_for_all_scenarios_runs_on_each_architecture(architecture: Architecture) -> None:
    scenarios = read_scenarios(REPOSITORY / "tests/boot/scenarios")
    assert [find_obstacle(scenarios[name], "trixie", architecture) for name in EACH_MACHINE] == [""] * len(EACH_MACHINE)
    assert f"each_machine := {' '.join(EACH_MACHINE)}\n" in (REPOSITORY / "Makefile").read_text()


def test_a_scenario_that_an_architecture_can_not_run_says_why() -> None:
    scenarios = read_scenarios(REPOSITORY / "tests/boot/scenarios")
    tiny, long = scenarios["tiny-machine"], scenarios["checks-can-fail"]
    assert [find_obstacle(tiny, "trixie", ARCHITECTURES[name]) != "" for name in ("amd64", "arm64")] == [False, True]
    assert "command line of" in find_obstacle(long, "trixie", ARCHITECTURES["armhf"])
    assert find_obstacle(long, "trixie", ARCHITECTURES["amd64"]) == ""


def test_a_command_line_that_the_kernel_would_cut_starts_no_machine(tmp_path: Path) -> None:
    armhf = ARCHITECTURES["armhf"]
    nowhere = Path("/none-such")
    start = machine.Start(nowhere, nowhere, nowhere, "x" * armhf.longest_cmdline)
    with pytest.raises(StepFailed, match="command line"):
        machine.boot(machine.choose_machine(_base(armhf), icount=True), start, tmp_path)


@pytest.mark.parametrize("name", ["arm64", "armhf"])
def test_another_architecture_is_emulated_whatever_the_host(name: str, tmp_path: Path) -> None:
    base = _base(ARCHITECTURES[name])
    assert machine.choose_machine(base).accelerator.startswith("tcg")
    steady = machine.choose_machine(base, icount=True)
    words = machine._base_argv(steady, base.kernel, base.initramfs, "quiet", tmp_path / "console.log")
    assert (words[0], words[words.index("-M") + 1]) == (base.architecture.qemu, "virt")
    assert words[words.index("-icount") + 1] == machine.ICOUNT
    assert words[words.index("-smp") + 1] == "1", "a clock by instructions has one processor"
    assert "console=ttyAMA0" in machine.spell_cmdline(base.architecture, "squashfs", 512, "")


def test_what_is_copied_from_a_configured_tree_is_of_no_architecture(tmp_path: Path) -> None:
    native, tree = tmp_path / "native", tmp_path / "tree"
    for name in ("etc/passwd", "usr/bin/tool", "usr/lib/x86_64-linux-gnu/part", "usr/lib/part.so.1", "usr/lib64/x"):
        (native / name).parent.mkdir(parents=True, exist_ok=True)
        (native / name).write_text("native")
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/tool").write_text("its own")
    base = _base(ARCHITECTURES["amd64"])
    debian._copy_configured(replace(base, tree=native), tree, tmp_path / "log")
    found = {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*") if path.is_file()}
    assert found == {"etc/passwd": "native", "usr/bin/tool": "its own"}


def test_the_demo_shows_no_control_sequence_of_the_firmware() -> None:
    shown = make_plain("\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS\r\n$ cat /var/foo/bar\r\n\x1b[1;31mtext\x1b[0m\tend\x1b(B\n")
    assert shown == "SeaBIOS\n$ cat /var/foo/bar\ntext\tend\n"
    # ECMA-48, 5.6 and 8.3.89: a command string (OSC, DCS) goes on to its end; systemd 257 resets the colours by one.
    assert make_plain("a\x1b]104\x1b\\b\x1b]11;?\x07c\x1bP+q544e\x1b\\d") == "abcd"


def test_the_picture_has_commands_and_answers_only() -> None:
    shown = "(kernel)\n$ cat a\n1\n\n$ find b\n2\n$ cat c\n[no time]\n[   27.004808] reboot: Power down\n"
    assert shorten(shown) == "$ cat a\n1\n\n$ cat c\n[no time]\n"
