# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The trees of other architectures have each module that the tests import: a new one would end their collection."""

import ast
import sys
from pathlib import Path

from product import REPOSITORY

OURS = {path.stem for top in ("tests", "generator", "packaging") for path in (REPOSITORY / top).rglob("*.py")}
OURS |= {path.name for top in ("tests", "generator") for path in (REPOSITORY / top).rglob("*") if path.is_dir()}


def read_lists() -> "dict[str, tuple[str, ...]]":
    """The tuples of text that check.py has."""
    found = {}
    for node in ast.parse((REPOSITORY / "tests/foreign/check.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def find_imported(path: Path) -> "set[str]":
    """The first words of all that the module `path` imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_all_that_is_imported_is_in_the_trees() -> None:
    lists = read_lists()
    left_out = [REPOSITORY / path for path in lists["NOT_RUN"]]
    paths = [path for path in (REPOSITORY / "tests").rglob("*.py") if not {path, *path.parents} & set(left_out)]
    assert len(paths) > 200
    imported = set().union(*map(find_imported, paths)) - OURS - set(sys.stdlib_module_names)
    there = {name.removeprefix("python3-").replace("-", "_") for name in (*lists["PACKAGES"], *lists["PLAIN"])}
    assert imported <= there, "add it to PACKAGES or PLAIN of tests/foreign/check.py"
    assert {"jsonschema", "pytest"} <= imported
