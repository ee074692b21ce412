# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What would wait for itself, and by which steps. Units of cases are tried on systemd itself in test_transaction.py."""

import pytest

from overlay_generator.crypttab import find_volumes
from overlay_generator.fstab import parse
from overlay_generator.model import Backing, FstabEntry, Inputs, Request
from overlay_generator.names import backing_path
from overlay_generator.ordering import find_backing_cycle, find_cycle, find_suspect, find_units, is_unknown
from overlay_generator.unittext import read_units, split_words

VAR = backing_path("/var")
REQUEST = Request("/proc/cmdline", ("/var",))


def read(fstab: str, crypttab: str = "", texts: "dict[str, str] | None" = None) -> Inputs:
    entries, problems = parse(fstab, "fstab")
    assert problems == []
    mounts = tuple(entry for entry in entries if entry.where)
    swaps = tuple(entry for entry in entries if not entry.where)
    return Inputs(REQUEST, entries=mounts, swaps=swaps, crypttab=crypttab, texts=texts)


def look(fstab: str, crypttab: str = "", texts: "dict[str, str] | None" = None, *more: str) -> "tuple[str, str]":
    """The steps of the cycle and of the suspicion, joined, for /var on a disk; `more` are overlays with one as well."""
    inputs = read(fstab, crypttab, texts)
    accepted = {
        where: Backing(backing_path(where), backing_path(where), False, False, True, "fstab")
        for where in ("/var", *more)
    }
    cycle = find_backing_cycle(inputs, accepted, "/var") or find_cycle(inputs, accepted, "/var")
    entry, suspicion = find_suspect(inputs, accepted, "/var")
    return "; ".join(cycle), "; ".join([str(entry), *suspicion]) if entry else ""


@pytest.mark.parametrize(
    ("options", "texts", "steps"),
    [
        ("nofail", {}, ""),
        ("x-systemd.requires-mounts-for=/var/x", {}, "fstab:1 says x-systemd.requires-mounts-for=/var/x"),
        ("x-systemd.requires-mounts-for=/data", {}, ""),
        ("x-systemd.after=/var", {}, "fstab:1 says x-systemd.after=/var"),
        ("x-systemd.after=var.mount", {}, "fstab:1 says x-systemd.after=var.mount"),
        ("x-systemd.after=/dev/sda", {}, ""),
        ("x-systemd.requires=nowhere.service", {}, ""),
        (
            "x-systemd.requires=a.service",
            {"a.service": "[Service]\n"},
            "fstab:1 says x-systemd.requires=a.service; a.service comes after all local file systems",
        ),
        ("x-systemd.requires=a.service", {"a.service": "DefaultDependencies=no\n"}, ""),
        (
            "x-systemd.requires=a.service",
            {"a.service": "DefaultDependencies=no\nStateDirectory=a\n"},
            "fstab:1 says x-systemd.requires=a.service; a.service uses /var/lib/a",
        ),
        (
            "x-systemd.after=local-fs.target",
            {},
            "fstab:1 says x-systemd.after=local-fs.target; local-fs.target comes after all local file systems",
        ),
        ("_netdev", {}, "fstab:1 waits for the network"),
    ],
)
def test_options_of_the_line(options: str, texts: "dict[str, str]", steps: str) -> None:
    assert look(f"LABEL=data {VAR} ext4 {options}\n", "", texts)[0] == steps


@pytest.mark.parametrize(
    ("crypttab", "steps"),
    [
        ("d /dev/sda3 /etc/key luks\n", ""),
        ("d /dev/sda3 none luks\n", ""),
        ("d /dev/sda3 /key:LABEL=usb luks\n", ""),
        ("d /dev/sda3 /var/key luks\n", "fstab:1 is on /dev/mapper/d; /etc/crypttab:1 has its key in /var/key"),
        ("d /var/img - luks\n", "fstab:1 is on /dev/mapper/d; /etc/crypttab:1 has its device in /var/img"),
        ("d /dev/sda3 - header=/var/h\n", "fstab:1 is on /dev/mapper/d; /etc/crypttab:1 has its header in /var/h"),
        (
            "e /dev/sda3 /var/key\nd /dev/mapper/e none\n",
            "fstab:1 is on /dev/mapper/d; /etc/crypttab:2 is on /dev/mapper/e; /etc/crypttab:1 has its key in /var/key",
        ),
    ],
)
def test_devices_of_crypttab(crypttab: str, steps: str) -> None:
    assert look(f"/dev/mapper/d {VAR} ext4 nofail\n", crypttab)[0] == steps


KEY = "/etc/crypttab:1 has its key in /var/key"


@pytest.mark.parametrize(
    ("lines", "suspect"),
    [
        (f"LABEL=data {VAR} ext4 defaults\n", f"fstab:1; {KEY}"),
        (f"/dev/vg/data {VAR} ext4 defaults\n", f"fstab:1; {KEY}"),
        (f"/dev/mmcblk0p3 {VAR} ext4 defaults\n", ""),
        # What is behind a path is looked at as well.
        (f"/data/up {VAR} none bind,nofail\nLABEL=data /data ext4\n", f"fstab:2; {KEY}"),
        (f"/data/var.img {VAR} ext4 loop\nLABEL=data /data ext4\n", f"fstab:2; {KEY}"),
        (f"/data/up {VAR} none bind,nofail\n/dev/sda2 /data ext4\n", ""),
        # The volume has a file system of its own, unless that has several names, or is not mounted.
        (f"LABEL=data {VAR} ext4 defaults\n/dev/mapper/d /var/d ext4\n", ""),
        (f"LABEL=data {VAR} ext4 defaults\n/dev/mapper/d /var/d ext4 noauto\n", f"fstab:1; {KEY}"),
        (f"LABEL=data {VAR} btrfs subvol=a\n/dev/mapper/d /var/d btrfs subvol=b\n", f"fstab:1; {KEY}"),
    ],
)
def test_a_disk_may_be_on_a_volume_that_nobody_names(lines: str, suspect: str) -> None:
    assert look(lines, "d /dev/sda3 /var/key luks\n") == ("", suspect)


@pytest.mark.parametrize(
    ("swap", "steps"),
    [
        ("/dev/sda2", ""),
        ("/data/swap", ""),
        ("/var/swap", "fstab:2 takes /d; fstab:1 is a tmpfs, which comes after all swap; fstab:3 takes /var/swap"),
    ],
)
def test_a_tmpfs_in_between_waits_for_swap(swap: str, steps: str) -> None:
    assert look(f"tmpfs /d tmpfs size=1M\n/d {VAR} none bind\n{swap} none swap sw\n")[0] == steps


def test_a_tmpfs_that_holds_the_upper_layer_does_not() -> None:
    assert look(f"tmpfs {VAR} tmpfs size=1M\n/var/swap none swap sw\n")[0] == ""


def test_the_end_of_a_type_that_pid_1_does_not_read_does_not_count() -> None:
    lines = f"tmpfs /d tmpfs\r size=1M\n/d/up {VAR} none bind\n/var/swap none swap sw\n"
    assert "comes after all swap" in look(lines)[0]


def test_what_is_before_a_name_that_ends_like_no_unit_is_a_mount() -> None:
    lines = f"/data/up {VAR} none bind,x-systemd.after=a.b\nLABEL=x /a.b ext4 x-systemd.requires-mounts-for=/var/x\n"
    assert "x-systemd.after=a.b" in look(lines)[0]


def test_a_line_that_systemd_can_not_use_mounts_nothing() -> None:
    """So what is in that directory is on the overlay."""
    entries = [
        FstabEntry("/x/../y", "/var/lib", "none", "bind", "fstab", 1, fault="no use"),
        FstabEntry("/var/lib/up", VAR, "none", "bind", "fstab", 2),
    ]
    inputs = Inputs(REQUEST, entries=tuple(entries))
    accepted = {"/var": Backing(VAR, VAR, False, False, True, "fstab")}
    assert find_backing_cycle(inputs, accepted, "/var") == ["fstab:2 takes /var/lib/up"]
    inner = backing_path("/var/lib/x")
    accepted["/var/lib/x"] = Backing(inner, inner, True, True, False, "")
    # As the plan has it: the inner overlay lies in the outer one, and its preparation comes before that.
    entries[1] = FstabEntry("LABEL=x", VAR, "ext4", "x-systemd.before=prepare-var-lib-x-overlay.service", "fstab", 2)
    entries.append(
        FstabEntry("LABEL=y", "/var/y", "ext4", "x-systemd.before=prepare-var-lib-x-overlay.service", "fstab", 3)
    )
    inputs = Inputs(REQUEST, entries=tuple(entries))
    assert find_cycle(inputs, accepted, "/var") == [
        "fstab:3 says x-systemd.before= for /var/lib/x", "fstab:3 mounts at /var/y",
    ]  # fmt: skip


def test_two_overlays_may_not_wait_for_each_other() -> None:
    home = backing_path("/home")
    lines = f"/home/up {VAR} none bind\n/var/up {home} none bind\n"
    assert look(lines, "", None, "/home")[0] == "fstab:1 takes /home/up; fstab:2 takes /var/up"
    assert look(f"LABEL=x {VAR} ext4\n/var/up {home} none bind\n", "", None, "/home")[0] == ""


def test_the_backing_of_an_inner_overlay_comes_before_the_outer_one() -> None:
    inner = backing_path("/var/lib")
    inputs = read(f"LABEL=x {VAR} ext4\n/var/up {inner} none bind\n")
    accepted = {
        "/var": Backing(VAR, VAR, False, False, True, "fstab"),
        "/var/lib": Backing(inner, inner, False, False, True, "fstab"),
    }
    # The good disk of the outer one is not to blame.
    assert find_backing_cycle(inputs, accepted, "/var") == []
    assert find_backing_cycle(inputs, accepted, "/var/lib") == ["fstab:2 takes /var/up"]
    assert find_cycle(inputs, accepted, "/var") == ["fstab:2 takes /var/up"]


def test_an_overlay_on_what_may_be_missing_holds_nothing_up() -> None:
    data = backing_path("/srv/data")
    inputs = read(f"LABEL=x /srv ext4 nofail\n/dev/sdb {data} ext4 _netdev,nofail\n")
    accepted = {"/srv/data": Backing(data, data, False, False, True, "fstab")}
    assert find_backing_cycle(inputs, accepted, "/srv/data") == []


def test_lines_of_crypttab_that_are_none_are_left_out() -> None:
    assert list(find_volumes("# a b\n\nlonely\nd /dev/sda3\n")) == ["d"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((), ["d", "e"]),
        (("luks=no",), []),
        (("luks=0", "luks"), ["d", "e"]),
        (("luks.crypttab=no",), []),
        (("luks.uuid=luks-1-a",), ["d"]),
        (("luks.name=1-b=x",), ["x"]),
        (("luks.key=1-b=/k", "luks.uuid=1-a"), ["d"]),
    ],
)
def test_volumes_that_the_kernel_command_line_leaves(words: "tuple[str, ...]", names: "list[str]") -> None:
    text = "d UUID=1-a /etc/key luks\ne /dev/disk/by-uuid/1-c\n"
    assert list(find_volumes(text, words)) == names


@pytest.mark.parametrize(
    ("text", "words"),
    [("/a /b", ["/a", "/b"]), ("\"/a b\" '/c'", ["/a b", "/c"]), ("/a\\ b", ["/a b"]), ("", []), ("/a'b'c", ["/abc"])],
)
def test_words_of_a_list(text: str, words: "list[str]") -> None:
    assert split_words(text) == words


def test_units_are_followed_through_what_they_come_after() -> None:
    units = {"a.service": "After=b.service c.mount local-fs.target\n", "b.service": "After=a.service\n"}
    entries, _ = parse(f"LABEL=x {VAR} ext4 x-systemd.requires=a.service\n", "fstab")
    assert read_units(find_units(entries), is_unknown, lambda name: units.get(name, "")) == units
