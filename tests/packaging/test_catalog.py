# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The catalog of journalctl -x: made of docs/troubleshooting.md, for every event, and read by journalctl."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

from overlay_prepare import events
from product import ENVIRON, REPOSITORY

SCRIPT = REPOSITORY / "packaging/make-catalog"
CATALOG = REPOSITORY / "packaging/overlay-generator.catalog"
PAGE = REPOSITORY / "docs/troubleshooting.md"
IDS = sorted(number for name, number in vars(events).items() if name.isupper() and isinstance(number, str))


def make(page: str) -> str:
    text: str = runpy.run_path(str(SCRIPT))["make_catalog"](page)
    return text


def test_page_and_catalog_are_one() -> None:
    done = subprocess.run([SCRIPT], capture_output=True, text=True, env=ENVIRON, check=True)
    assert done.stdout == CATALOG.read_text(), "make catalog"


def test_a_change_of_the_page_is_one_of_the_catalog() -> None:
    page = PAGE.read_text()
    _, changed, rest = page.partition("The kernel has mounted the overlay")
    assert changed
    assert make(page.replace(changed, "Something else")) != CATALOG.read_text()
    assert rest


def test_every_event_is_explained_and_no_other() -> None:
    assert len(IDS) == len(set(IDS)) == 14
    assert all(re.fullmatch("[0-9a-f]{32}", number) for number in IDS)
    assert sorted(re.findall(r"^-- (\S+)$", CATALOG.read_text(), re.MULTILINE)) == IDS
    assert {*events.BY_NAME.values()} < {*IDS}


def test_no_number_has_ever_changed() -> None:
    """Whoever alerts on one has it in a file of his own."""
    assert events.FELL_BACK == "2d08fae7fc944a9f9f03c6bfa7415117"
    assert events.READ_ONLY == "b8dbacb82b92431e8c61bbb120c94806"
    assert events.NOT_OVERLAID == "1b44b4d6ab8a48cca2d81ab69c2bb732"
    assert events.IMAGE_CHANGED == "42bc8ca747d4406382761df10d768c7b"
    assert events.ENTRIES_DROPPED == "8e3bfca2b7d042a38573d6dd9ffbfcab"
    assert events.POLICY_NOT_DONE == "ecfde2a8f0f94eb79019fa56a6bf2350"
    assert events.RESET_DONE == "cb8760199a9c42f796e58a0c7423e3ec"
    assert events.RESET_REFUSED == "083d7dee871c4dc6a329c1d6181cd9cc"
    assert events.NOT_PASSED_THROUGH == "8ebded97c4c64e4d9d2d6e0ded70e78b"
    assert events.BOOT_NOT_GOOD == "0323f0e2c58946a08c5ebd49d9c8deca"
    assert events.DATA_FROZEN == "637672cec4cc475eab83aee9285f3db0"
    assert events.DATA_FOLDED == "4b5f906c83ca4faca28bb93e4b257417"
    assert events.STEPPED_BACK == "2205968d808c4e9f98561610739cefe0"
    assert events.ROLLBACK_REFUSED == "bf7c297d0b6e48c3b1508162fbba60ca"


@pytest.mark.parametrize(
    "page",
    [
        "# no such section\n",
        "\n## Events\n\nnothing in it\n\n## Next\n",
        "\n## Events\n\n### One\n\nno number\n\ntext\n",
        "\n## Events\n\n### One\n\n`MESSAGE_ID=2d08fae7fc944a9f9f03c6bfa7415117`\n\n## Next\n",
    ],
)
def test_a_page_that_is_not_as_it_should_be_is_refused(page: str) -> None:
    with pytest.raises(ValueError):
        make(page)


def test_markdown_becomes_plain_text() -> None:
    page = (
        "\n## Events\n\n### A *b*\n\n`MESSAGE_ID=" + "a" * 32 + "`, with `OVERLAY_X=`\n\n[See](x.md) `y`.\n\n## Next\n"
    )
    text = make(page)
    assert text.endswith("\n\nOVERLAY_X=@OVERLAY_X@\n\nSee y.\n")


@pytest.mark.skipif(not shutil.which("journalctl"), reason="journalctl is not installed")
def test_journalctl_takes_every_entry(tmp_path: Path) -> None:
    place = tmp_path / "usr/lib/systemd/catalog"
    place.mkdir(parents=True)
    shutil.copy(CATALOG, place)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    command = ["journalctl", f"--root={tmp_path}"]
    done = subprocess.run([*command, "--update-catalog"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    listed = subprocess.run([*command, "--list-catalog"], capture_output=True, text=True, check=True).stdout
    assert sorted(line.split()[0] for line in listed.splitlines()) == IDS
    assert "overlay-generator: Memory took the place of a disk" in listed
