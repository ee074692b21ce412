# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The bash completion knows every verb and option that the command has, and no other."""

import subprocess
from pathlib import Path

import pytest

from overlayctl import main
from product import REPOSITORY

SCRIPT = REPOSITORY / "packaging/completions/overlayctl"


def complete(*words: str, directory: "Path | None" = None) -> "set[str]":
    """What bash offers for the last of `words`, the command's name left out."""
    # Without readline there is no compopt.
    program = f"""
    compopt() {{ :; }}
    source {SCRIPT}
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _overlayctl
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    command = ["bash", "--norc", "-euc", program, "bash", "overlayctl", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def options_of(verb: str) -> "dict[str, bool]":
    """The long options of `verb`, and whether they take a value."""
    return {
        name: action.nargs != 0
        for action in main.build_parser(verb)._actions
        for name in action.option_strings
        if name.startswith("--")
    }


def test_all_verbs() -> None:
    assert complete("") == {*main.VERBS, "--color", "--no-pager", "--help", "--version"}
    assert complete("st") == {"status"}
    assert complete("--color", "always", "re") == {"restore", "reset", "render"}
    assert complete("--no-pager", "sa") == {"save"}


@pytest.mark.parametrize("verb", main.VERBS)
def test_all_options_of_a_verb(verb: str) -> None:
    assert complete(verb, "--") == set(options_of(verb))


@pytest.mark.parametrize("verb", main.VERBS)
def test_behind_an_option_with_a_value_comes_no_option(verb: str) -> None:
    for option, takes_value in options_of(verb).items():
        offered = complete(verb, option, "--")
        assert bool(offered) != takes_value, option


def test_values(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "text").write_text("")
    assert complete("--color", "") == {"auto", "always", "never"}
    assert complete("diff", "--color", "=", "al") == {"always"}
    assert complete("check", "--root", "t", directory=tmp_path) == {"tree"}
    assert complete("check", "--kernel", "t", directory=tmp_path) == {"tree", "text"}
    assert complete("restore", "t", directory=tmp_path) == {"tree", "text"}


def test_each_verb_has_the_same_help_in_the_list() -> None:
    """main.py has it twice so that --help loads no verb."""
    assert {verb: main.load(verb).HELP for verb in main.VERBS} == main.VERBS
    assert {verb: main.load(verb).VERB for verb in main.VERBS} == {verb: verb for verb in main.VERBS}


def test_the_manual_has_every_verb_and_option() -> None:
    page = (REPOSITORY / "packaging/man/overlayctl.1").read_text().replace("\\-", "-")
    for verb in main.VERBS:
        start = page.index(f".SS {verb}\n")
        section = page[start : page.index("\n.S", start + 4)]
        for option in set(options_of(verb)) - {"--help", "--color", "--no-pager"}:
            assert option in section, f"{verb} {option}"
        assert main.load(verb).EXAMPLES.startswith("examples:\n  overlayctl ")
