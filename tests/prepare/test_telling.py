# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the generator has found gets to the journal; on the console it was already."""

import pytest

from overlay_prepare import events, telling

WORDS = ["fell-back", "warning", "/var", "the text", "the reason", "not-overlaid", "error", "/srv", "another", "why"]
Told = tuple[str, int, str, dict[str, str], bool]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> "list[Told]":
    found: list[Told] = []

    def tell(event: str, level: int, text: str, fields: "dict[str, str]", console: bool = True) -> None:
        found.append((event, level, text, fields, console))

    monkeypatch.setattr(telling, "tell", tell)
    return found


def test_each_is_told_with_its_fields(told: "list[Told]") -> None:
    assert telling.tell_all(WORDS) == 0
    assert told == [
        (events.FELL_BACK, 4, "the text", {"where": "/var", "reason": "the reason"}, False),
        (events.NOT_OVERLAID, 3, "another", {"where": "/srv", "reason": "why"}, False),
    ]
    assert telling.tell_all(["fell-back", "notice", "/var", "t", "r"]) == 0
    assert told[-1][1] == 5
    assert telling.tell_all([]) == 0
    assert len(told) == 3


@pytest.mark.parametrize("words", [
    WORDS[:4], [*WORDS, "more"], ["unheard-of", *WORDS[1:]], [*WORDS[:5], "unheard-of", *WORDS[6:]],
    [WORDS[0], "loud", *WORDS[2:]], [*WORDS[:6], "loud", *WORDS[7:]],
])  # fmt: skip
def test_what_is_not_understood_is_one_line(
    words: "list[str]", told: "list[Told]", capsys: pytest.CaptureFixture[str]
) -> None:
    assert telling.tell_all(words) == 1
    assert told == []
    assert capsys.readouterr().err == "<3>prepare: --tell: not known; it is run by its unit alone\n"
