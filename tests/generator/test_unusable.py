# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Lines of fstab that systemd starts by nothing, or can't use: what is taken of them, and what is decided.

That systemd sees them so is what test_fstab_differential.py shows.
"""

from pathlib import Path

import pytest

from overlay_generator.decide import decide
from overlay_generator.fstab import find_hooks, find_type, formats_nothing, is_network, is_noauto, is_plain, parse
from overlay_generator.gather import read_entries
from overlay_generator.model import Directory, FstabEntry, Inputs, Problem, Request
from overlay_generator.unusable import find_deadly, find_fault

BACKING = "/run/buildroot/mounts/var"
MADE = "x-systemd.makefs"


def entry(what: str = "/dev/sda2", options: str = "defaults", fstype: str = "ext4", where: str = BACKING) -> FstabEntry:
    return FstabEntry(what, where, fstype, options, "/etc/fstab", 7)


def read(text: str, tmp_path: Path, version: int = 0) -> "tuple[list[FstabEntry], list[Problem]]":
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_bytes(text.encode())
    generators = tmp_path / "usr/lib/systemd/system-generators"
    generators.mkdir(parents=True)
    (generators / "systemd-fstab-generator").write_bytes(b"libsystemd-shared-%d.so" % version if version else b"")
    return read_entries(str(tmp_path), {}, Request("/proc/cmdline", ("/var",)))


@pytest.mark.parametrize(
    ("what", "fstype", "formatted"),
    [
        ("ubi0:data", "ubifs", False),
        ("/data/v.img", "ext4", False),
        ("tmpfs", "tmpfs", False),
        ("ID=x", "ext4", False),
        ("/dev", "ext4", False),
        ("/dev/sda1", "auto", False),
        ("LABEL=x", "", False),
        ("/dev/sda1", "ext4", True),
        ("//dev/sda1", "ext4", True),
        ("/sys/x", "ext4", True),
        ("PARTLABEL=x", "none", True),
    ],
)
def test_what_is_to_be_formatted_and_can_not_be_is_not_started(what: str, fstype: str, formatted: bool) -> None:
    one = entry(what, MADE, fstype)
    assert formats_nothing(one) is not formatted
    assert bool(find_hooks(one)) is formatted
    assert is_noauto(one) is not formatted
    plan = decide(Inputs(Request("/proc/cmdline", ("/var",)), (one,), directories={"/var": Directory("directory")}))
    assert [mount.backing.nofail for mount in plan.mounts] == [not formatted]


@pytest.mark.parametrize(
    "options", ["x-systemd.growfs", "x-systemd.pcrfs", "x-systemd.validatefs", "x-systemd.makefsx"]
)
def test_what_is_not_formatted_is_started(options: str) -> None:
    assert find_hooks(entry("ubi0:data", options, "ubifs")) == [("local-fs.target", "requires")]


@pytest.mark.parametrize(("version", "started"), [(0, "foo"), (252, "foo"), (257, "local-fs.target")])
def test_later_systemd_needs_usr_whatever_is_asked(version: int, started: str) -> None:
    assert [unit for unit, _ in find_hooks(entry(options="x-systemd.wanted-by=foo", where="/usr"), version)] == [
        started
    ]


@pytest.mark.parametrize(
    ("value", "unit"),
    [("a.target", "a.target"), ("//a.target", "a.target"), ("./a.target", "a.target"), ("a/b", "a/b")],
)
def test_what_wants_a_line_is_a_path(value: str, unit: str) -> None:
    assert find_hooks(entry(options=f"x-systemd.wanted-by={value}")) == [(unit, "wants")]
    assert find_hooks(entry(options="x-systemd.required-by=local-fs.target/")) == [("local-fs.target/", "requires")]


@pytest.mark.parametrize(
    ("one", "version", "fault"),
    [
        (entry("/dev/disk/by-label/../x"), 0, "/dev/disk/by-label/../x has . or .. in it"),
        (entry("/dev/./sda1"), 247, "/dev/./sda1 has . or .. in it"),
        (entry("/dev/./sda1"), 252, ""),
        (entry("LABEL=.."), 252, "LABEL=.. has"),
        (entry('LABEL=".."'), 252, 'LABEL=".." has'),
        (entry("LABEL=../x"), 252, ""),
        (entry("/data/../up", "bind", "none"), 252, "/data/../up has"),
        (entry("/data/./up", "bind", "none"), 247, ""),
        (entry("data/../up", "bind", "none"), 252, ""),
        (entry("//server/a/../b", "defaults", "cifs"), 252, ""),
        (entry("//server/a/../b", "bind", "cifs"), 252, "//server/a/../b has"),
        (entry("/a/../b", "loop,_netdev"), 252, "/a/../b has"),
        (entry("/a/../b", "defaults", "nfs\r"), 252, ""),
        (entry("server:/a/../b", "defaults", "nfs"), 252, ""),
        (entry("/" + "y" * 256, "bind", "none"), 252, f"/{'y' * 39}... is too long"),
        (entry("/dev/" + "z" * 250), 252, ""),
        (entry("/dev/" + "z" * 250), 247, f"/dev/{'z' * 35}... is too long"),
        (entry("\n/dev/sda1"), 252, "its device starts with the end of a line"),
        (entry(options="x-systemd.requires="), 252, "x-systemd.requires= has no value"),
        (entry(options="nofail,x-systemd.after="), 252, "x-systemd.after= has no value"),
        (entry(options="x-systemd.before=,nofail"), 252, "x-systemd.before= has no value"),
        (entry(options="x-systemd.wants="), 252, ""),
        (entry(options="x-systemd.wants="), 257, "x-systemd.wants= has no value"),
        (entry(options="x-systemd.requires=/" + "q" * 300), 252, "x-systemd.requires= is too long"),
        (entry(options="x-systemd.requires,x-systemd.required-by=,x-systemd.requires-mounts-for="), 257, ""),
        (entry("/data/x\\", "bind", "none"), 252, "the device ends in a backslash"),
        (entry("/data/x\\\\", "bind", "none"), 252, ""),
        (entry("LABEL=x\\"), 252, ""),
        (entry(options="nofail", fstype="ext4\\"), 252, "the type ends in a backslash"),
        (entry(fstype="ext4\\"), 252, ""),
        (entry("/../swap", "sw", "swap", ""), 252, ""),
    ],
)
def test_faults(one: FstabEntry, version: int, fault: str) -> None:
    assert find_fault(one, version).startswith(fault)
    assert bool(find_fault(one, version)) is bool(fault)


def test_a_backslash_that_takes_in_nothing_is_no_part_of_the_type() -> None:
    assert find_type(entry(fstype="ext4\\")) == "ext4"


@pytest.mark.parametrize(
    ("options", "deadly"),
    [
        ("x-systemd.device-timeout", "x-systemd.device-timeout"),
        ("x-systemd.mount-timeout=3,x-systemd.mount-timeout", "x-systemd.mount-timeout"),
        ("x-systemd.mount-timeout,x-systemd.mount-timeout=3", ""),
        ("x-systemd.idle-timeout", ""),
        ("x-systemd.idle-timeout,x-systemd.automount", "x-systemd.idle-timeout"),
        ("x-systemd.device-timeout=", ""),
    ],
)
def test_what_the_generator_aborts_at(options: str, deadly: str) -> None:
    assert find_deadly(entry(options=options), 252) == deadly
    swap = "device" in deadly
    assert bool(find_deadly(entry(options=options, where=""), 252)) is swap


@pytest.mark.parametrize(("what", "stops"), [("LABEL=..", True), ("/dev/../x", True), ("/data/../x", False)])
def test_the_generator_does_not_get_there(what: str, stops: bool) -> None:
    assert find_deadly(entry(what, "x-systemd.mount-timeout"), 252) == ("" if stops else "x-systemd.mount-timeout")


def test_after_an_abort_nothing_is_mounted(tmp_path: Path) -> None:
    text = f"LABEL=a /a ext4 nofail\nLABEL=b /b ext4 x-systemd.mount-timeout\nLABEL=c {BACKING} ext4\n"
    entries, problems = read(text, tmp_path)
    assert [(one.where, bool(one.fault)) for one in entries] == [("/a", False), ("/b", True)]
    assert [problem.line for problem in problems] == [2]
    assert problems[0].hides == (BACKING,)


def test_a_second_line_for_a_place_does_no_harm(tmp_path: Path) -> None:
    text = "LABEL=a /a ext4 nofail\nLABEL=b /a ext4 x-systemd.mount-timeout\n/dev/../x /a ext4\nLABEL=c /c ext4\n"
    entries, problems = read(text, tmp_path)
    assert [(one.what, one.fault) for one in entries] == [
        ("LABEL=a", ""), ("LABEL=b", ""), ("/dev/../x", ""), ("LABEL=c", ""),
    ]  # fmt: skip
    assert problems == []


def test_memory_is_apart_from_a_line_that_can_not_be_used(tmp_path: Path) -> None:
    entries, problems = read(f"/dev/disk/by-label/../data {BACKING} ext4 defaults\n", tmp_path)
    values = Inputs(
        Request("/proc/cmdline", ("/var",)), tuple(entries), tuple(problems),
        directories={"/var": Directory("directory")},
    )  # fmt: skip
    (mount,) = decide(values).mounts
    assert (mount.backing.path, mount.backing.tmpfs) == ("/run/buildroot/volatile/var", True)
    assert mount.backing.lost.startswith("/etc/fstab:1 can't hold its upper layer: /dev/disk")
    values.request.in_memory = True
    assert decide(values).mounts[0].backing.lost == ""
    assert "mounts nothing at /run/buildroot/mounts/var" in str(problems[0])


def test_a_line_for_the_directory_itself_keeps_the_name_of_the_unit() -> None:
    one = entry("/data/../x", "bind", "none", "/var")
    one.fault = "broken"
    plan = decide(Inputs(Request("/proc/cmdline", ("/var",)), (one,), directories={"/var": Directory("directory")}))
    assert [skipped.reason for skipped in plan.skipped] == [
        "/etc/fstab:7 is to mount /data/../x there, and systemd can't use that line"
    ]


@pytest.mark.parametrize("where", [f"{BACKING}/upper", "/var/lib"])
def test_a_broken_line_elsewhere_is_as_good_as_none(where: str) -> None:
    one = entry("/data/../x", "bind", "none", where)
    one.fault = "broken"
    directories = {"/var/lib/x": Directory("directory")}
    plan = decide(Inputs(Request("/proc/cmdline", ("/var/lib/x",)), (one,), directories=directories))
    assert [mount.optional for mount in plan.mounts] == [False]


@pytest.mark.parametrize(
    "text",
    [
        "LABEL=.. /a ext4\n", "LABEL=a /a ext4 x-systemd.after=\n", "LABEL=a /a ext4 x-systemd.after= 0 0\n",
        "LABEL=a /a ext4 x-systemd.after=,ro\n", "LABEL=a /a ext4 x-systemd.mount-timeout\n", "/a/.. /b none bind\n",
        "LABEL=a /a ext4 ro 0 0\f\n", "LABEL=a /a ext4 ro 0 \x1c0\n", f"/{'a' * 201} /a none bind\n",
        "/./a /a none bind\n",
        "LABEL=a /a ext4 x-systemd.idle-timeout,x-systemd.automount 0 0\n", "x\\ /a ext4 ro\n", "a /a nfs\r\n",
    ],
)  # fmt: skip
def test_a_text_to_look_at_more_closely(text: str) -> None:
    assert not is_plain(text)
    assert is_plain(
        "# a comment\n\n/dev/sda1 / ext4 defaults 0 1\nLABEL=data /d ext4 nofail,x-systemd.device-timeout=30s\n"
    )


@pytest.mark.parametrize(
    ("end", "version", "mounted"),
    [
        ("0 \r2\n", 262, True),
        ("0 \v2\n", 262, True),
        ("0 2\f\n", 262, False),
        ("0 2\f\n", 257, True),
        ("0 \x1c2\n", 262, False),
        ("0 2\0\n", 262, False),
        ("0 2\0", 262, True),
        ("0 -\r2\n", 262, False),
        ("\v \v\n", 262, False),
    ],
)
def test_numbers_are_read_as_strtol_reads_them(end: str, version: int, mounted: bool) -> None:
    entries, _ = parse(f"/dev/sda1 /a ext4 nofail {end}", "/etc/fstab", version)
    assert bool(entries) is mounted


def test_a_carriage_return_hides_that_a_type_is_of_a_server() -> None:
    for version, network in ((257, False), (262, True)):
        (one,), _ = parse("server:/x /a nfs\r\n", "/etc/fstab", version)
        assert (is_network(one), find_type(one)) == (network, "nfs")
