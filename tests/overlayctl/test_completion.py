# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The completions of each shell know every verb and option that the command has, and no other."""

import os
import pty
import runpy
import select
import time
from pathlib import Path

import pytest

from overlayctl import main
from product import REPOSITORY
from shells import COMPLETIONS, complete

SHELLS = ("bash", "fish", "zsh")


def options_of(verb: str) -> "dict[str, bool]":
    """The long options of `verb`, and whether they take a value."""
    return {
        name: action.nargs != 0
        for action in main.build_parser(verb)._actions
        for name in action.option_strings
        if name.startswith("--")
    }


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """One that has a file and a directory whose names begin with t."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "text").write_text("")
    return tmp_path


def test_they_are_those_of_the_parsers() -> None:
    generated = runpy.run_path(str(COMPLETIONS / "generate.py"))["generate"]()
    there = {path.name: path.read_text() for path in COMPLETIONS.iterdir() if path.is_file() and path.suffix != ".py"}
    assert there == generated, "a verb or an option has changed: run make completions"


@pytest.mark.parametrize("shell", SHELLS)
def test_all_verbs(shell: str, directory: Path) -> None:
    lines = ["overlayctl ", "overlayctl -", "overlayctl st", "overlayctl --color always re", "overlayctl --no-pager sa"]
    every, options, *some = complete(shell, lines, directory)
    assert {word for word in every | options if word[:1] != "-" or word[:2] == "--"} == {
        *main.VERBS, "--color", "--no-pager", "--help", "--version",
    }  # fmt: skip
    beginning = [{verb for verb in main.VERBS if verb.startswith(start)} for start in ("st", "re", "sa")]
    assert some == beginning


@pytest.mark.parametrize("shell", SHELLS)
def test_all_options_of_a_verb(shell: str, directory: Path) -> None:
    answers = complete(shell, [f"overlayctl {verb} --" for verb in main.VERBS], directory)
    assert dict(zip(main.VERBS, answers)) == {verb: set(options_of(verb)) for verb in main.VERBS}


@pytest.mark.parametrize("shell", SHELLS)
def test_behind_an_option_with_a_value_comes_no_option(shell: str, directory: Path) -> None:
    cases = [(verb, option, takes) for verb in main.VERBS for option, takes in options_of(verb).items()]
    # Behind --help there is nothing to say for zsh. fish offers options for whatever begins with a hyphen.
    cases = [case for case in cases if case[1] != "--help" or shell != "zsh"]
    start = "" if shell == "fish" else "--"
    answers = complete(shell, [f"overlayctl {verb} {option} {start}" for verb, option, _ in cases], directory)
    for (verb, option, takes), answer in zip(cases, answers):
        options = {word for word in answer if word.startswith("-")}
        assert bool(options) == (not takes and shell != "fish"), f"{verb} {option}: {answer}"


@pytest.mark.parametrize("shell", SHELLS)
def test_values(shell: str, directory: Path) -> None:
    wanted = {
        "overlayctl --color ": {"auto", "always", "never"},
        "overlayctl diff --color=al": {"always"},
        "overlayctl check --root t": {"tree"},
        "overlayctl check --kernel t": {"tree", "text"},
        "overlayctl restore t": {"tree", "text"},
        "overlayctl export t": {"tree", "text"},
        # What is said in one's own words, and a verb that takes nothing more.
        "overlayctl save --note t": set(),
        "overlayctl metrics t": set(),
    }
    assert dict(zip(wanted, complete(shell, list(wanted), directory))) == wanted


def test_a_person_types_in_bash(directory: Path) -> None:
    """Through readline, which tells what the functions that stand in for it above can't."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(directory)
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    typed = f"source {COMPLETIONS}/overlayctl; overlayctl() {{ printf '<%s>' \"$@\"; }}\n"
    os.write(terminal, f"{typed}overlayctl met\t--text\ttr\t\nexit\n".encode())
    seen, deadline = "", time.monotonic() + 20
    while time.monotonic() < deadline and select.select([terminal], [], [], 20)[0]:
        try:
            seen += os.read(terminal, 4096).decode()
        except OSError:  # the shell has gone
            break
    os.waitpid(child, 0)
    assert "<metrics><--textfile><tree/>" in seen


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
