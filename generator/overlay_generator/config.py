# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration files: a section for each directory, written as systemd.syntax(7) has it. Pure.

    [/var]
    Policy=keep
    Passthrough=/var/lib/docker /var/log/journal

Bad lines are reported and ignored; the good ones beside them count.
"""

from overlay_generator.cmdline import parse_boolean, split_words
from overlay_generator.model import Problem, Settings, Word
from overlay_generator.names import find_fault, is_below, normalise

POLICIES = ("keep", "refresh", "prune", "reset")
_NOTIFY = ("fail", "notice")
_COMMITS = ("good", "next-update", "manual")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
# The first two are the default: a dead data disk must not make a device go back and forth between its images.
REQUIRED = ("writable", "current-image", "persistent")
_FLAGS = ("nosuid", "nodev", "noexec", "noatime", "nodiratime")
# From the kernel's Documentation/filesystems/overlayfs.rst. Not uuid= and verity=: with an option that the kernel is
# too old for, there is no overlay at all. Not the layers, which are ours, nor userxattr: nothing here reads
# user.overlay.* attributes.
_OPTIONS = {
    "redirect_dir": ("on", "off", "follow", "nofollow"), "index": ("on", "off"), "xino": ("on", "off", "auto"),
    "metacopy": ("on", "off"), "nfs_export": ("on", "off"), "volatile": ("",),
}  # fmt: skip
_BLANKS = " \t\r"
_MOST_PROBLEMS = 50  # more than anybody reads on a console
_LONGEST_QUOTE = 1000  # characters


def read_settings(files: "list[tuple[str, str]]") -> "tuple[dict[str, Settings], list[Problem]]":
    """The settings of each directory that has a section in `files`, pairs of a path and a text in the order of
    reading, and what was wrong in them.
    """
    found: dict[str, Settings] = {}
    problems: list[Problem] = []
    for source, text in files:
        text = text[1:] if text.startswith("\ufeff") else text  # a byte order mark, as systemd skips it
        section: str | None = None
        for number, line in _join_lines(text):
            if line[:1] == "[" and line[-1:] == "]":
                section = _read_section(line[1:-1], source, number, problems)
                if section:
                    found.setdefault(section, Settings())
                continue
            key, equals, value = line.partition("=")
            if not equals:
                problems.append(
                    Problem(f'"{_shorten(line)}" is neither a section nor an assignment; ignored', source, number)
                )
            elif section is None:
                problems.append(
                    Problem(f"{_shorten(key.rstrip(_BLANKS))}= stands before any section; ignored", source, number)
                )
            elif section:
                wrong = _assign(
                    found[section], section, key.rstrip(_BLANKS), Word(value.lstrip(_BLANKS), source, number)
                )
                problems += [Problem(text, source, number) for text in wrong]
    if len(problems) > _MOST_PROBLEMS:
        more = len(problems) - _MOST_PROBLEMS
        last = problems[_MOST_PROBLEMS]
        problems = [*problems[:_MOST_PROBLEMS], Problem(f"and {more} more lines are wrong", last.source, last.line)]
    return found, problems


def _join_lines(text: str) -> "list[tuple[int, str]]":
    """The lines that say something, with their numbers; a backslash at the end of one joins the next to it."""
    lines: list[tuple[int, str]] = []
    open_line = ""
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        line = line.lstrip(_BLANKS)
        if line[:1] in ("#", ";") or not (line.rstrip(_BLANKS) or open_line):
            continue
        start = start if open_line else number
        # An odd number of backslashes at the end: two of them stand for one that is meant literally.
        if (len(line) - len(line.rstrip("\\"))) % 2:
            open_line += line[:-1] + " "
            continue
        lines.append((start, (open_line + line).rstrip(_BLANKS)))
        open_line = ""
    if open_line:
        lines.append((start, open_line.rstrip(_BLANKS)))
    return lines


def _read_section(name: str, source: str, line: int, problems: "list[Problem]") -> str:
    where = normalise(name)
    fault = "" if name.startswith("/") else "a section is named by the absolute path of a directory"
    fault = fault or find_fault(where)
    if fault:
        problems.append(Problem(f"[{_shorten(name)}]: {fault}; the section is ignored", source, line))
        return ""
    return where


def _assign(settings: Settings, where: str, key: str, word: Word) -> "list[str]":
    """Apply one assignment; what is wrong with it. An empty value resets what came before."""
    value = word.text
    if key == "Policy":
        if value and value not in POLICIES:
            return [f"Policy={value}: not one of {', '.join(POLICIES)}; ignored"]
        settings.policy = value or "keep"
    elif key == "Notify":
        if value and value not in _NOTIFY:
            return [f"Notify={value}: not one of {', '.join(_NOTIFY)}; ignored"]
        settings.notify = value or "fail"
    elif key in ("Rollback", "Commit"):
        return _assign_rollback(settings, key, value)
    elif key in ("Size", "Inodes"):
        if value and not _is_limit(value, percent=key == "Size"):
            return [f"{key}={value}: not a number with K, M or G{' or %' if key == 'Size' else ''}; ignored"]
        if key == "Size":
            settings.size = value
        else:
            settings.inodes = value
    elif key == "Require":
        words = split_words(value)
        good = tuple(dict.fromkeys(word for word in words if word in REQUIRED))
        # A misspelt word must not make every boot pass.
        settings.require = good or (settings.require if words else REQUIRED[:2])
        return [f"Require={word}: not one of {', '.join(REQUIRED)}; ignored" for word in words if word not in REQUIRED]
    elif key in ("Flags", "Options", "Passthrough"):
        return _extend(settings, where, key, word)
    else:
        return [f"{_shorten(key)}= is not known; ignored"]
    return []


def _assign_rollback(settings: Settings, key: str, value: str) -> "list[str]":
    if key == "Rollback":
        wanted = parse_boolean(value or "no")
        if wanted is None:
            return [f"Rollback={value}: neither yes nor no; ignored"]
        settings.rollback = "yes" if wanted else "no"
        return []
    commit = value or "good"
    if commit not in _COMMITS:
        number = commit.rstrip("abcdefghijklmnopqrstuvwxyz")
        unit = _SECONDS.get(commit[len(number) :], 0)
        if not (len(number) < 9 and number.isascii() and number.isdigit() and unit):
            words = ", ".join(_COMMITS)
            return [f"Commit={value}: not one of {words}, nor a time such as 12h or 7d; ignored"]
        commit = str(int(number) * unit)
    settings.commit = commit
    return []


def _extend(settings: Settings, where: str, key: str, word: Word) -> "list[str]":
    """Add the words of a list; what is wrong with some of them."""
    text = word.text if key == "Passthrough" else word.text.replace(",", " ")
    words = tuple(Word(part, word.source, word.line) for part in split_words(text))
    if key == "Flags":
        good = tuple(part.text for part in words if part.text in _FLAGS)
        settings.flags = tuple(dict.fromkeys((*settings.flags, *good))) if words else ()
        return [
            f"Flags={part.text}: not one of {', '.join(_FLAGS)}; ignored" for part in words if part.text not in _FLAGS
        ]
    if key == "Options":
        good_options = tuple(part for part in words if _is_option(part.text))
        settings.options = (*settings.options, *good_options) if words else ()
        return [f"Options={part.text}: not an option of overlayfs that can be set here; ignored" for part in words
                if not _is_option(part.text)]  # fmt: skip
    wrong = []
    paths: list[Word] = []
    for part in words:
        path = normalise(part.text)
        fault = find_fault(path) or ("" if is_below(path, where) else f"it is not below {where}")
        if fault:
            wrong.append(f"Passthrough={part.text}: {fault}; ignored")
        else:
            paths.append(Word(path, part.source, part.line))
    settings.passthrough = (*settings.passthrough, *paths) if words else ()
    return wrong


def _shorten(text: str) -> str:
    """`text` for a message: a file may have anything in it, and more of it than a console can show."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."


def _is_limit(value: str, percent: bool) -> bool:
    number, unit = (value[:-1], value[-1]) if value[-1] in "KMGkmg%" else (value, "")
    return (
        len(number) < 16
        and number.isascii()
        and number.isdigit()
        and int(number) > 0
        and (unit != "%" or (percent and int(number) <= 100))
    )


def _is_option(text: str) -> bool:
    key, _, value = text.partition("=")
    return value in _OPTIONS.get(key, ())
