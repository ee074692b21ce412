# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which settings can be applied at this boot: each refusal of a path to be passed through, and options."""

from typing import Any

import pytest

from overlay_generator.decide import decide
from overlay_generator.found import Mounter, Storage
from overlay_generator.model import Directory, FstabEntry, Inputs, Plan, Request, Settings, Unit, Word

CONF = "/etc/overlay-generator.conf"
DISK = FstabEntry("LABEL=data", "/run/buildroot/mounts/var", "ext4", "defaults", "/etc/fstab", 2)
DOCKER = "/var/lib/docker"


def words(*texts: str) -> "tuple[Word, ...]":
    return tuple(Word(text, CONF, number) for number, text in enumerate(texts, 2))


def plan(
    *passthrough: str,
    options: "tuple[str, ...]" = (),
    mounts: "tuple[str, ...]" = ("/var",),
    masked: "tuple[str, ...]" = (),
    **others: Any,
) -> Plan:
    settings = {"/var": Settings(passthrough=words(*passthrough), options=words(*options))}
    directories = {path: Directory("directory") for path in mounts} | others.pop("directories", {})
    request = Request("/proc/cmdline", mounts, masked=masked)
    return decide(Inputs(request, directories=directories, settings=settings, **others))


def passed(found: Plan) -> "list[str]":
    return [word.text for mount in found.mounts if mount.where == "/var" for word in mount.settings.passthrough]


def test_what_can_be_done_stays_as_it_is() -> None:
    asked = Settings("prune", "64M", "20k", ("nodev",), words("xino=off"), words(DOCKER))
    found = decide(
        Inputs(Request("x", ("/var",)), directories={"/var": Directory("directory")}, settings={"/var": asked})
    )
    assert found.mounts[0].settings == asked
    assert (found.problems, found.hints) == ((), ())


def test_a_directory_without_a_section_has_the_defaults() -> None:
    found = plan(DOCKER, mounts=("/var", "/home"))
    assert [mount.settings == Settings() for mount in found.mounts] == [False, True]


def test_paths_are_in_one_order_and_once() -> None:
    found = plan("/var/lib/b", "/var/cache", "/var/lib/b", "/var/lib/a")
    assert passed(found) == ["/var/cache", "/var/lib/a", "/var/lib/b"]
    assert found.hints == ()


UNIT = "var-lib-docker.mount"
REFUSED: "list[tuple[dict[str, Any], str]]" = [
    ({"entries": (FstabEntry("/dev/b", DOCKER, "ext4", "", "/etc/fstab", 4),)}, f"/etc/fstab:4 mounts {DOCKER}"),
    ({"entries": (FstabEntry("/dev/b", "/var/lib", "ext4", "", "/etc/fstab", 4),)}, "/etc/fstab:4 mounts /var/lib"),
    ({"mounts": ("/var", DOCKER)}, f"{DOCKER} is to be an overlay of its own"),
    ({"mounts": ("/var", "/var/lib")}, "/var/lib is to be an overlay of its own"),
    ({"mounts": ("/var", DOCKER + "/volumes")}, f"{DOCKER}/volumes in it is to be an overlay"),
    ({"masked": (UNIT,)}, f"{UNIT} is masked by systemd.mask= on the kernel command line"),
    ({"units": {UNIT: Unit("mask", f"/etc/systemd/system/{UNIT}")}}, f"{UNIT} is masked by /etc/systemd/system/{UNIT}"),
    ({"units": {UNIT: Unit("provided", f"/etc/systemd/system/{UNIT}")}}, f"/etc/systemd/system/{UNIT} provides {UNIT}"),
    ({"units": {UNIT: Unit("vendor", f"/usr/lib/systemd/system/{UNIT}")}},
     f"/usr/lib/systemd/system/{UNIT} provides {UNIT}"),
    ({"directories": {DOCKER: Directory("symlink", "/var/lib is a symbolic link to /srv")}},
     "/var/lib is a symbolic link to /srv; ask for the directory it leads to"),
    ({"directories": {DOCKER: Directory("file")}}, "it is not a directory"),
]  # fmt: skip


@pytest.mark.parametrize(("others", "reason"), REFUSED, ids=[reason[:40] for _, reason in REFUSED])
def test_a_path_that_can_not_be_passed_through_is_left_and_the_others_are_not(
    others: "dict[str, Any]", reason: str
) -> None:
    found = plan(DOCKER, "/var/cache", **others)
    assert passed(found) == ["/var/cache"]
    assert found.hints == (f"{CONF}:2: {DOCKER} is not passed through: {reason}",)
    assert found.problems == ()


def test_what_lies_in_another_is_passed_through_with_it() -> None:
    found = plan(DOCKER + "/volumes", DOCKER, "/var/lib/docker-x")
    assert passed(found) == [DOCKER, "/var/lib/docker-x"]
    assert found.hints == (
        f"{CONF}:2: {DOCKER}/volumes is not passed through: {DOCKER} around it is passed through already",
    )


@pytest.mark.parametrize("others", [
    {"entries": (FstabEntry("/dev/b", "/var/lib/docker-x", "ext4", "", "/etc/fstab", 4),)},
    {"entries": (FstabEntry("/dev/b", DOCKER + "/volumes", "ext4", "", "/etc/fstab", 4),)},
    {"mounts": ("/var", "/var/lib/docker-x")},
    {"directories": {DOCKER: Directory("missing", "/var/lib")}},
    {"directories": {DOCKER: Directory("unseen")}},
])  # fmt: skip
def test_neighbours_and_mounts_further_in_are_no_reason(others: "dict[str, Any]") -> None:
    found = plan(DOCKER, **others)
    assert passed(found) == [DOCKER]
    assert found.hints == ()


SAFE = (
    "redirect_dir=off", "index=off", "xino=off", "metacopy=off", "nfs_export=off",
)  # fmt: skip
UNSAFE = (
    "redirect_dir=on", "redirect_dir=follow", "redirect_dir=nofollow", "index=on", "xino=on", "xino=auto",
    "metacopy=on", "nfs_export=on", "volatile",
)  # fmt: skip


@pytest.mark.parametrize("option", UNSAFE)
def test_what_ties_a_persistent_upper_to_one_image_is_left_out_aloud(option: str) -> None:
    found = plan(options=("xino=off", option), entries=(DISK,))
    assert [word.text for word in found.mounts[0].settings.options] == ["xino=off"]
    text = f"Options={option}: an image update or a power cut would cost /var its data; ignored"
    assert [str(problem) for problem in found.problems] == [f"{CONF}:3: {text}"]


@pytest.mark.parametrize("option", SAFE)
def test_what_does_not_is_taken(option: str) -> None:
    found = plan(options=(option,), entries=(DISK,))
    assert [word.text for word in found.mounts[0].settings.options] == [option]
    assert found.problems == ()


@pytest.mark.parametrize("option", (*SAFE, *UNSAFE))
def test_in_memory_each_alone_is_taken(option: str) -> None:
    found = plan(options=(option,))
    assert [word.text for word in found.mounts[0].settings.options] == [option]


# Refused by the kernel (Linux 6.18, fs/overlayfs/params.c), and a mount that fails is an emergency shell.
CONTRADICTIONS = [
    ("index=off", "nfs_export=on"),
    ("metacopy=on", "nfs_export=on"),
    ("metacopy=on", "redirect_dir=off"),
    ("metacopy=on", "redirect_dir=follow"),
    ("metacopy=on", "redirect_dir=nofollow"),
]


@pytest.mark.parametrize("options", CONTRADICTIONS, ids=" ".join)
def test_options_that_contradict_each_other_are_not_both_taken(options: "tuple[str, str]") -> None:
    for asked in (options, options[::-1]):
        found = plan(options=asked)
        assert len(found.mounts[0].settings.options) == 1
        assert len(found.problems) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_storage_that_would_lie_on_the_overlay_is_told_with_what_becomes_of_it(fails: bool) -> None:
    unit = "/usr/lib/systemd/system/engine.service"
    storage = (Storage(unit, "/var/lib/engine", "nothing works there", fails),)
    text = (
        f"{unit}: /var/lib/engine lies on the overlay, and nothing works there; before its first use "
        "pass it through: Passthrough=/var/lib/engine in the section [/var] of the configuration"
    )

    def told(*passthrough: str, **others: Any) -> "list[tuple[str, bool]]":
        found = plan(*passthrough, storage=storage, **others)
        assert found.hints == ()
        return [(str(one), one.storage.fails) for one in found.storage]

    assert told() == [(text, fails)]
    assert told("/var/lib/engine") == []
    assert told("/var/lib") == []
    assert told(entries=(FstabEntry("/dev/b", "/var/lib/engine", "ext4", "", "/etc/fstab", 4),)) == []
    assert told(mounts=("/home",)) == []


def test_the_innermost_overlay_is_the_one_that_is_told_of() -> None:
    storage = (Storage("/x", "/var/lib/engine/data", "nothing works there", True),)
    found = plan(mounts=("/var", "/var/lib/engine"), storage=storage)
    assert "section [/var/lib/engine]" in str(found.storage[0])


def test_what_could_not_be_looked_at_is_told() -> None:
    assert plan(unseen=("/x can't be read (Permission denied); it is assumed to be missing",)).hints == (
        "/x can't be read (Permission denied); it is assumed to be missing",
    )


def test_where_selinux_lets_nobody_use_an_overlay_there_is_none() -> None:
    found = plan(mounter=Mounter("", "a_t and b_t may not write var_t"))
    assert not found.mounts
    assert [(skipped.reason, skipped.level) for skipped in found.skipped] == [
        ("SELinux: a_t and b_t may not write var_t; see docs/security-modules.md", "error")
    ]
    assert plan(mounter=Mounter("a:b:c")).mounter == Mounter("a:b:c")
