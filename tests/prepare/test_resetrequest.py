# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests to reset something: their text, and what their globs match."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_prepare.resetrequest import Staged, is_kept, may_hold_kept, parse, spell


def values(staged: Staged) -> "tuple[bool, tuple[str, ...], tuple[str, ...]]":
    return staged.whole, staged.paths, staged.keep


@pytest.mark.parametrize(("text", "expected"), [
    ("", (False, (), ())),
    ("all\n", (True, (), ())),
    ("all", (True, (), ())),
    ("path /var/lib/app\n", (False, ("/var/lib/app",), ())),
    ("path /var/a b\nkeep /var/a b/*\npath /var/c\n", (False, ("/var/a b", "/var/c"), ("/var/a b/*",))),
    ("all\nkeep /var/lib/keys\n\n", (True, (), ("/var/lib/keys",))),
    ("path /var/a\\nb\\\\n\n", (False, ("/var/a\nb\\n",), ())),
    ("path /var/\udcff\n", (False, ("/var/\udcff",), ())),
])  # fmt: skip
def test_a_request_is_read(text: str, expected: object) -> None:
    assert values(parse(text)) == expected


def test_who_asks_for_nothing_resets_nothing() -> None:
    assert spell(Staged()) == ""
    assert spell(Staged(paths=("/var/a",))) == "path /var/a\n"


@pytest.mark.parametrize("line", [
    "al", "ALL", "all ", "all /var", "path", "path ", "path var", "path  /var/a", "keep", "keep *.key", "drop /var/a",
    "\0\0\0\0", "path /var/../etc", "path /var/./a", "path /var//a", "path /var/a\0b", "keep /var/../etc",
    "path /../etc", "path //var", "keep /.",
])  # fmt: skip
def test_with_one_line_that_is_not_understood_nothing_is_asked_for(line: str) -> None:
    """A file of zeros, as a power cut may leave it, is such a line too, and so is a path that leads elsewhere."""
    with pytest.raises(ValueError, match=r"^\"|NUL|component|path"):
        parse(f"all\n{line}\npath /var/b\n")


PATHS = st.lists(st.text(st.characters(blacklist_characters="/\0"), min_size=1, max_size=8), min_size=1, max_size=4)


@given(st.booleans(), st.lists(PATHS, max_size=3), st.lists(PATHS, max_size=3))
def test_any_path_comes_back(whole: bool, paths: "list[list[str]]", keep: "list[list[str]]") -> None:
    def join(many: "list[list[str]]") -> "tuple[str, ...]":
        return tuple("/" + "/".join(parts) for parts in many if not {".", ".."} & set(parts))

    staged = Staged(whole, join(paths), join(keep))
    assert values(parse(spell(staged))) == values(staged)


# A path, a glob, whether the path is kept, whether something below it could be.
GLOBS = [
    ("/var/lib", "/var/lib", True, False),
    ("/var/lib", "/var/lib/", True, False),
    ("/var/lib/a/b", "/var/lib", True, False),
    ("/var/lib", "/var/lib/*", False, True),
    ("/var/lib/a", "/var/lib/*", True, False),
    ("/var/lib/a/b", "/var/lib/*", True, False),
    ("/var", "/var/lib/*", False, True),
    ("/var/cache", "/var/lib/*", False, False),
    ("/var/libx", "/var/lib", False, False),
    ("/var/lib/a.key", "/var/lib/*.key", True, False),
    ("/var/lib/a.KEY", "/var/lib/*.key", False, False),
    ("/var/lib/x/a.key", "/var/lib/*.key", False, False),
    ("/var/lib/x/a.key", "/var/lib/**/*.key", True, True),
    ("/var/lib/a.key", "/var/lib/**/*.key", True, True),
    ("/var/lib/x/y/z/a.key", "/var/**/*.key", True, True),
    ("/var/lib/x", "/var/lib/**/*.key", False, True),
    ("/var/cache/x", "/var/lib/**/*.key", False, False),
    ("/var/lib", "/var/lib/**", False, True),
    ("/var/lib/a", "/var/lib/**", True, False),
    ("/var/lib/a/b", "/var/lib/**", True, False),
    ("/var/cache", "/var/lib/**", False, False),
    ("/var/lib/a", "/var/lib/**/**", True, False),
    ("/var/a/x.key", "/var/**/**/*.key", True, False),
    ("/var/x.key", "/var/**/**/*.key", True, False),
    ("/var", "/**", True, False),
    ("/var/a/b/c", "/**/b/**", True, False),
    ("/var/a", "/**/b/**", False, True),
    ("/var/lib/ab", "/var/lib/a?", True, False),
    ("/var/lib/ab", "/var/lib/[a-c]b", True, False),
    ("/var/lib/db", "/var/lib/[!a-c]b", True, False),
    ("/var/lib/*", "/var/lib/[*]", True, False),
    ("/var/lib/a\nb", "/var/lib/a*", True, False),
    ("/var/lib/.a", "/var/lib/*", True, False),
    ("/var/lib", "/", False, False),
]


@pytest.mark.parametrize(("path", "glob", "kept", "held"), GLOBS)
def test_globs(path: str, glob: str, kept: bool, held: bool) -> None:
    assert is_kept(path, (glob,)) is kept
    # If all of it is kept, what is in it does not matter.
    assert kept or may_hold_kept(path, (glob,)) is held


def test_one_of_several_globs_is_enough() -> None:
    assert is_kept("/var/b", ("/var/a", "/var/b"))
    assert may_hold_kept("/var/b", ("/var/a/*", "/var/b/*"))
    assert not is_kept("/var/b", ())
    assert not may_hold_kept("/var/b", ())


@given(PATHS, PATHS)
def test_what_is_kept_is_looked_for(parts: "list[str]", glob: "list[str]") -> None:
    """A directory that holds a kept path is never mistaken for one that can't."""
    path, pattern = "/" + "/".join(parts), ("/" + "/".join(glob),)
    if is_kept(path, pattern):
        above = ["/" + "/".join(parts[:end]) for end in range(1, len(parts))]
        assert all(is_kept(directory, pattern) or may_hold_kept(directory, pattern) for directory in above)


def test_what_is_to_be_kept_is_bounded() -> None:
    """Each glob is matched against each name of the upper layer, and anybody may have written the disk."""
    most = "".join(f"keep /var/{number}\n" for number in range(100))
    assert len(parse(most).keep) == 100
    with pytest.raises(ValueError, match="more than 100 globs"):
        parse(most + "keep /var/one/more\n")
    for glob in ("/**/*" * 251, "/*" * 501):
        with pytest.raises(ValueError, match="more than 1000 components"):
            parse(f"keep {glob}\nkeep {glob}\n")


def test_the_paths_of_a_request_are_bounded() -> None:
    most = "".join(f"path /var/{number}\n" for number in range(10_000))
    assert len(parse(most).paths) == 10_000
    with pytest.raises(ValueError, match="more than 10000 paths"):
        parse(most + "path /var/one/more\n")
    assert parse("path /" + "a" * 4094).paths
    for line in ("path /" + "a" * 4095, "keep /" + "\u00e4" * 4095):
        with pytest.raises(ValueError, match="more than 4095 characters"):
            parse(line)


def test_a_path_that_is_too_long_is_named_by_its_beginning() -> None:
    assert parse("path /" + "x" * 4094).paths == ("/" + "x" * 4094,)
    with pytest.raises(ValueError, match=f"^/{'x' * 59} has more than 4095 characters, and can be no path$"):
        parse("path /" + "x" * 4095)
