# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Draws what a terminal showed, as SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from costplot import LICENCE
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

WIDTH = 104  # characters
LEFT_OUT = ("$ find ", "$ systemctl ")
KERNEL_LINE = re.compile(r"^\[ *[0-9]+\.[0-9]{6}\] .*\n?", re.MULTILINE)
# That of rich without its fonts, which a browser would fetch from elsewhere.
FORMAT = f"""\
<svg class="terminal" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{width}} {{height}}">
{LICENCE}\
<style>
.{{unique_id}}-matrix {{{{ font-family: monospace; font-size: {{char_height}}px; line-height: {{line_height}}px; }}}}
.{{unique_id}}-title {{{{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}}}
{{styles}}
</style>
<defs>
<clipPath id="{{unique_id}}-clip-terminal">
<rect x="0" y="0" width="{{terminal_width}}" height="{{terminal_height}}"/>
</clipPath>
{{lines}}
</defs>
{{chrome}}
<g transform="translate({{terminal_x}}, {{terminal_y}})" clip-path="url(#{{unique_id}}-clip-terminal)">
{{backgrounds}}
<g class="{{unique_id}}-matrix">
{{matrix}}
</g>
</g>
</svg>
"""


def draw(titles: Sequence[str], consoles: Sequence[str]) -> str:
    """Return the SVG of what was shown: each console below its title."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for title, shown in zip(titles, consoles):
        text = shorten(shown)
        console.print(Text(f"# {title}", style="bold cyan"))
        for line in text.strip().splitlines():
            style = "bold" if line.startswith("$ ") else ""
            console.print(Text(line, style=style), soft_wrap=False, overflow="crop", no_wrap=True)
        console.print()
    drawn = console.export_svg(
        title="overlay-generator", theme=DIMMED_MONOKAI, code_format=FORMAT, unique_id="terminal", clear=True
    )
    return re.sub(r"[ \t]+$", "", drawn, flags=re.MULTILINE)


def shorten(text: str) -> str:
    """Return the commands and their answers, but for commands whose output is long and says little, what the console
    got before the first one, and the kernel's own lines.
    """
    parts = re.split(r"^(?=\$ )", KERNEL_LINE.sub("", text), flags=re.MULTILINE)
    return "".join(part for part in parts if part.startswith("$ ") and not part.startswith(LEFT_OUT))
