# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/security.md says nothing that no test or boot shows; and what it says that has no place elsewhere."""

import ast
import re
from pathlib import Path

import pytest

from overlay_generator.model import OverlayMount
from plans import disk, overlay, units
from product import REPOSITORY

PAGE = REPOSITORY / "docs/security.md"
TEST = re.compile(r"test:\s+`([^`]+)::([a-z0-9_]+)`")
BOOT = re.compile(r"boot:\s+`([^`]+)`")
TOLD = re.compile(r"(?:test|boot):\s+`")


def find_missing(text: str) -> "list[str]":
    """The tests and scenarios that `text` names and that are not there."""
    missing = []
    for file, name in TEST.findall(text):
        path = REPOSITORY / file
        names = (
            {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
            if (path.exists())
            else set()
        )
        missing += [] if name in names else [f"{file}::{name}"]
    scenarios = {path.stem for path in (REPOSITORY / "tests/boot/scenarios").glob("*.ini")}
    return missing + [name for name in BOOT.findall(text) if name not in scenarios]


def find_unshown(text: str) -> "list[str]":
    """The items of lists, and the rows of the table of what drops what, that name neither a test nor a boot."""
    items = re.findall(r"^- .*(?:\n  .*)*", text, re.MULTILINE)
    rows = [line for line in text.split("\n") if line.startswith(("| `Policy", "| `overlayfs", "| an upper"))]
    return [item for item in items + rows if not TOLD.search(item)]


def test_every_statement_is_shown() -> None:
    text = PAGE.read_text()
    assert len(TEST.findall(text)) + len(BOOT.findall(text)) == len(TOLD.findall(text)) > 30
    assert find_missing(text) == []
    assert find_unshown(text) == []


def test_one_that_is_not_shown_is_found() -> None:
    text = "- a (test: `tests/test_security.py::test_nowhere`, test: `tests/x.py::test_x`, boot: `no-such`)\n- b\n  c\n"
    assert find_missing(text) == ["tests/test_security.py::test_nowhere", "tests/x.py::test_x", "no-such"]
    assert find_unshown(text) == ["- b\n  c"]


MOUNTS = [(disk(),), (disk(nofail=True),), (overlay(),), (overlay(), overlay("/srv"))]


@pytest.mark.parametrize("mounts", MOUNTS)
def test_every_service_is_limited(mounts: "tuple[OverlayMount, ...]") -> None:
    services = {name: text for name, text in units(*mounts).items() if name.endswith(".service")}
    assert services
    for name, text in services.items():
        for key in ("TimeoutStartSec", "NoNewPrivileges", "CapabilityBoundingSet", "RestrictAddressFamilies"):
            assert f"\n{key}=" in text, (name, key)
        assert "\nSystemCallFilter=" in text, name


PAGES = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted(REPOSITORY.glob("packaging/man/*")),
]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_line_of_fstab_that_is_printed_has_flags(page: Path) -> None:
    lines = re.findall(r"/run/buildroot/mounts\S*\s+(?:ext4|xfs|btrfs|f2fs|ubifs)\s+(\S+)", page.read_text())
    assert [line for line in lines if not {"nosuid", "nodev"} <= set(line.split(","))] == []
