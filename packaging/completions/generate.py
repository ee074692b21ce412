#!/usr/bin/python3
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the completions of overlayctl for bash, fish and zsh, beside this file, from the parsers of its verbs.

`make completions` calls it; a test compares. `make install` does not make them, as those who pack or cross-build need
not have a Python that can run overlayctl. The output of a library such as shtab would bring its own code, under
another licence, into this tree and every image.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "generator"))

from overlayctl import main  # noqa: E402

# What a value is, by the name that --help has for it. All others are files.
DIRECTORIES = {"DIR"}
FREE = {
    "CONTEXT",
    "COUNT",
    "DAYS",
    "GLOB",
    "KIND,...",
    "N",
    "NAME",
    "NUMBER",
    "SECONDS",
    "SIZE",
    "TEXT",
    "TIME",
    "WORDS",
}
FILE, DIRECTORY, NOTHING = "file", "directory", "nothing"


class Argument(NamedTuple):
    """What a parser takes: an option, or without `names` a positional argument."""

    names: "tuple[str, ...]"
    text: str
    # One of the three above, or the values that are possible; None for an option without a value.
    value: "str | tuple[str, ...] | None"
    repeated: bool
    excluded: "tuple[str, ...]"

    @property
    def long(self) -> "list[str]":
        """The names with two hyphens."""
        return [name for name in self.names if name.startswith("--")]


class Command(NamedTuple):
    """All verbs with what each takes by itself, what all of them take, and what can only come before a verb."""

    verbs: "dict[str, list[Argument]]"
    common: "list[Argument]"
    before: "list[Argument]"


def read_command() -> Command:
    """The command as its parsers have it. Raises overlayctl.errors.Failure."""
    verbs = {verb: list(_read(main.build_parser(verb))) for verb in main.VERBS}
    common = [argument for argument in next(iter(verbs.values())) if all(argument in of for of in verbs.values())]
    own = {verb: [argument for argument in arguments if argument not in common] for verb, arguments in verbs.items()}
    before = [argument for argument in _read(main.build_parser()) if argument.names and argument not in common]
    return Command(own, common, before)


def _read(parser: argparse.ArgumentParser) -> "Iterator[Argument]":
    formatter = parser._get_formatter()
    for action in parser._actions:
        if action.help == argparse.SUPPRESS:
            continue
        value: str | tuple[str, ...] | None = FILE
        if action.nargs == 0:
            value = None
        elif action.choices:
            value = tuple(map(str, action.choices))
        elif action.metavar in DIRECTORIES:
            value = DIRECTORY
        elif action.metavar in FREE:
            value = NOTHING
        excluded = [
            name
            for group in parser._mutually_exclusive_groups
            if action in group._group_actions
            for other in group._group_actions
            if other is not action
            for name in other.option_strings
        ]
        repeated = action.nargs in ("*", "+") or type(action).__name__ == "_AppendAction"
        text = formatter._expand_help(action) if action.help else ""
        yield Argument(tuple(action.option_strings), text, value, repeated, tuple(excluded))


def fill(template: str, **parts: "Iterable[str]") -> str:
    """`template` with the lines of a part in place of each line that is its name between two @, indented as that."""
    lines = []
    for line in template.lstrip("\n").splitlines():
        name = line.strip()
        if name.startswith("@") and name.endswith("@"):
            lines += [line.replace(name, text) for text in parts[name.strip("@")]]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


BASH = """
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# shellcheck shell=bash
# Completes overlayctl(1) in bash. Made by generate.py: change that, then `make completions`.

_overlayctl()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb='' number
    local words='' argument=''
    COMPREPLY=()

    for ((number = 1; number < COMP_CWORD; number++)); do
        case ${COMP_WORDS[number]} in
            @skipped@
            -*) ;;
            *)
                verb=${COMP_WORDS[number]}
                break
                ;;
        esac
    done

    # What follows an option with a value; bash splits --option=value at the equals sign.
    if [[ $before == '=' ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $word == '=' ]]; then
        before=${COMP_WORDS[COMP_CWORD - 1]} word=''
    fi
    case "$verb $before" in
        @values@
        *)
            case $verb in
                @words@
            esac
            [[ -n $verb && $word != -* ]] || argument=words
            ;;
    esac

    case $argument in
        directory)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            ;;
        file)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            ;;
        words) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word") ;;
    esac
}

complete -F _overlayctl overlayctl
"""


def write_bash(command: Command) -> str:
    """The script for bash."""
    always = " ".join(name for argument in command.common for name in argument.long)

    def values() -> "Iterator[str]":
        for argument in command.common:
            if argument.value:
                yield case((f"*' {name}'" for name in argument.names), argument.value)
        for verb, arguments in command.verbs.items():
            for value in dict.fromkeys(argument.value for argument in arguments if argument.names and argument.value):
                names = (name for argument in arguments if argument.value == value for name in argument.names)
                yield case((f"'{verb} {name}'" for name in names), value)

    def case(patterns: "Iterable[str]", value: "str | tuple[str, ...]") -> str:
        words = f"words='{' '.join(value)}' argument=words" if isinstance(value, tuple) else f"argument='{value}'"
        return f"{' | '.join(patterns)}) {words} ;;"

    def words() -> "Iterator[str]":
        first = [*command.verbs, *(name for argument in command.before for name in argument.long)]
        yield f"'') words='{' '.join(first)} {always}' ;;"
        for verb, arguments in command.verbs.items():
            names = [name for argument in arguments for name in argument.long]
            # Of several the last is the one that can come again.
            plain = [argument.value for argument in arguments if not argument.names][-1:]
            argument = f" argument='{plain[0]}'" if plain and isinstance(plain[0], str) else ""
            yield f"{verb}) words='{' '.join(names)} {always}'{argument} ;;"

    valued = [name for argument in command.common for name in argument.names if argument.value]
    sign = sorted({"=", *(word for argument in command.common if argument.value for word in argument.value)})
    return fill(
        BASH,
        skipped=[f"{' | '.join(valued)}) ((number++)) ;;", f"{' | '.join(sign)}) ;; # the value, where = splits words"],
        values=values(),
        words=words(),
    )


FISH = """
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# Completes overlayctl(1) in fish. Made by generate.py: change that, then `make completions`.

# The verb of the command line, if it has one yet.
function __overlayctl_verb
    set -l words (commandline -opc)
    set -l value no
    for word in $words[2..]
        if test $value = yes
            set value no
            continue
        end
        switch $word
            @skipped@
                set value yes
            case '-*'
            case '*'
                echo $word
                return 0
        end
    end
    return 1
end

function __overlayctl_is
    set -l verb (__overlayctl_verb)
    and test $verb = $argv[1]
end

complete -c overlayctl -f
@options@
"""


def write_fish(command: Command) -> str:
    """The script for fish."""
    no_verb = "-n 'not __overlayctl_verb'"

    def line(condition: str, argument: Argument) -> str:
        words = ["complete -c overlayctl", condition]
        words += [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in argument.names]
        if isinstance(argument.value, tuple):
            words.append(f"-x -a '{' '.join(argument.value)}'")
        elif argument.value and not argument.names:
            words.append({FILE: "-F", DIRECTORY: "-a '(__fish_complete_directories)'", NOTHING: ""}[argument.value])
        elif argument.value:
            words.append(
                {FILE: "-r -F", DIRECTORY: "-x -a '(__fish_complete_directories)'", NOTHING: "-x"}[argument.value]
            )
        if argument.names:
            words.append(f"-d {quote(argument.text)}")
        return " ".join(word for word in words if word)

    def quote(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def options() -> "Iterator[str]":
        for argument in command.common:
            yield line("", argument)
        for argument in command.before:
            yield line(no_verb, argument)
        for verb in command.verbs:
            yield f"complete -c overlayctl {no_verb} -a {verb} -d {quote(main.VERBS[verb])}"
        for verb, arguments in command.verbs.items():
            yield ""
            yield from dict.fromkeys(line(f"-n '__overlayctl_is {verb}'", argument) for argument in arguments)

    valued = [name for argument in command.common for name in argument.names if argument.value]
    return fill(FISH, skipped=[f"case {' '.join(valued)}"], options=options())


ZSH = """
#compdef overlayctl
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# Completes overlayctl(1) in zsh. Made by generate.py: change that, then `make completions`.

_overlayctl() {
    local curcontext=$curcontext state line
    local -a common verbs
    local -A opt_args
    common=(
        @common@
    )
    _arguments -C -A '-*' $common \\
        @before@
        '1: :->verb' \\
        '*:: :->arguments' && return

    if [[ $state == verb ]]; then
        verbs=(
            @verbs@
        )
        _describe -t verbs verb verbs
        return
    fi
    curcontext=${curcontext%:*}-$words[1]:
    case $words[1] in
        @arguments@
    esac
}

_overlayctl "$@"
"""


def write_zsh(command: Command) -> str:
    """The script for zsh."""

    def specify(argument: Argument) -> str:
        """The words for _arguments."""
        value = value_of(argument.value)
        if not argument.names:
            return quote(f"{'*' if argument.repeated else ''}:{escape(argument.text, ':')}{value}")
        excluded = ("-", "*") if "--help" in argument.names or "--version" in argument.names else argument.excluded
        others = [*excluded, *(() if argument.repeated or "-" in excluded else argument.names)]
        start = "*" if argument.repeated else f"({' '.join(others)})" if len(others) > 1 else ""
        end = f"[{escape(argument.text, '[]')}]" + (f":{'value'}{value}" if argument.value else "")
        # The same for both names: {-z,--null} outside of the quotes.
        names = [f"{name}=" if argument.value and name.startswith("--") else name for name in argument.names]
        if len(names) == 1:
            return quote(f"{start}{names[0]}{end}")
        return f"{quote(start)}{{{','.join(names)}}}{quote(end)}"

    def value_of(value: "str | tuple[str, ...] | None") -> str:
        if isinstance(value, tuple):
            return f":({' '.join(value)})"
        return {FILE: ":_files", DIRECTORY: ":_files -/", NOTHING: ": "}.get(value or "", "")

    def escape(text: str, signs: str) -> str:
        return "".join(f"\\{letter}" if letter in signs or letter == "\\" else letter for letter in text)

    def quote(text: str) -> str:
        return "'" + text.replace("'", "'\\''") + "'" if text else ""

    def arguments() -> "Iterator[str]":
        for verb, taken in command.verbs.items():
            yield f"{verb})"
            yield "    _arguments -s $common" + (" \\" if taken else "")
            for argument in taken:
                yield f"        {specify(argument)}" + (" \\" if argument is not taken[-1] else "")
            yield "    ;;"

    return fill(
        ZSH,
        common=[specify(argument) for argument in command.common],
        before=[f"{specify(argument)} \\" for argument in command.before],
        verbs=[quote(f"{verb}:{main.VERBS[verb]}") for verb in command.verbs],
        arguments=arguments(),
    )


def generate() -> "dict[str, str]":
    """The text of each file, by its name: that which the shell looks for. Raises overlayctl.errors.Failure."""
    command = read_command()
    return {
        "overlayctl": write_bash(command),
        "overlayctl.fish": write_fish(command),
        "_overlayctl": write_zsh(command),
    }


if __name__ == "__main__":
    for name, text in generate().items():
        (HERE / name).write_text(text)
