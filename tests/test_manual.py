# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the manual shows is what the generator does."""

import re

from fakeroot import CASES
from product import REPOSITORY

MANUAL = REPOSITORY / "packaging/man/overlay-generator.8"


def _find_examples() -> "list[str]":
    """The literal blocks of the manual, as a reader sees them."""
    blocks = re.findall(r"^\.nf\n(.*?)^\.fi\n", MANUAL.read_text(), re.MULTILINE | re.DOTALL)
    return [block.replace("\\-", "-") for block in blocks]


def test_the_example_of_the_configuration_is_a_case() -> None:
    examples = [block for block in _find_examples() if block.startswith("[/var]")]
    assert examples == [(CASES / "9z-manual/root/etc/overlay-generator.conf").read_text()]


def test_the_example_of_an_fstab_line_is_a_case() -> None:
    lines = [" ".join(block.split()) for block in _find_examples() if block.startswith("LABEL=")]
    assert len(lines) == 1
    assert lines[0] in " ".join((CASES / "9z-manual/root/etc/fstab").read_text().split())
