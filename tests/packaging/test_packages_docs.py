# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/: every message has its line, every link leads somewhere, and what the pages name is there."""

import re
import subprocess
from pathlib import Path

import pytest
from messages import BLANK, collect

from product import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))
LINKED = [
    *PAGES,
    *(
        REPOSITORY / name
        for name in ("README.md", "tests/boot/README.md", "packaging/yocto/meta-overlay-generator/README.md")
    ),
]
PACKAGES = [REPOSITORY / "generator" / name for name in ("overlay_generator", "overlay_prepare")]
TROUBLESHOOTING = DOCS / "troubleshooting.md"

# Part of a sentence that is found whole, or never said to a person.
NOT_A_MESSAGE: "set[str]" = set()


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors_of(page: Path) -> "set[str]":
    """The anchors of the headings, as GitHub and GitLab make them."""
    found = set()
    for line in without_code(page.read_text()).splitlines():
        match = re.match(r"#+ (.*)", line)
        if match:
            words = re.sub(r"[^\w\- ]", "", match[1].lower())
            found.add(words.replace(" ", "-"))
    return found


def links_of(page: Path) -> "list[str]":
    text = re.sub(r"`[^`\n]*`", "", without_code(page.read_text()))
    return re.findall(r"\]\(([^)\s]+)\)", text)


def find_missing(sentences: "dict[str, str]", page: str) -> "list[str]":
    return [f"{place}: {text}" for text, place in sentences.items() if text not in page and text not in NOT_A_MESSAGE]


def test_every_message_is_explained() -> None:
    sentences = collect(*PACKAGES)
    assert len(sentences) > 50
    assert find_missing(sentences, TROUBLESHOOTING.read_text()) == []


def test_no_message_is_explained_that_is_not_said() -> None:
    """In the first column of the tables, except in the section on what others say."""
    said = "\n".join([*collect(*PACKAGES), *(path.read_text() for path in (REPOSITORY / "lib").rglob("overlay-gen*"))])
    ours = TROUBLESHOOTING.read_text().partition("## What systemd and the kernel say")[0]
    section = ours.partition("## The kernel command line")[2]
    cells = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    sentences = [sentence for cell in cells for sentence in re.findall(r"`([^`]+)`", cell)]
    assert len(sentences) > 40
    # One word with two values is less than what collect() counts as a sentence.
    short = {f"{BLANK} provides {BLANK}"}
    assert [text for text in sentences if text not in said and text not in short and " " in text] == []


def test_a_message_without_its_line_is_found(tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text(
        '"""A docstring of many words is none."""\n'
        "def f(where: 'str | None', unit: str) -> str:\n"
        '    "Nor is this one."\n'
        '    return f"{where} has run out of {unit}" if where else "a plain text of words"\n'
    )
    found = collect(tmp_path)
    assert found == {f"{BLANK} has run out of {BLANK}": "new.py:4", "a plain text of words": "new.py:4"}
    assert len(find_missing(found, "")) == 2


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links_of(page):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert REPOSITORY in (target, *target.parents), link
        if anchor:
            assert anchor in anchors_of(target), f"{page.name}: {link}"


def test_the_check_of_links_finds_a_broken_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One, two: `three`\n\n[a](#one-two-three) [b](gone.md)\n```\n[no](link)\n```\n")
    assert links_of(page) == ["#one-two-three", "gone.md"]
    assert anchors_of(page) == {"one-two-three"}


def test_every_page_is_in_the_index() -> None:
    index = {link.partition("#")[0] for link in links_of(DOCS / "README.md")}
    assert {page.name for page in PAGES} - {"README.md"} <= index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_form_of_a_page(page: Path) -> None:
    text = page.read_text()
    lines = text.splitlines()
    assert lines[0].startswith("# ")
    assert sum(line.startswith("# ") for line in without_code(text).splitlines()) == 1
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert [line for line in lines if line != line.rstrip()] == []
    # A row of a table can't be broken.
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
    for block in re.findall(r"\n((?:\|.*\n)+)", text):
        columns = {len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", row))) for row in block.splitlines()}
        assert len(columns) == 1, block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_symbols_and_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text()
    everything = "\n".join(
        path.read_text()
        for path in (REPOSITORY / "packaging").rglob("*")
        if path.is_file() and path.suffix not in (".gz",) and "mkosi.output" not in path.parts
    )
    for name in re.findall(r"`((?:BR2_PACKAGE_OVERLAY_GENERATOR|OVERLAY_GENERATOR_)\w*)`", text):
        assert name in everything, name
    for target in re.findall(r"`make ([a-z-]+)", text):
        rules = subprocess.run(["make", "-C", REPOSITORY, "-n", target], capture_output=True, text=True, check=False)
        assert "No rule to make target" not in rules.stderr, target
