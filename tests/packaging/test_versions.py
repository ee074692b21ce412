# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The version is written in the package, and everything that can't read it there says the same."""

import re

import pytest

from overlay_generator import __version__
from product import REPOSITORY

# A file, or each of several, and where in it the version is.
PLACES = [
    ("NEWS", r"\Aoverlay-generator (\S+) \("),
    ("packaging/man/*.[1-9]", r'^\.TH .*"overlay-generator ([^" ]+)"'),
    ("packaging/debian/changelog", r"\Aoverlay-generator \(([^-]+)-\d+\) "),
    ("packaging/rpm/overlay-generator.spec", r"^Version:\s+(\S+)$"),
    ("packaging/rpm/overlay-generator.spec", r"^%changelog\n\* .* - ([^-]+)-\d+$"),
]


@pytest.mark.parametrize(("pattern", "place"), PLACES, ids=[f"{pattern}:{place}" for pattern, place in PLACES])
def test_one_version_everywhere(pattern: str, place: str) -> None:
    files = sorted(REPOSITORY.glob(pattern))
    assert files
    for file in files:
        assert re.findall(place, file.read_text(), re.MULTILINE) == [__version__], file


def test_setup_reads_it_from_the_package() -> None:
    assert "\nversion = attr: overlay_generator.__version__\n" in (REPOSITORY / "setup.cfg").read_text()
