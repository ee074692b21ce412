# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every parser of bytes from a disk, a boot loader or a stranger's tree: what once failed, and some inputs by chance.

`make fuzz-parsers` goes on for as long as one likes.
"""

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from inputs import CORPUS, make_inputs, read_corpus
from parsers import PARSERS

from product import REPOSITORY

EVERY = [(name, file) for name in PARSERS for file in read_corpus(name)]


@pytest.mark.parametrize(("name", "file"), EVERY)
def test_what_is_kept(name: str, file: str) -> None:
    PARSERS[name].check(read_corpus(name)[file])


def test_every_parser_has_inputs_and_every_input_a_parser() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(PARSERS)
    assert all(read_corpus(name) for name in PARSERS)


@pytest.mark.parametrize("name", PARSERS)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_inputs_by_chance(name: str, data: st.DataObject) -> None:
    PARSERS[name].check(data.draw(make_inputs(PARSERS[name])))


def test_the_command_counts_and_tells() -> None:
    command = [sys.executable, "tests/fuzz/fuzz.py", "--with", "hypothesis", "--minutes", "0.01", "lines", "direct"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("inputs with hypothesis, 0 failed")
