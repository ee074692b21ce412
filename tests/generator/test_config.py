# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration files: their form by systemd.syntax(7), each key, and each sentence about what is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_generator.config import read_settings
from overlay_generator.model import Problem, Settings, Word

A, B = "/etc/overlay-generator.conf", "/run/overlay-generator.conf.d/b.conf"


def read(*texts: str) -> "dict[str, Settings]":
    """The settings of texts without a fault."""
    settings, problems = read_settings(list(zip((A, B), texts)))
    assert problems == []
    return settings


def words(text: str) -> "list[str]":
    return [word.text for word in read(text)["/var"].passthrough]


@pytest.mark.parametrize("text", [
    "[/var]\nPolicy=prune\n",
    "[/var]\nPolicy=prune",
    "[/var]\r\nPolicy=prune\r\n",
    "  [/var]  \n\t Policy \t=\t prune \t\n",
    "# [/home]\n; [/srv]\n\n[/var]\n# Policy=keep\n;Policy=keep\n  # Policy=keep\nPolicy=prune\n#\n;\n",
    "[/var/]\nPolicy=prune\n",
    "[//var/.]\nPolicy=prune\n",
    "[/var]\nPolicy=keep\nPolicy=prune\n",
    "[/var]\nPolicy=prune\n[/var]\n",
    "[/var]\nPolicy=\\\nprune\n",
    "[/var]\nPolicy=\\\n# a comment is no part of it\n\\\nprune\n",
    "\ufeff[/var]\nPolicy=prune\n",
])  # fmt: skip
def test_the_form_of_a_file(text: str) -> None:
    assert read(text) == {"/var": Settings(policy="prune")}


@pytest.mark.parametrize(("text", "expected"), [
    ("[/var]\nPassthrough=/var/a /var/b\n", ["/var/a", "/var/b"]),
    ("[/var]\nPassthrough=/var/a\nPassthrough=/var/b\n", ["/var/a", "/var/b"]),
    ("[/var]\nPassthrough=/var/a \\\n  /var/b \\\n# in between\n  /var/c\n", ["/var/a", "/var/b", "/var/c"]),
    ("[/var]\nPassthrough=/var/a \\\n\nPolicy=keep\n", ["/var/a"]),
    ("[/var]\nPassthrough=/var/a\\\n", ["/var/a"]),
    ("[/var]\nPassthrough=\"/var/a b\" '/var/c \"d\"'\n", ["/var/a b", '/var/c "d"']),
    ("[/var]\nPassthrough=/var/a//./b/\n", ["/var/a/b"]),
    ("[/var]\nPassthrough=/var/a\nPassthrough=\nPassthrough=/var/b\n", ["/var/b"]),
    ("[/var]\nPassthrough=/var/a\nPassthrough=\n", []),
    ("[/var]\nPassthrough=/var/%i /var/é\n", ["/var/%i", "/var/é"]),
    # An equals sign, a hash and a bracket have no meaning in the middle of a value.
    ("[/var]\nPassthrough=/var/a=b /var/c#d /var/[e]\n", ["/var/a=b", "/var/c#d", "/var/[e]"]),
])  # fmt: skip
def test_lists(text: str, expected: "list[str]") -> None:
    assert words(text) == expected


@pytest.mark.parametrize(("first", "second"), [
    # Only a backslash at the very end of the line that is not escaped joins lines.
    ("Passthrough=/var/a \\ ", "Policy=prune"),
    ("Passthrough=/var/a\\\\", "Policy=prune"),
])  # fmt: skip
def test_what_is_no_continuation(first: str, second: str) -> None:
    settings, _ = read_settings([(A, f"[/var]\n{first}\n{second}\n")])
    assert settings["/var"].policy == "prune"


@pytest.mark.parametrize(("key", "attribute", "value", "empty"), [
    ("Policy", "policy", "reset", "keep"),
    ("Size", "size", "64M", ""),
    ("Inodes", "inodes", "20k", ""),
    ("Flags", "flags", "noexec", ()),
])  # fmt: skip
def test_the_last_one_counts_and_an_empty_one_takes_back(key: str, attribute: str, value: str, empty: object) -> None:
    taken = (value,) if empty == () else value
    assert getattr(read(f"[/var]\n{key}={value}\n")["/var"], attribute) == taken
    assert getattr(read(f"[/var]\n{key}={value}\n{key}=\n")["/var"], attribute) == empty
    assert getattr(read(f"[/var]\n{key}={value}\n", f"[/var]\n{key}=\n")["/var"], attribute) == empty
    assert getattr(read(f"[/var]\n{key}=\n{key}={value}\n")["/var"], attribute) == taken


def test_a_drop_in_adds_to_the_lists_of_the_file() -> None:
    settings = read("[/var]\nFlags=nodev nosuid\nOptions=xino=off\n", "[/var]\nFlags=noexec,nodev\nOptions=index=off\n")
    assert settings["/var"].flags == ("nodev", "nosuid", "noexec")
    assert settings["/var"].options == (Word("xino=off", A, 3), Word("index=off", B, 3))


def test_each_section_is_a_directory_of_its_own_in_the_order_of_the_files() -> None:
    settings = read("[/var]\nSize=1M\n[/home]\nSize=2M\n", "[/srv]\n[/home]\nInodes=5\n")
    assert list(settings) == ["/var", "/home", "/srv"]
    assert [(one.size, one.inodes) for one in settings.values()] == [("1M", ""), ("2M", "5"), ("", "")]


@pytest.mark.parametrize("policy", ["keep", "refresh", "prune", "reset"])
def test_policies(policy: str) -> None:
    assert read(f"[/var]\nPolicy={policy}\n")["/var"].policy == policy


@pytest.mark.parametrize("size", ["1", "4096", "64K", "64k", "64M", "64m", "1G", "1g", "1%", "100%"])
def test_sizes(size: str) -> None:
    assert read(f"[/var]\nSize={size}\n")["/var"].size == size


@pytest.mark.parametrize("option", [
    "redirect_dir=off", "redirect_dir=nofollow", "index=off", "xino=auto", "metacopy=on", "nfs_export=on", "volatile",
])  # fmt: skip
def test_options(option: str) -> None:
    assert read(f"[/var]\nOptions={option}\n")["/var"].options == (Word(option, A, 2),)


# A line of a section, the message about it, and which of its settings count all the same.
WRONG = [
    ("Policy=Keep", "Policy=Keep: not one of keep, refresh, prune, reset; ignored"),
    ("policy=keep", "policy= is not known; ignored"),
    ("Polciy=keep", "Polciy= is not known; ignored"),
    ("Policy", '"Policy" is neither a section nor an assignment; ignored'),
    ("[/var", '"[/var" is neither a section nor an assignment; ignored'),
    ("=x", "= is not known; ignored"),
    *((f"Size={size}", f"Size={size}: not a number with K, M or G or %; ignored")
      for size in ("0", "-1", "1T", "M", "%", "101%", "1.5G", "64 M", "x", "٣", "1" * 5000)),
    *((f"Inodes={count}", f"Inodes={count}: not a number with K, M or G; ignored") for count in ("0", "5%", "x")),
    ("Flags=suid", "Flags=suid: not one of nosuid, nodev, noexec, noatime, nodiratime; ignored"),
    ("Options=lowerdir=/x", "Options=lowerdir=/x: not an option of overlayfs that can be set here; ignored"),
    ("Options=upperdir=/x", "Options=upperdir=/x: not an option of overlayfs that can be set here; ignored"),
    ("Options=index=maybe", "Options=index=maybe: not an option of overlayfs that can be set here; ignored"),
    ("Options=index", "Options=index: not an option of overlayfs that can be set here; ignored"),
    ("Options=volatile=on", "Options=volatile=on: not an option of overlayfs that can be set here; ignored"),
    ("Options=uuid=null", "Options=uuid=null: not an option of overlayfs that can be set here; ignored"),
    ("Options=userxattr", "Options=userxattr: not an option of overlayfs that can be set here; ignored"),
    ("Passthrough=/home/x", "Passthrough=/home/x: it is not below /var; ignored"),
    ("Passthrough=/var", "Passthrough=/var: it is not below /var; ignored"),
    ("Passthrough=lib/x", "Passthrough=lib/x: it is not below /var; ignored"),
    ("Passthrough=/var/../etc",
     'Passthrough=/var/../etc: the path has a ".." component; write it without; ignored'),
    ("Passthrough=/var/\udcff", "Passthrough=/var/\udcff: the path is not UTF-8, which unit files must be; ignored"),
    ("Passthrough=/var/\x01",
     "Passthrough=/var/\x01: the path has a control character, which no unit file can hold; ignored"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "text"), WRONG, ids=[line[:30] for line, _ in WRONG])
def test_what_is_wrong_is_told_with_its_place_and_the_good_beside_it_stays(line: str, text: str) -> None:
    good = "Size=1M\nInodes=5\nFlags=nodev\nOptions=xino=off\nPassthrough=/var/x\n"
    settings, problems = read_settings([(A, f"[/var]\n{good}{line}\n[/home]\nPolicy=reset\n")])
    assert problems == [Problem(text, A, 7)]
    assert str(problems[0]) == f"{A}:7: {text}"
    assert settings["/var"] == read(f"[/var]\n{good}")["/var"]
    assert settings["/home"].policy == "reset"


@pytest.mark.parametrize(("line", "texts", "left"), [
    ("Flags=nodev suid,noexec", ["Flags=suid:"], ("nodev", "noexec")),
    ("Options=xino=off bad index=off", ["Options=bad:"], ("xino=off", "index=off")),
    ("Passthrough=/a /var/b /var/../c", ["Passthrough=/a:", "Passthrough=/var/../c:"], ("/var/b",)),
])  # fmt: skip
def test_the_good_words_of_a_line_stay(line: str, texts: "list[str]", left: "tuple[str, ...]") -> None:
    settings, problems = read_settings([(A, f"[/var]\n{line}\n")])
    assert [problem.text.partition(" ")[0] for problem in problems] == texts
    found = getattr(settings["/var"], line.partition("=")[0].lower())
    assert tuple(getattr(word, "text", word) for word in found) == left


@pytest.mark.parametrize(("name", "fault"), [
    ("Overlay", "a section is named by the absolute path of a directory"),
    ("", "a section is named by the absolute path of a directory"),
    ("var", "a section is named by the absolute path of a directory"),
    ("/var/../etc", 'the path has a ".." component; write it without'),
    ("/" + "x" * 256, "the path is too long"),
    ("/var\udcff", "the path is not UTF-8"),
    ("/v\0r", "the path has a control character"),
])  # fmt: skip
def test_a_section_that_is_none_takes_its_lines_along(name: str, fault: str) -> None:
    settings, problems = read_settings([(A, f"[/home]\n[{name}]\nPolicy=prune\nNonsense=1\n[/var]\nPolicy=reset\n")])
    assert len(problems) == 1
    assert str(problems[0]).startswith(f"{A}:2: [{name}]: {fault}")
    assert str(problems[0]).endswith("; the section is ignored")
    assert settings == {"/home": Settings(), "/var": Settings(policy="reset")}


def test_an_assignment_before_any_section_is_told() -> None:
    settings, problems = read_settings([(A, "# nothing\nPolicy=prune\n[/var]\n")])
    assert settings == {"/var": Settings()}
    assert [(problem.source, problem.line) for problem in problems] == [(A, 2)]
    # A section ends with its file.
    settings, problems = read_settings([(A, "[/var]\n"), (B, "Policy=prune\n")])
    assert settings == {"/var": Settings()}
    assert [(problem.source, problem.line) for problem in problems] == [(B, 1)]


def test_a_joined_line_has_the_number_of_its_first() -> None:
    _, problems = read_settings([(A, "\n[/var]\nPassthrough=/var/a \\\n# x\n/home/b\nSize=x\n")])
    assert [problem.line for problem in problems] == [3, 6]


@given(st.text(st.sampled_from("[]/var=\\\n\r \t#;\"'PolicySize%0\udcff\0,"), max_size=60))
def test_any_text_is_read(text: str) -> None:
    for settings in read_settings([(A, text), (B, "[/var]\n" + text)])[0].values():
        assert settings.policy in ("keep", "refresh", "prune", "reset")


def test_what_is_told_and_what_is_required() -> None:
    assert read("[/var]\nNotify=notice\nRequire=persistent writable\n") == {
        "/var": Settings(notify="notice", require=("persistent", "writable"))
    }
    # An empty value resets what came before, and a misspelt one lets no boot pass that would not have passed without.
    assert read("[/var]\nNotify=notice\nNotify=\nRequire=persistent\nRequire=\n") == {"/var": Settings()}
    found, problems = read_settings([("conf", "[/var]\nRequire=persistent\nRequire=wirtable\nNotify=no\n")])
    assert found == {"/var": Settings(require=("persistent",))}
    assert [(problem.line, problem.text) for problem in problems] == [
        (3, "Require=wirtable: not one of writable, current-image, persistent; ignored"),
        (4, "Notify=no: not one of fail, notice; ignored"),
    ]
