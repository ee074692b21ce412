# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The static checks. A tool that is missing is skipped aloud on a developer's machine, and an error in CI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from product import REPOSITORY

SHELL = sorted(
    path
    for path in REPOSITORY.rglob("*")
    if path.is_file()
    and "cases" not in str(path.relative_to(REPOSITORY))
    and ".git" not in path.parts
    and path.read_bytes()[:10] in (b"#!/bin/sh\n", b"#!/bin/bas", b"#!/usr/bin")
    and path.read_bytes().split(b"\n", 1)[0].rsplit(b"/", 1)[-1].rpartition(b" ")[2] in (b"sh", b"bash")
)


# REUSE-IgnoreStart
LICENCE = """\
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
# REUSE-IgnoreEnd


def _check(*command: str, words: "tuple[str | Path, ...]" = (), hint: str = "") -> str:
    tool = Path(sys.executable).with_name(command[0])
    found = str(tool) if tool.exists() else shutil.which(command[0])
    if not found:
        assert not os.environ.get("CI"), f"{command[0]} is not installed"
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        [found, *command[1:], *map(str, words)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{hint}"
    return done.stderr


def test_reuse() -> None:
    """Of the checkout: elsewhere nobody says which files are ours."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("no git checkout")
    where = "as comments at the top, below #!, or at the end of Markdown"
    _check("reuse", "lint", "--lines", hint=f"Each file needs these {where}:\n{LICENCE}")


def test_the_licence_is_there_for_people_and_for_reuse() -> None:
    assert (REPOSITORY / "LICENSE").read_bytes() == (REPOSITORY / "LICENSES/LGPL-2.1-or-later.txt").read_bytes()


def test_codespell() -> None:
    """Words that are intended are listed in setup.cfg."""
    _check("codespell")


def test_ruff() -> None:
    _check("ruff", "check", ".")


def test_ruff_format() -> None:
    _check("ruff", "format", "--check", ".")


def test_mypy() -> None:
    _check("mypy", "generator", "tests", "packaging/completions", "packaging/sbom.py")


def test_shellcheck() -> None:
    assert SHELL
    _check("shellcheck", words=(*SHELL, REPOSITORY / "packaging/completions/overlayctl"))


@pytest.mark.parametrize("page", sorted((REPOSITORY / "packaging/man").iterdir()), ids=lambda path: path.name)
def test_man(page: Path) -> None:
    assert _check("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", words=(page,)) == ""


def test_no_file_is_long() -> None:
    """Someone new reads a file at a time; nobody reads the two lines of its licence."""
    lines = {
        str(path.relative_to(REPOSITORY)): len(path.read_text().replace(LICENCE, "", 1).splitlines())
        for folder in ("generator", "tests", "lib")
        for path in (REPOSITORY / folder).rglob("*.py")
    }
    assert {name: count for name, count in lines.items() if count > 400} == {}
