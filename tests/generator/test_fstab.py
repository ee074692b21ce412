# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""fstab by the rules of getmntent(3), against tables and against libmount."""

import json
import shutil
import subprocess
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay_generator.fstab import can_be_upper, parse, unescape
from overlay_generator.model import FstabEntry, Problem
from overlay_generator.names import normalise


def entry(what: str, where: str, fstype: str = "ext4", options: str = "defaults", line: int = 1) -> FstabEntry:
    return FstabEntry(what, where, fstype, options, "/etc/fstab", line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n\n  \n\t\n", []),
        ("# a comment\n  # another\n\t#third /x ext4\n#/dev/sda1 /var ext4\n", []),
        ("/dev/sda1 /var ext4 defaults 0 2\n", [entry("/dev/sda1", "/var")]),
        ("/dev/sda1 /var ext4 defaults", [entry("/dev/sda1", "/var")]),
        ("\t/dev/sda1\t /var \t\text4\tdefaults\t0\t2", [entry("/dev/sda1", "/var")]),
        ("\n# x\n/dev/sda1 /var ext4 defaults 0 2\n", [entry("/dev/sda1", "/var", line=3)]),
        ("/dev/sda1 /var ext4", [entry("/dev/sda1", "/var", options="")]),
        ("/dev/sda1 /var", [entry("/dev/sda1", "/var", "", "")]),
        ("/dev/sda1 //var/./lib// ext4 defaults", [entry("/dev/sda1", "/var/lib")]),
        ("LABEL=a\\040b /my\\040data ext4 a\\040b", [entry("LABEL=a b", "/my data", options="a b")]),
        ("x /a\\011b\\134c ext4 defaults", [entry("x", "/a\tb\\c")]),
        ("x /a\\\\b ext4 defaults", [entry("x", "/a\\b")]),
        ("x /a\u00a0b ext4 defaults", [entry("x", "/a\u00a0b")]),
        ("x /a\u2003b ext4 de\x0bf\x0caults", [entry("x", "/a\u2003b", options="de\x0bf\x0caults")]),
        ("x /a\x85b\u2028c ext4 defaults", [entry("x", "/a\x85b\u2028c")]),
        ("x /\udcff ext4 defaults", [entry("x", "/\udcff")]),
        ("x /var ext4 nofail,#no-comment", [entry("x", "/var", options="nofail,#no-comment")]),
        (
            "/dev/sda1 none swap sw 0 0\n/dev/sda2 swap swap sw",
            [entry("/dev/sda1", "", "swap", "sw"), entry("/dev/sda2", "", "swap", "sw", 2)],
        ),
        ("/swap /swap swap sw", [entry("/swap", "", "swap", "sw")]),
        ("x run/x ext4", [entry("x", "/run/x", options="")]),
        ("x /var ext4\r", [entry("x", "/var", "ext4\r", "")]),
        ("x /var ext4\\012Options=x nofail", [entry("x", "/var", "ext4\nOptions=x", "nofail")]),
        ("x /misc autofs defaults", []),
        ("x none ext4 defaults", []),
        ("x / ext4 defaults", [entry("x", "/")]),
    ],
)
def test_parse(text: str, expected: "list[FstabEntry]") -> None:
    assert parse(text, "/etc/fstab") == (expected, [])


def test_both_lines_of_one_mount_point_are_entries_in_their_order() -> None:
    entries, problems = parse("a /var ext4 x\nb /var xfs y\n", "/etc/fstab")
    assert entries == [entry("a", "/var", options="x"), entry("b", "/var", "xfs", "y", 2)]
    assert problems == []


@pytest.mark.parametrize(
    ("text", "where", "options"),
    [
        ("x /var ext4 nofail\r\n", "/var", "nofail\r"),
        ("x /var ext4 nofail 0 2\r\n", "/var", "nofail"),
    ],
)
def test_a_carriage_return_belongs_to_its_field_as_it_does_for_mount(text: str, where: str, options: str) -> None:
    assert parse(text, "/etc/fstab") == ([entry("x", where, options=options)], [])


@pytest.mark.parametrize(
    ("text", "number", "problem", "line"),
    [
        ("garbage\n", 0, "not an fstab line; ignored", 1),
        ("\n\nx var ext4 defaults\n", 0, "not an fstab line; ignored", 3),
        ("x /var ext4\nhello world\nx /a\0b ext4\nlonely\n", 2, "not an fstab line, nor are 2 more; ignored", 2),
        ("\x7fELF\x01\x01\n\0\0\0\n", 0, "not an fstab line, nor are 1 more; ignored", 1),
    ],
)
def test_garbage_is_counted_in_one_problem(text: str, number: int, problem: str, line: int) -> None:
    entries, problems = parse(text, "/etc/fstab")
    assert len(entries) == number
    assert problems == [Problem(problem, "/etc/fstab", line)]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("/var", "/var"),
        ("a\\040b", "a b"),
        ("a\\011b", "a\tb"),
        ("a\\012b", "a\nb"),
        ("a\\134b", "a\\b"),
        ("a\\134040b", "a\\040b"),
        ("a\\043b", "a\\043b"),
        ("a\\", "a\\"),
        ("a\\04", "a\\04"),
        ("\\040\\040", "  "),
    ],
)
def test_unescape(field: str, expected: str) -> None:
    assert unescape(field) == expected


def escape(text: str) -> str:
    text = text.replace("\\", "\\134")
    return text.replace(" ", "\\040").replace("\t", "\\011").replace("\n", "\\012")


FIELD = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"], include_characters=" \t\\"),
    min_size=1,
    max_size=8,
)
# libmount reads sources with = as tags and strips quotes from them; it sorts options into classes.
SOURCE = FIELD.map("/dev/".__add__).filter(lambda text: "=" not in text)
WHERE = st.lists(FIELD, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
OPTIONS = st.lists(st.sampled_from(["defaults", "nofail", "x-systemd.automount", "size=10%"]), min_size=1, unique=True)
LINE = st.tuples(SOURCE, WHERE, st.sampled_from(["ext4", "xfs", "tmpfs", "btrfs"]), OPTIONS.map(",".join))
BLANK = st.sampled_from([" ", "\t", "   ", " \t "])


@settings(max_examples=60, deadline=None)
@given(st.lists(LINE, min_size=1, max_size=30), BLANK)
def test_parse_agrees_with_libmount(lines: "list[tuple[str, str, str, str]]", blank: str) -> None:
    tool = shutil.which("findmnt")
    if not tool:
        pytest.skip("findmnt is not installed")
    text = "".join(blank.join(map(escape, line)) + f"{blank}0{blank}2\n" for line in lines)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        command = [tool, "--fstab", "--tab-file", stream.name, "--json", "--list", "-o", "SOURCE,TARGET,FSTYPE,OPTIONS"]
        result = subprocess.run(command, capture_output=True, check=True)
    theirs = json.loads(result.stdout)["filesystems"]
    entries, problems = parse(text, "/etc/fstab")
    assert problems == []
    assert [(e.what, e.where, e.fstype, e.options) for e in entries] == [
        (their["source"], normalise(their["target"]), their["fstype"], their["options"]) for their in theirs
    ]


@settings(max_examples=300)
@given(st.text(st.characters(codec=None) | st.sampled_from("\0\n \t\\/#\udc80"), max_size=60))
def test_parse_takes_any_text(text: str) -> None:
    entries, problems = parse(text, "/etc/fstab")
    assert all(found.where.startswith("/") or found.fstype == "swap" for found in entries)
    assert len(problems) <= 1


@pytest.mark.parametrize(
    "fstype", ["ext4", "ext3", "xfs", "btrfs", "f2fs", "tmpfs", "ubifs", "bcachefs", "", "auto", "none"]
)
def test_what_may_work_as_an_upper_is_allowed(fstype: str) -> None:
    assert can_be_upper(fstype)


@pytest.mark.parametrize(
    "fstype", ["vfat", "exfat", "ntfs3", "iso9660", "squashfs", "erofs", "overlay", "nfs", "nfs4", "9p"]
)
def test_what_can_not_be_an_upper_is_refused(fstype: str) -> None:
    assert not can_be_upper(fstype)
