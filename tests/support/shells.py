# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the shells offer for a line that is being typed: each one is run, with our completions and no others."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from product import REPOSITORY

COMPLETIONS = REPOSITORY / "packaging/completions"
ZSH = Path(__file__).with_name("complete.zsh")
# Without readline there is no compopt, and bash splits words at the equals sign.
BASH = """
compopt() { :; }
source "$1/overlayctl"
while IFS= read -r line; do
    read -ra COMP_WORDS <<< "${line//=/ = }"
    [[ $line != *[\\ =] ]] || COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _overlayctl
    printf '%s\\n' "${COMPREPLY[@]}" ---
done
"""
FISH = """
source $argv[1]/overlayctl.fish
while read -l line
    complete -C $line
    echo ---
end
"""


def complete(shell: str, lines: "Sequence[str]", directory: Path) -> "list[set[str]]":
    """What `shell` offers in `directory` behind each of `lines`, without the descriptions. Skips, and fails in CI,
    if the shell is not there."""
    if not shutil.which(shell):
        assert not os.environ.get("CI"), f"{shell} is not installed"
        pytest.skip(f"{shell} is not installed")
    commands = {
        "bash": ["bash", "--norc", "-euc", BASH, "bash"],
        "fish": ["fish", "--no-config", "-c", FISH],
        "zsh": ["zsh", "-f", str(ZSH)],
    }
    with tempfile.TemporaryDirectory() as home:
        environ = {"HOME": home, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "dumb"}
        done = subprocess.run(
            [*commands[shell], str(COMPLETIONS)],
            input="".join(f"{line}\n" for line in lines),
            env=environ, cwd=directory, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    *answers, rest = done.stdout.split("---\n")
    assert (len(answers), rest) == (len(lines), "")
    # fish puts the option before a value that is joined to it, and the type of a file after a tab.
    words = [[word.partition("\t")[0] for word in answer.splitlines()] for answer in answers]
    return [{_value(word, line) for word in found if word} for line, found in zip(lines, words)]


def _value(word: str, line: str) -> str:
    last = line.rpartition(" ")[2]
    start = last.partition("=")[0] + "="
    word = word[len(start) :] if "=" in last and word.startswith(start) else word
    return word.rstrip("/")
