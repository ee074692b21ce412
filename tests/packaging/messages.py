# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The sentences that the product says, taken from its sources: what a page about them must have."""

import ast
from collections.abc import Iterator
from pathlib import Path

# What is put in at run time.
BLANK = "…"

# render, dropins, direct, failure and events write units; dryrun talks to somebody who has just typed a command, and
# whose usage it explains.
_SILENT = ("render", "dropins", "direct", "failure", "events", "dryrun")


def collect(*packages: Path) -> "dict[str, str]":
    """Each sentence in the modules of `packages`, with BLANK for values, and the `file:line` that has it."""
    return {
        sentence: f"{path.name}:{line}"
        for package in packages
        for path in sorted(package.glob("*.py"))
        if path.stem not in _SILENT
        for sentence, line in _find(path)
    }


def _find(path: Path) -> "Iterator[tuple[str, int]]":
    tree = ast.parse(path.read_text())
    unsaid = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            unsaid.update(id(part) for part in node.values)
    for node in ast.walk(tree):
        if id(node) not in unsaid and isinstance(node, (ast.Constant, ast.JoinedStr)):
            text = _spell(node)
            # A comment is the beginning of a file that is written.
            if _is_sentence(text) and not text.startswith("# "):
                yield text, node.lineno


def _spell(node: "ast.Constant | ast.JoinedStr") -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(_spell(part) if isinstance(part, ast.Constant) else BLANK for part in node.values)


def _is_sentence(text: str) -> bool:
    """True for three words or more, or two with something put in between."""
    words = text.replace(BLANK, " ").split()
    count = sum(word.strip("\"',.:;()").replace("'", "").replace("-", "").isalpha() for word in words)
    return count >= 3 or (count == 2 and BLANK in text and " " in text)
