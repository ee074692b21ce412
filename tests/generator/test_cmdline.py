# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel command line by systemd's rules: words, booleans, and what is asked for."""

import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay_generator import boot
from overlay_generator.cmdline import parse_boolean, read_request, split_words
from overlay_generator.model import FstabEntry, Problem

SOURCE = "/proc/cmdline"
EXTRA = SOURCE + " (systemd.mount-extra=)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n", []),
        (" \t\r\n ", []),
        ("a b", ["a", "b"]),
        ("  a\tb\rc\nd  \n", ["a", "b", "c", "d"]),
        ("'a b'", ["a b"]),
        ('"a b"', ["a b"]),
        ("x='a b'", ["x=a b"]),
        ('x="a b"c d', ["x=a bc", "d"]),
        ('a" "b', ["a b"]),
        ('"key"=value', ["key=value"]),
        ("""'a "b" c'""", ['a "b" c']),
        ('''"it's"''', ["it's"]),
        ("'a''b'", ["ab"]),
        ('""', [""]),
        ("a '' b", ["a", "", "b"]),
        ("x=''", ["x="]),
        ("'a b", ["a b"]),
        ("'a b\n", ["a b"]),
        ('a "b c', ["a", "b c"]),
        ("a '", ["a", ""]),
        ("'a\tb'", ["a\tb"]),
        ("'a\nb' c", ["a\nb", "c"]),
        (r"a\ b", ["a\\", "b"]),
        (r"\'a b\'", [r"\a b" + "\\"]),
        (r"'a\'b' c", [r"a\b c"]),
        (r"a\\b", [r"a\\b"]),
        ("a\u00a0b\u2003c\x0bd", ["a\u00a0b\u2003c\x0bd"]),
        ("a\udcffb", ["a\udcffb"]),
        ("a -- b", ["a", "--", "b"]),
    ],
)
def test_split_words(text: str, expected: "list[str]") -> None:
    assert split_words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/sbin/init\0", ["/sbin/init"]),
        ("/sbin/init\0overlayfs.mounts=/a b\0x\0", ["/sbin/init", "overlayfs.mounts=/a b", "x"]),
        ("init\0it's\0a\"b\0", ["init", "it's", 'a"b']),
        ("init\0\0x\0", ["init", "x"]),
        ("init\0a\nb\0", ["init", "a\nb"]),
    ],
)
def test_in_a_container_each_argument_is_one_word(text: str, expected: "list[str]") -> None:
    assert split_words(text) == expected


ALPHABET = st.sampled_from(" \t\r\n\"'\\=ab.-_\0\udcff\u00a0é")


@given(st.text(ALPHABET, max_size=30) | st.text(st.characters(codec=None)))
def test_split_words_takes_any_text(text: str) -> None:
    words = split_words(text)
    assert len("".join(words)) <= len(text)


@given(
    st.lists(st.text("ab=.,/\\ \t'", min_size=1, max_size=8), max_size=6), st.sampled_from([" ", "\t", "\r\n", "  "])
)
def test_a_word_in_double_quotes_is_that_word(words: "list[str]", blank: str) -> None:
    assert split_words(blank.join(f'"{word}"' for word in words)) == words


@pytest.mark.parametrize("text", ["1", "yes", "y", "true", "t", "on", "YES", "Y", "True", "T", "oN"])
def test_true_is_spelt(text: str) -> None:
    assert parse_boolean(text) is True


@pytest.mark.parametrize("text", ["0", "no", "n", "false", "f", "off", "NO", "N", "False", "F", "oFF"])
def test_false_is_spelt(text: str) -> None:
    assert parse_boolean(text) is False


@pytest.mark.parametrize("text", ["", " ", "2", "00", "yes ", " no", "ja", "enable", "tru", "\u0131", "/var", "1\n"])
def test_all_else_is_no_boolean(text: str) -> None:
    assert parse_boolean(text) is None


@pytest.mark.parametrize(
    ("line", "mounts"),
    [
        ("", ()),
        ("quiet root=/dev/sda1 ro", ()),
        ("overlayfs.mounts", ("/var",)),
        ("overlayfs.mounts=yes", ("/var",)),
        ("overlayfs.mounts=ON", ("/var",)),
        ("overlayfs.mounts=no", ()),
        ("overlayfs.mounts=/var", ("/var",)),
        ("overlayfs.mounts=/var,/home", ("/var", "/home")),
        ("overlayfs.mounts=/home,/var,/home/,//var", ("/home", "/var")),
        ("overlayfs.mounts=,/var,,/home,", ("/var", "/home")),
        ("overlayfs.mounts=/a=b", ("/a=b",)),
        ("overlayfs.mounts='/a b',/c", ("/a b", "/c")),
        ("overlayfs.mounts=/var/../etc", ("/var/../etc",)),
        ("overlayfs.mounts=/", ("/",)),
        ("overlayfs.mounts=/var overlayfs.mounts=/home", ("/home",)),
        ("overlayfs.mounts=/var overlayfs.mounts=no", ()),
        ("overlayfs.mounts=no overlayfs.mounts", ("/var",)),
        ("overlayfs.mounts=nonsense overlayfs.mounts=/home", ("/home",)),
        ("rd.overlayfs.mounts=/var", ()),
        ("overlayfs.mounts=/home rd.overlayfs.mounts=/var", ("/home",)),
        ("Overlayfs.mounts=/var", ()),
        ("overlay.mounts=/var xoverlayfs.mounts=/var", ()),
    ],
)
def test_mounts(line: str, mounts: "tuple[str, ...]") -> None:
    request = read_request(split_words(line), SOURCE)
    assert request.mounts == mounts
    assert request.problems == ()
    assert request.source == SOURCE


@pytest.mark.parametrize(
    ("line", "mounts", "problems"),
    [
        (
            "overlayfs.mounts=nonsense",
            ("/var",),
            ["overlayfs.mounts=nonsense: neither yes, no, nor absolute paths; it was taken as yes"],
        ),
        (
            "overlayfs.mounts=",
            ("/var",),
            ["overlayfs.mounts=: neither yes, no, nor absolute paths; it was taken as yes"],
        ),
        (
            "overlayfs.mounts=,,",
            ("/var",),
            ["overlayfs.mounts=,,: neither yes, no, nor absolute paths; it was taken as yes"],
        ),
        (
            "overlayfs.mounts=var,/home,srv/x",
            ("/home",),
            [
                'overlayfs.mounts: "var" is not an absolute path, and was ignored',
                'overlayfs.mounts: "srv/x" is not an absolute path, and was ignored',
            ],
        ),
        ("overlayfs.mount=/var", (), ["overlayfs.mount is not a key of this version, and was ignored"]),
        (
            "overlayfs.size=1G overlayfs.mounts=wrong overlayfs.mounts=var,/a",
            ("/a",),
            [
                'overlayfs.mounts: "var" is not an absolute path, and was ignored',
                "overlayfs.size is not a key of this version, and was ignored",
            ],
        ),
        ("overlayfs.mounts=wrong overlayfs.mounts=no", (), []),
    ],
)
def test_problems_say_what_was_understood_instead(line: str, mounts: "tuple[str, ...]", problems: "list[str]") -> None:
    request = read_request(split_words(line), SOURCE)
    assert request.mounts == mounts
    assert list(request.problems) == [Problem(problem, SOURCE) for problem in problems]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ""),
        ("systemd.volatile", "yes"),
        ("systemd.volatile=yes", "yes"),
        ("systemd.volatile=1", "yes"),
        ("systemd.volatile=no", ""),
        ("systemd.volatile=state", "state"),
        ("systemd.volatile=overlay", "overlay"),
        ("systemd.volatile=state systemd.volatile=no", ""),
        ("systemd.volatile=state systemd.volatile", "yes"),
        ("systemd.volatile=state systemd.volatile=nonsense", "state"),
        ("systemd.volatile=", ""),
        ("rd.systemd.volatile=state", ""),
    ],
)
def test_volatile(line: str, expected: str) -> None:
    assert read_request(split_words(line), SOURCE).volatile == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("systemd.mask=var.mount", ("var.mount",)),
        ("systemd.mask=prepare-var-overlay", ("prepare-var-overlay.service",)),
        ("systemd.mask=a.b", ("a.b.service",)),
        ("systemd.mask=/var/lib/", ("var-lib.mount",)),
        ("systemd.mask=/my-data", (r"my\x2ddata.mount",)),
        ("systemd.mask=a.timer systemd.mask=b.mount", ("a.timer", "b.mount")),
        ("systemd.mask systemd.mask=", ()),
        ("rd.systemd.mask=var.mount", ()),
    ],
)
def test_masked(line: str, expected: "tuple[str, ...]") -> None:
    assert read_request(split_words(line), SOURCE).masked == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", True),
        ("fstab=no", False),
        ("fstab=0", False),
        ("fstab", True),
        ("fstab=no fstab=yes", True),
        ("fstab=no fstab", True),
        ("fstab=no fstab=nonsense", False),
        ("fstab=nonsense", True),
        ("rd.fstab=no", True),
    ],
)
def test_fstab_can_be_switched_off(line: str, expected: bool) -> None:
    assert read_request(split_words(line), SOURCE).read_fstab is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/dev/sda1:/var", ("/dev/sda1", "/var", "", "")),
        ("/dev/sda1:/var/:ext4", ("/dev/sda1", "/var", "ext4", "")),
        ("LABEL=x:/var:ext4:defaults,nofail", ("LABEL=x", "/var", "ext4", "defaults,nofail")),
        (r"a\x3ab:/c\040d:ext4:x\sy", ("a:b", "/c d", "ext4", "x y")),
        (r"a\x20b:/\xc3\xa9\303\251", ("a b", "/éé", "", "")),
        (r"a\\b:/x\ty", (r"a\b", "/x\ty", "", "")),
        (r"\q\x2:/\400\37", (r"\q\x2", r"/\400\37", "", "")),
        (r"a:/\xff\udcfe", ("a", "/\udcff" + r"\udcfe", "", "")),
        ("tmpfs:/run/buildroot/mounts/var:tmpfs:size=1M", ("tmpfs", "/run/buildroot/mounts/var", "tmpfs", "size=1M")),
    ],
)
def test_mount_extra(value: str, expected: "tuple[str, str, str, str]") -> None:
    request = read_request([f"systemd.mount-extra={value}"], SOURCE)
    assert request.entries == (FstabEntry(*expected, EXTRA),)


@pytest.mark.parametrize("value", ["", "/var", "a:/b:c:d:e"])
def test_mount_extra_with_a_wrong_number_of_fields_is_none(value: str) -> None:
    assert read_request([f"systemd.mount-extra={value}"], SOURCE).entries == ()


def test_each_mount_extra_counts_and_the_initrd_s_do_not() -> None:
    words = ["systemd.mount-extra=a:/a", "rd.systemd.mount-extra=c:/c", "systemd.mount-extra=b:/b"]
    assert [entry.where for entry in read_request(words, SOURCE).entries] == ["/a", "/b"]


@st.composite
def flag(draw: st.DrawFn) -> str:
    """A flag of ours with quotes, blanks and other text thrown into it."""
    text = draw(st.sampled_from(["overlayfs.mounts", "overlayfs.mounts=/var", "overlayfs.x", "a overlayfs.mounts=no"]))
    for piece in draw(st.lists(st.sampled_from(["'", '"', "''", '"a b"', "\\", " ", "\n", "x", "\0"]), max_size=3)):
        position = draw(st.integers(0, len(text)))
        text = text[:position] + piece + text[position:]
    return text


@settings(max_examples=300, deadline=None)
@given(flag() | st.text(ALPHABET, max_size=10))
def test_the_quick_check_of_a_boot_misses_no_flag(text: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        plan = boot.make_plan(root, {"SYSTEMD_PROC_CMDLINE": text, "SYSTEMD_IN_INITRD": "0"})
    wanted = any(word.partition("=")[0].startswith("overlayfs.") for word in split_words(text))
    assert plan is not None or not wanted


@pytest.mark.parametrize(
    ("text", "reset", "problems"),
    [
        ("overlayfs.reset", ("/",), 0),
        ("overlayfs.reset=yes overlayfs.reset=no", (), 0),
        ("overlayfs.reset=/var/,/home", ("/var", "/home"), 0),
        ("overlayfs.reset=/var,home", (), 1),
        ("overlayfs.reset=/", (), 1),
        ("overlayfs.reset=", (), 1),
        ("overlayfs.reset=x overlayfs.reset=/var", ("/var",), 0),
        ("rd.overlayfs.reset", (), 0),
    ],
)
def test_a_reset_is_read_without_doubt_or_not_at_all(text: str, reset: "tuple[str, ...]", problems: int) -> None:
    request = read_request(split_words(text), "/proc/cmdline")
    assert request.reset == reset
    assert len(request.problems) == problems


@pytest.mark.parametrize(
    ("text", "in_memory", "problems"),
    [
        ("overlayfs.upper=volatile", True, 0),
        ("overlayfs.upper=disk", False, 1),
        ("overlayfs.upper", False, 1),
        ("overlayfs.upper=x overlayfs.upper=volatile", True, 0),
    ],
)
def test_the_upper_of_one_boot(text: str, in_memory: bool, problems: int) -> None:
    request = read_request(split_words(text), "/proc/cmdline")
    assert (request.in_memory, len(request.problems)) == (in_memory, problems)


@pytest.mark.parametrize(("line", "configured", "mounts"), [
    ("overlayfs.mounts", ("/home", "/srv"), ("/home", "/srv")),
    ("overlayfs.mounts=yes", ("/home",), ("/home",)),
    ("overlayfs.mounts=yes", (), ("/var",)),
    ("overlayfs.mounts=maybe", ("/home",), ("/home",)),
    ("overlayfs.mounts=no", ("/home",), ()),
    ("overlayfs.mounts=/opt", ("/home",), ("/opt",)),
    ("quiet", ("/home",), ()),
])  # fmt: skip
def test_a_plain_yes_means_the_configured_directories(
    line: str, configured: "tuple[str, ...]", mounts: "tuple[str, ...]"
) -> None:
    assert read_request(split_words(line), "x", configured).mounts == mounts


@pytest.mark.parametrize(
    ("words", "mounts", "problem"),
    [
        (["overlayfs.mounts=/var,", "/home"], ("/var",), "write overlayfs.mounts=/var,/home"),
        (["overlayfs.mounts=/var", ",/home"], ("/var",), "write overlayfs.mounts=/var,/home"),
        (["overlayfs.mounts=/var", "/home", "quiet"], ("/var",), "write overlayfs.mounts=/var,/home"),
        (["overlayfs.mounts=/var, /home"], ("/var",), "was ignored; write /home"),
        (["overlayfs.reset=/var,", "/home"], (), "write overlayfs.reset=/var,/home"),
    ],
)
def test_what_was_probably_meant_by_a_blank_is_said(
    words: "list[str]", mounts: "tuple[str, ...]", problem: str
) -> None:
    request = read_request(words, SOURCE)
    assert request.mounts == mounts
    assert [found.text.endswith(problem) for found in request.problems] == [True]


@pytest.mark.parametrize("words", [["/home", "overlayfs.mounts=/var"], ["overlayfs.mounts=/var", "init=/x", "/home"]])
def test_a_path_elsewhere_is_none_of_our_business(words: "list[str]") -> None:
    assert read_request(words, SOURCE).problems == ()


def test_swap_of_the_kernel_command_line_is_an_entry() -> None:
    line = "systemd.swap-extra=/var/swap:nofail systemd.swap-extra=/a:b:c systemd.swap-extra= luks.key=/k"
    request = read_request(split_words(line), "/proc/cmdline")
    assert [(entry.what, entry.where, entry.fstype, entry.options) for entry in request.entries] == [
        ("/var/swap", "", "swap", "nofail")
    ]
    assert request.luks == ("luks.key=/k",)
