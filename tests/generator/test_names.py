# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names made from paths: against tables, against systemd-escape, and no two paths with one name."""

import os
import re
import shutil
import subprocess

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from overlay_generator.names import (
    ancestors,
    backing_name,
    backing_path,
    escape_line,
    escape_path,
    fallback_unit,
    find_fault,
    is_below,
    mangle_unit,
    mount_unit,
    normalise,
    parent_of,
    prepare_unit,
    unescape_line,
    unflatten,
    unit_names,
)

# What people put into paths to break things, more often than chance would.
ODD = st.sampled_from(
    [" ", "%", '"', "'", "\\", ".", "..", "-", "_", "$", "\\x2d", "_2d", "é", "\u00a0", "中", ":", ","]
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=8)
COMPONENT = st.lists(ODD | TEXT, min_size=1, max_size=3).map("".join).filter(lambda name: name not in ("", ".", ".."))
PATH = st.lists(COMPONENT, min_size=1, max_size=4).map(lambda names: "/" + "/".join(names))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var", "/var"),
        ("/var/", "/var"),
        ("//var//lib//", "/var/lib"),
        ("/./var/./lib/.", "/var/lib"),
        ("/", "/"),
        ("///", "/"),
        ("/.", "/"),
        ("/var/.hidden", "/var/.hidden"),
        ("/var/lib.", "/var/lib."),
        ("/var/../etc", "/var/../etc"),
        ("/var/..", "/var/.."),
        ("/...", "/..."),
        ("/a b/", "/a b"),
        ("none", "none"),
        ("a//b/", "a/b"),
    ],
)
def test_normalise(path: str, expected: str) -> None:
    assert normalise(path) == expected


@given(st.text("/.a", min_size=1, max_size=12).map("/".__add__))
def test_normalise_does_what_the_standard_library_does_to_paths_without_dot_dot(path: str) -> None:
    assume(".." not in path.split("/"))
    assert normalise(path) == os.path.normpath("/" + path.lstrip("/"))
    assert normalise(normalise(path)) == normalise(path)


@pytest.mark.parametrize(
    ("path", "top", "expected"),
    [
        ("/var/lib", "/var", True),
        ("/var/lib/x", "/var", True),
        ("/var", "/var", False),
        ("/var", "/var/lib", False),
        ("/variable", "/var", False),
        ("/var", "/", True),
        ("/", "/", False),
    ],
)
def test_is_below(path: str, top: str, expected: bool) -> None:
    assert is_below(path, top) is expected


@pytest.mark.parametrize(
    ("path", "above", "parent"),
    [
        ("/", [], "/"),
        ("/var", [], "/"),
        ("/var/lib", ["/var"], "/var"),
        ("/a/b/c d", ["/a/b", "/a"], "/a/b"),
    ],
)
def test_ancestors_come_nearest_first_and_without_the_root(path: str, above: "list[str]", parent: str) -> None:
    assert ancestors(path) == above
    assert parent_of(path) == parent


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "-"),
        ("/var", "var"),
        ("/var/lib", "var-lib"),
        ("/run/buildroot/mounts/var", "run-buildroot-mounts-var"),
        ("/run/buildroot-mounts", r"run-buildroot\x2dmounts"),
        ("/.x/.y", r"\x2ex-.y"),
        ("/var/é", r"var-\xc3\xa9"),
        ("/a b/c:d_e.f", r"a\x20b-c:d_e.f"),
        (r"/a\b", r"a\x5cb"),
        ("/100%", r"100\x25"),
        ("/a~@b", r"a\x7e\x40b"),
        ("/\udcff", r"\xff"),
    ],
)
def test_escape_path(path: str, expected: str) -> None:
    assert escape_path(path) == expected
    assert mount_unit(path) == expected + ".mount"


@settings(max_examples=20, deadline=None)
@given(st.lists(PATH, min_size=20, max_size=80))
def test_escape_path_agrees_with_systemd_escape(paths: "list[str]") -> None:
    tool = shutil.which("systemd-escape")
    if not tool:
        pytest.skip("systemd-escape is not installed")
    result = subprocess.run([tool, "--path", "--", *paths], capture_output=True, check=True, encoding="utf-8")
    assert result.stdout.removesuffix("\n").split(" ") == [escape_path(path) for path in paths]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var", "var"),
        ("/var/lib", "var-lib"),
        ("/var-lib", "var_2dlib"),
        ("/var_lib", "var__lib"),
        ("/a:b,c", "a_3ab_2cc"),
        ("/my data", "my_20data"),
        (r"/a\"b%", "a_5c_22b_25"),
        ("/é", "_c3_a9"),
        ("/.a.b", ".a.b"),
    ],
)
def test_backing_name(path: str, expected: str) -> None:
    assert backing_name(path) == expected
    assert backing_path(path) == "/run/buildroot/mounts/" + expected
    assert prepare_unit(path) == f"prepare-{expected}-overlay.service"


@settings(max_examples=500)
@given(PATH)
def test_a_backing_name_has_only_characters_that_no_layer_gives_a_meaning(path: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", backing_name(path))


@settings(max_examples=300)
@given(PATH)
def test_unit_names_have_only_characters_that_systemd_allows_in_them(path: str) -> None:
    for name in (*unit_names(path), fallback_unit(path)):
        assert re.fullmatch(r"[A-Za-z0-9:_.\\-]+\.(mount|service)", name)


@settings(max_examples=500)
@given(PATH, PATH)
def test_two_paths_never_share_a_backing_name(one: str, other: str) -> None:
    assert (backing_name(one) == backing_name(other)) == (one == other)


# Short paths of few characters collide by chance where the escape has a hole.
CLOSE = st.text("a/-_2df\\x.", min_size=1, max_size=8).map(lambda text: normalise("/" + text))


@settings(max_examples=2000)
@given(CLOSE, CLOSE)
def test_two_paths_that_are_close_never_share_a_name(one: str, other: str) -> None:
    assume(one != other and "/" not in (one, other))
    assert backing_name(one) != backing_name(other)
    assert escape_path(one) != escape_path(other)
    assert prepare_unit(one) != prepare_unit(other)


@pytest.mark.parametrize(("name", "unit"), [
    ("a", "a.mount"), ("a.b", "a.b.mount"), ("a.service", "a.service"), ("/a/b/", "a-b.mount"),
    ("//dev/./sda", "dev-sda.device"), ("/sys/a", "sys-a.device"), ("/device", "device.mount"), ("/dev", "dev.mount"),
])  # fmt: skip
def test_the_unit_that_somebody_means(name: str, unit: str) -> None:
    assert mangle_unit(name, ".mount") == unit


def test_fallback_unit_is_named_after_the_mount_point() -> None:
    assert fallback_unit("/run/buildroot/mounts/var") == "fallback-run-buildroot-mounts-var.service"


def test_unit_names_are_mount_prepare_and_backing() -> None:
    assert unit_names("/srv/a-b") == (
        r"srv-a\x2db.mount",
        "prepare-srv-a_2db-overlay.service",
        "run-buildroot-mounts-srv\\x2da_2db.mount",
    )


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/var", ""),
        ("/", ""),
        ("/a..b/...", ""),
        (r"/a\b", ""),
        ("/ a", ""),
        ("/a /b", ""),
        ("/中", ""),
        ("/var/../etc", '".."'),
        ("/..", '".."'),
        ("/a\nb", "control character"),
        ("/a\tb", "control character"),
        ("/a\x7fb", "control character"),
        ("/a\udcffb", "not UTF-8"),
        ("/a ", "blank or a backslash"),
        ("/a\\", "blank or a backslash"),
        ("/a\\ ", "blank or a backslash"),
        ("/" + "a" * 255, "too long"),
        ("/" + "é" * 40, "too long"),
    ],
)
def test_find_fault(path: str, fault: str) -> None:
    assert (fault in find_fault(path)) if fault else find_fault(path) == ""


@pytest.mark.parametrize("character", ["a", "-", "é", "_", "%"])
def test_the_longest_path_accepted_makes_unit_names_that_the_kernel_takes_as_file_names(character: str) -> None:
    length = max(n for n in range(1, 256) if not find_fault("/" + character * n))
    path = "/" + character * length
    names = (*unit_names(path), fallback_unit(backing_path(path)), fallback_unit(path))
    assert max(len(name.encode()) for name in names[:4]) <= 255
    assert find_fault(path + character)


@settings(max_examples=300)
@given(PATH)
def test_find_fault_accepts_no_path_whose_name_is_too_long_and_refuses_no_short_one(path: str) -> None:
    longest = max(map(len, (*unit_names(path), fallback_unit(backing_path(path)))))
    assert ("too long" in find_fault(path)) <= (longest > 255)
    assert find_fault(path) or longest <= 255


@given(PATH)
def test_a_backing_name_leads_back_to_its_path(path: str) -> None:
    assert unflatten(backing_name(path)) == path


@pytest.mark.parametrize("name", ["a_zz", "a_f", "a_"])
def test_a_name_that_no_path_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError):
        unflatten(name)


@given(st.text())
def test_a_path_is_one_line_of_a_file_and_comes_back(path: str) -> None:
    line = escape_line(path)
    assert "\n" not in line
    assert unescape_line(line) == path


@pytest.mark.parametrize(("path", "line"), [
    ("/var/lib", "/var/lib"), ("a\nb", "a\\nb"), ("a\\nb", "a\\\\nb"), ("\\\n", "\\\\\\n"), ("\udcff", "\udcff"),
])  # fmt: skip
def test_the_line_of_a_path(path: str, line: str) -> None:
    assert escape_line(path) == line
    assert unescape_line(line) == path
