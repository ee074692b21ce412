# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every line of fstab that README, the pages and the manual print is booted by a scenario, to the letter."""

import re
from pathlib import Path

from product import REPOSITORY

SCENARIOS = Path(__file__).with_name("scenarios")
# Six fields, the last two of them numbers.
ENTRY = re.compile(r"([\w./-]+(?:[=:][\w./-]+)?(?:[ \t]+/[\w./-]*)(?:[ \t]+[\w=,.:+/-]+){2}[ \t]+\d[ \t]+\d)(?![\w.])")


def test_printed_lines_are_booted() -> None:
    pages = [REPOSITORY / "README.md", *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("packaging/**/*.[1-8]")]
    pages += REPOSITORY.glob("packaging/**/*.md")
    printed = {
        " ".join(entry.split()): str(page.relative_to(REPOSITORY))
        for page in pages
        for entry in ENTRY.findall(page.read_text().replace("\\-", "-"))
    }
    booted = "\n".join(" ".join(line.split()) for path in SCENARIOS.glob("*.ini") for line in path.open())
    assert len(printed) >= 9, "they are found at all"
    assert {entry: page for entry, page in printed.items() if entry not in booted} == {}
