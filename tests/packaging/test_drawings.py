# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The drawings of docs/: all in one style, readable in light and dark, and of nothing but themselves."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from costplot import STYLE

from product import REPOSITORY

DRAWINGS = [path for path in sorted((REPOSITORY / "docs").glob("*.svg")) if path.name != "terminal.svg"]
SVG = "{http://www.w3.org/2000/svg}"
# Text and what it stands on; WCAG 2.1 wants 4.5 between them.
READ_ON = [
    ("ink", "paper"),
    ("faint", "paper"),
    ("ink", "box"),
    ("faint", "box"),
    ("onstrong", "strong"),
    ("onweak", "weak"),
]


def _luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colours", STYLE.split("@media"), ids=["light", "dark"])
def test_text_can_be_read(colours: str) -> None:
    found = dict(re.findall(r"\.(\w+) \{ fill: (#\w+)", colours))
    for text, ground in READ_ON:
        dark, light = sorted((_luminance(found[text]), _luminance(found[ground])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{text} on {ground}"


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda path: path.name)
def test_all_have_one_style(drawing: Path) -> None:
    text = drawing.read_text()
    assert STYLE in text
    root = ElementTree.fromstring(text)
    assert (root.tag, root.get("class")) == (f"{SVG}svg", "drawing")
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert root.findtext(f"{SVG}title")
    # A colour that stands in an element stays as it is in the dark.
    assert not re.findall(r'(?:fill|stroke)="#', text)
    assert set(re.findall(r'class="(\w+)"', text)) - {"drawing"} <= set(re.findall(r"\.(\w+) \{", STYLE))


def test_the_picture_of_a_terminal_loads_nothing() -> None:
    text = (REPOSITORY / "docs/terminal.svg").read_text()
    ElementTree.fromstring(text)
    assert set(re.findall(r"https?://[^\"]+", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(#" in text
    assert not re.findall(r"url\((?!#)|@import|@font-face|href=", text)
    for word in ("overlayctl&#160;status", "overlayctl&#160;diff", "Read-only&#160;file&#160;system"):
        assert word in text, word
