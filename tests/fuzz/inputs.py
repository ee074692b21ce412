# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Inputs by chance: the words of a format in any order, its corpus with changes, and bytes of no kind."""

from pathlib import Path

from hypothesis import strategies as st
from parsers import Parser

CORPUS = Path(__file__).resolve().parent / "corpus"


def read_corpus(name: str) -> "dict[str, bytes]":
    """The inputs kept for the parser `name`, by the names of their files."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / name).glob("*"))}


def make_inputs(parser: Parser) -> "st.SearchStrategy[bytes]":
    """What the parser is tried with."""
    words = st.one_of(st.sampled_from(parser.words), st.sampled_from(parser.words), st.binary(max_size=8))
    made = st.lists(words, max_size=30).map(b"".join)
    kept = list(read_corpus(parser.name).values())
    if not kept:
        return made
    changed = st.builds(_change, st.sampled_from(kept), st.integers(0, 1 << 16), words, st.integers(0, 40))
    return st.one_of(made, changed)


def _change(data: bytes, at: int, more: bytes, cut: int) -> bytes:
    """`data` with `more` in the place of `cut` bytes."""
    at %= len(data) + 1
    return data[:at] + more + data[at + cut :]
