# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The commands that a unit of ours runs, parsed as PID 1 and then a shell parse them."""

import re
import shlex

# Parts of a script that are not a command to be looked for.
_BOOST = "{ echo -20 >/proc/self/autogroup; } 2>/dev/null; "
_BETWEEN = re.compile("; | && ")
# What keeps PID 1 from starting it again once something has failed.
_FAILED = re.compile(r" \|\| { : >/run/systemd/generator/[^ ]+-overlay\.failed; exit 1; }$")
# What checks for another mount than planned, and leaves everything to prepare then.
_LOOK = re.compile(r"while read .* = tmpfs \] \|\| exec [^;]*; ")


def read_commands(text: str) -> "list[list[str]]":
    """The words of each command that the service `text` starts, whether PID 1 starts it or a shell does.

    A command whose exit status does not matter has "-" for its first word.
    """
    found = []
    for line in text.splitlines():
        if line.startswith("ExecStart="):
            found += _split(line.partition("=")[2])
    return found


def split_line(line: str) -> "list[str]":
    """The words of one line as PID 1 reads it: quotes, then specifiers and variables."""
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


def _split(line: str) -> "list[list[str]]":
    words = split_line(line)
    if words[0].startswith("-"):
        return [["-", words[0][1:], *words[1:]]]
    if words[:2] != ["/bin/sh", "-c"]:
        return [words]
    script, first, *rest = words[2:]
    assert script.startswith(_BOOST), script
    script = _FAILED.sub("", _LOOK.sub("", script[len(_BOOST) :]))
    steps, ends = _BETWEEN.split(script), [*_BETWEEN.findall(script), ""]
    found = []
    for step, end in zip(steps, ends):
        step_words: list[str] = []
        for word in shlex.split(step):
            step_words += [first] if word == "$0" else rest if word == "$@" else [word]
        found.append((["-"] if end == "; " else []) + step_words)
    if found[-1][0] == "exec":
        found[-1].pop(0)
    else:
        assert _FAILED.search(words[2]), words[2]
    return found
