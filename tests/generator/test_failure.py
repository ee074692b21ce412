# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The units that fail if a directory is not what was asked for: which there are, and what is in them."""

import pytest

from overlay_generator.boot import make_files
from overlay_generator.failure import render_failures
from overlay_generator.model import OverlayMount, Plan, Settings, Skipped, UnitFile, UnitLink
from plans import disk, overlay, values


def failures(*mounts: OverlayMount, skipped: "tuple[Skipped, ...]" = (), shell: bool = True) -> "dict[str, str]":
    """The units by name; every second file is the link that starts the one before it, and orders nothing."""
    files = render_failures(Plan(mounts, skipped, shell=shell))
    units, links = files[::2], files[1::2]
    for unit, link in zip(units, links):
        assert isinstance(unit, UnitFile) and isinstance(link, UnitLink)
        assert (link.path, link.target) == (f"local-fs.target.wants/{unit.path}", f"../{unit.path}")
        assert values(unit.text, "DefaultDependencies") == ["no"]
        assert values(unit.text, "Before") == ["umount.target"]
        # A unit that can't be written must not take the overlay along.
        assert unit.group == link.group and not unit.group.startswith("/")
    return {unit.path: unit.text for unit in units if isinstance(unit, UnitFile)}


def test_what_is_in_memory_by_its_owner_s_wish_has_none() -> None:
    assert failures(overlay("/var")) == {}
    assert failures(disk("/var", nofail=True)).keys() == {"overlay-not-persistent@var.service"}
    assert failures(disk("/var")).keys() == {"overlay-not-persistent@var.service"}, "it may come up read-only"


def test_it_waits_for_what_it_tells_of_and_runs_only_where_there_is_a_reason() -> None:
    text = failures(disk("/srv/a b", nofail=True))["overlay-not-persistent@srv-a_20b.service"]
    after = "srv-a\\x20b.mount prepare-srv-a_20b-overlay.service verify-srv-a_20b-overlay.service"
    assert values(text, "After") == [after]
    assert values(text, "ConditionPathExists") == ["/run/overlay-generator/srv-a_20b.failed"]
    assert not values(text, "Wants") + values(text, "Requires")


def test_without_a_shell_it_fails_all_the_same() -> None:
    text = failures(disk("/var", nofail=True), shell=False)["overlay-not-persistent@var.service"]
    assert values(text, "ExecStart") == [
        '-systemd-notify "--status=see /run/overlay-generator/var.failed"',
        "/bin/false",
    ]


@pytest.mark.parametrize(
    ("skipped", "names"),
    [
        (Skipped("/home", "why", "error"), {"overlay-missing@home.service"}),
        (Skipped("/", "the root directory", "error"), {"overlay-missing@-.service"}),
        (Skipped("/home", "by fstab"), set()),
        (Skipped("/home", "a user's manager", "quiet"), set()),
        (Skipped("home", "no absolute path", "error"), set()),
        (Skipped("/a/../b", "no path", "error"), set()),
        (Skipped("/\udcff", "not UTF-8", "error"), set()),
        (Skipped("/a\nb", "a line break", "error"), set()),
    ],
)
def test_an_error_has_a_unit_and_a_notice_has_none(skipped: Skipped, names: "set[str]") -> None:
    assert failures(skipped=(skipped,)).keys() == names


def test_no_reason_begins_another_line() -> None:
    reason = '/etc/x\n[Service]\nExecStart=/evil\t\udcff\x1b[2J "q" %n $HOME \\' + "x" * 1000
    text = failures(skipped=(Skipped("/home", reason, "error"),))["overlay-missing@home.service"]
    text.encode("utf-8")
    assert len(values(text, "ExecStart")) == 2
    command = values(text, "ExecStart")[0]
    assert "?[Service]?ExecStart=/evil???[2J" in command
    assert '\\"q\\" %%n $$HOME' in command
    assert len(command) < 600


def test_a_notice_is_enough_where_the_owner_says_so() -> None:
    mount, skipped = disk("/var", nofail=True), Skipped("/home", "why", "error")
    mount.settings = Settings(notify="notice")
    skipped.notify = "notice"
    assert failures(mount, skipped=(skipped,)) == {}


def test_they_come_with_the_other_units() -> None:
    plan = Plan((disk("/var", nofail=True),), (Skipped("/home", "why", "error"),))
    names = [file.path for file in make_files(plan)]
    assert {"var.mount", "overlay-not-persistent@var.service", "overlay-missing@home.service"} <= set(names)
    assert len(names) == len(set(names))
