# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lines of fstab that README, docs, manuals and examples print, and what check advises: all wait the same time."""

import re

import pytest

from overlayctl.check import fstab
from overlayctl.check.finding import RULES
from product import REPOSITORY

PLACES = ("README.md", "docs", "packaging", "generator/overlayctl/check/finding.py")
TIMEOUT = re.compile(r"x-systemd\.device-timeout=([0-9a-z]+)")
LINE = re.compile(r"^\W*(?:[A-Z]+=|/dev/)\S+\s+/\S+\s+(?:ext4|xfs|btrfs|f2fs|auto)\s+\S*nofail\S*", re.M)


def _read() -> "dict[str, str]":
    """All texts by their path, without the backslashes of manuals."""
    tops = [REPOSITORY / place for place in PLACES]
    paths = [path for top in tops for path in ([top] if top.is_file() else sorted(top.rglob("*"))) if path.is_file()]
    texts = {str(path.relative_to(REPOSITORY)): path.read_text(errors="replace") for path in paths}
    return {name: text.replace("\\-", "-") for name, text in texts.items()}


def test_every_line_waits_as_long_as_the_others() -> None:
    found = [(name, line) for name, text in _read().items() for line in text.splitlines() if TIMEOUT.search(line)]
    assert len(found) > 10
    for name, line in found:
        assert set(TIMEOUT.findall(line)) <= {"30s", "90s"}, f"{name}: {line}"
        for cell in line.split("|"):
            # What is unlocked first, and the sentences on it.
            if "90s" in TIMEOUT.findall(cell):
                assert "/dev/mapper/" in cell or "unlock" in _around(name, line), f"{name}: {line}"
            elif "/dev/mapper/" in cell:
                assert not TIMEOUT.findall(cell), f"{name}: {line}"


def _around(name: str, line: str) -> str:
    lines = _read()[name].splitlines()
    at = lines.index(line)
    return " ".join(lines[max(0, at - 3) : at + 3])


def test_every_line_for_a_disk_that_may_be_missing_says_how_long_it_is_waited_for() -> None:
    found = [(name, match[0]) for name, text in _read().items() for match in LINE.finditer(text.replace("`", "\n"))]
    assert len(found) > 5
    assert [place for place in found if not TIMEOUT.search(place[1])] == []


def test_the_times_of_the_check_are_those_of_the_lines() -> None:
    assert RULES["no-timeout"][2].endswith(f"={fstab._ENOUGH}s")
    assert (fstab._ENOUGH, fstab._ENOUGH_UNLOCKED) == (30, 90)


@pytest.mark.parametrize("page", ["README.md", "packaging/man/overlay-generator.8", "docs/persistent-data.md"])
def test_every_page_on_persistent_data_explains_both_times(page: str) -> None:
    text = _read()[page]
    assert all(word in text for word in ("x-systemd.device-timeout=", "x-systemd.mount-timeout=", "90 s"))
    assert "unlocked" in text


# Six fields of which the second is a path; what stands before it in a table, a manual or a unit is not part of it.
ENTRY = re.compile(
    r"(?:(?:[A-Z]+=|/|ubi)[^\s`|]+|tmpfs)[ \t]+/[^\s`|]*[ \t]+[a-z0-9]+[ \t]+[^\s`|]+"
    r"[ \t]+[0-2][ \t]+[0-2](?![^\s`|\"])"
)


def _find_entries(text: str) -> "set[str]":
    return {" ".join(match[0].split()) for match in ENTRY.finditer(text)}


def test_every_line_that_the_documentation_prints_is_booted_as_it_stands() -> None:
    scenarios = (REPOSITORY / "tests/boot/scenarios").glob("*.ini")
    booted = {" ".join(line.split()) for path in scenarios for line in path.read_text().splitlines()}
    pages = {name: text for name, text in _read().items() if name.startswith(("README", "docs/", "packaging/man/"))}
    printed = [(name, entry) for name, text in pages.items() for entry in sorted(_find_entries(text))]
    assert len(printed) > 10
    assert [(name, entry) for name, entry in printed if entry not in booted] == []


def test_a_line_is_found_in_tables_blocks_and_manuals() -> None:
    text = "| a disk | `LABEL=a /b ext4 x 0 2`, on top |\nubi0:a /c ubifs y 0 0\n"
    text += 'X = "LABEL=d /e auto z 0 2"\n  tmpfs  /f  tmpfs  m  0 0\n'
    wanted = {"LABEL=a /b ext4 x 0 2", "ubi0:a /c ubifs y 0 0", "LABEL=d /e auto z 0 2", "tmpfs /f tmpfs m 0 0"}
    assert _find_entries(text) == wanted
