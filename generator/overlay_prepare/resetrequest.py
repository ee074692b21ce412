# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an operator has asked to be reset at the next boot: a small text file in the backing directory. Pure.

One request a line: `all`, `path /var/lib/app`, `keep /var/lib/keys/*`; `\\n` and `\\\\` in a path stand for a line
break and a backslash. It is read before the overlay is mounted and deleted when all of it has been done.
"""

from overlay_generator.names import escape_line, unescape_line

NAME = "reset"
# Each path is looked up, each glob is matched against each name, and anybody may have written the disk.
MOST_PATHS = 10_000
MOST_KEPT = 100
MOST_PARTS = 1000  # components of all globs
LONGEST = 4095  # characters, see path_resolution(7)


class Staged:
    """`whole`: everything, or the absolute `paths` alone. What matches one of the globs `keep` stays in both."""

    def __init__(self, whole: bool = False, paths: "tuple[str, ...]" = (), keep: "tuple[str, ...]" = ()) -> None:
        self.whole = whole
        self.paths = paths
        self.keep = keep


def parse(text: str) -> Staged:
    """The request in `text`. Raises ValueError if a line of it is not understood, or it is endless: then nothing is
    to be reset.
    """
    whole = False
    paths: list[str] = []
    keep: list[str] = []
    for line in text.split("\n"):
        verb, _, value = line.partition(" ")
        if line == "all":
            whole = True
        elif verb in ("path", "keep") and _is_absolute(value):
            path = unescape_line(value).rstrip("/") or "/"
            if len(path) > LONGEST:
                raise ValueError(f"{path[:60]} has more than {LONGEST} characters, and can be no path")
            (paths if verb == "path" else keep).append(path)
        elif line:
            raise ValueError(f'"{line}" is not a request to reset something')
    if len(keep) > MOST_KEPT:
        raise ValueError(f"more than {MOST_KEPT} globs of what to keep")
    if sum(glob.count("/") for glob in keep) > MOST_PARTS:
        raise ValueError(f"more than {MOST_PARTS} components in the globs of what to keep")
    if len(paths) > MOST_PATHS:
        raise ValueError(f"more than {MOST_PATHS} paths; reset a directory above them")
    return Staged(whole, tuple(paths), tuple(keep))


def _is_absolute(value: str) -> bool:
    """True for an absolute path without empty components, `.` and `..`."""
    parts = value.rstrip("/").split("/")
    return value.startswith("/") and "\0" not in value and not {"", ".", ".."}.intersection(parts[1:])


def spell(staged: Staged) -> str:
    """The text that parse() reads as `staged`."""
    lines = ["all"] if staged.whole else []
    lines += [f"path {escape_line(path)}" for path in staged.paths]
    lines += [f"keep {escape_line(glob)}" for glob in staged.keep]
    return "".join(f"{line}\n" for line in lines)


def is_kept(path: str, globs: "tuple[str, ...]") -> bool:
    """True if the absolute `path`, or a directory above it, matches one of `globs`.

    Compared by components as the shell does: `*` stops at a slash, `**` is any number of directories.
    """
    return any(_follow(path, glob) is None for glob in globs)


def may_hold_kept(path: str, globs: "tuple[str, ...]") -> bool:
    """True if something below the directory `path` could match one of `globs`."""
    return any(_follow(path, glob) != set() for glob in globs)


def _follow(path: str, glob: str) -> "set[int] | None":
    """The places in `glob` that matching `path` may have got to: how many of its components are used up. None where it,
    or a directory above it, matches.
    """
    # All at once, without backtracking: anybody can make names for which that would take hours.
    from fnmatch import fnmatchcase

    pattern = glob.strip("/").split("/")
    places = _skip({0}, pattern)
    for part in path.strip("/").split("/"):
        after = set()
        for place in places:
            if pattern[place] == "**":
                after.add(place)
                if place == len(pattern) - 1:
                    after.add(len(pattern))
            elif fnmatchcase(part, pattern[place]):
                after.add(place + 1)
        if len(pattern) in after:
            return None
        places = _skip(after, pattern)
    return places


def _skip(places: "set[int]", pattern: "list[str]") -> "set[int]":
    """`places` and those after a `**`, which may also stand for no directory at all."""
    for place in sorted(places):
        while place < len(pattern) - 1 and pattern[place] == "**":
            place += 1
            places.add(place)
    return places
