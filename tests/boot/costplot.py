# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Draw horizontal bars as SVG, in the style of all drawings in docs/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LABELS, HEIGHT, GAP, HEAD = 860, 330, 14, 14, 46
DARK, LIGHT = "strong", "weak"
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
MOST_TICKS = 8

# REUSE-IgnoreStart
LICENCE = """\
<!--
SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
SPDX-License-Identifier: LGPL-2.1-or-later
-->
"""
# REUSE-IgnoreEnd
# The colours have names, so that a page that is dark can have others than a system that is. A test compares them.
STYLE = """\
  <style>
    .paper { fill: #ffffff; }
    .ink { fill: #16252d; }
    .faint { fill: #56656e; }
    .line { stroke: #8a9ba4; fill: none; }
    .box { fill: #eef4f6; stroke: #8a9ba4; }
    .strong { fill: #1f6f8b; }
    .onstrong { fill: #ffffff; }
    .weak { fill: #a9cfd8; }
    .onweak { fill: #16252d; }
    .tip { fill: #8a9ba4; }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #1e2129; }
      .ink { fill: #e3e8eb; }
      .faint { fill: #a3b1b8; }
      .line { stroke: #7b8b94; fill: none; }
      .box { fill: #2a313c; stroke: #7b8b94; }
      .strong { fill: #4fb3cf; }
      .onstrong { fill: #10181c; }
      .weak { fill: #2f6b7c; }
      .onweak { fill: #f2f6f7; }
      .tip { fill: #7b8b94; }
    }
  </style>
"""


@dataclass(frozen=True)
class Bar:
    """One way: seconds until /var is writable (None where it never is) and until multi-user.target."""

    title: str
    writable: float | None
    whole: float


def draw(bars: Sequence[Bar]) -> str:
    """Return the plot as the text of an SVG file."""
    most = max(max(bar.whole, bar.writable or 0.0) for bar in bars)
    step = next(step for step in STEPS if most / step <= MOST_TICKS)
    scale = (WIDTH - LABELS - 60) / most
    height = HEAD + len(bars) * (2 * HEIGHT + GAP) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
        "  <title>Time until /var is writable and until multi-user.target</title>",
        LICENCE + STYLE + f'  <rect class="paper" width="{WIDTH}" height="{height}" rx="6"/>',
        _legend(LABELS, DARK, "until /var is writable"),
        _legend(LABELS + 210, LIGHT, "until multi-user.target (seconds)"),
    ]
    for number in range(int(most / step) + 1):
        x = LABELS + number * step * scale
        parts.append(
            f'  <line class="line" opacity="0.4" x1="{x:.1f}" y1="{HEAD - 6}" x2="{x:.1f}" y2="{height - 24}"/>'
        )
        parts.append(
            f'  <text class="faint" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{number * step:g}</text>'
        )
    for number, bar in enumerate(bars):
        y = HEAD + number * (2 * HEIGHT + GAP)
        parts.append(
            f'  <text class="ink" x="{LABELS - 8}" y="{y + HEIGHT + 4}" text-anchor="end">{escape(bar.title)}</text>'
        )
        if bar.writable is not None:
            parts += _bar(y, bar.writable, scale, DARK)
        parts += _bar(y + HEIGHT, bar.whole, scale, LIGHT)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(x: float, colour: str, text: str) -> str:
    return (
        f'  <rect class="{colour}" x="{x}" y="12" width="12" height="12"/>'
        f'<text class="ink" x="{x + 18}" y="23">{text}</text>'
    )


def _bar(y: float, seconds: float, scale: float, colour: str) -> list[str]:
    end = LABELS + seconds * scale
    return [
        f'  <rect class="{colour}" x="{LABELS}" y="{y}" width="{seconds * scale:.1f}" height="{HEIGHT - 1}"/>',
        f'  <text class="faint" x="{end + 5:.1f}" y="{y + HEIGHT - 3}" font-size="11">{seconds:.2f}</text>',
    ]
