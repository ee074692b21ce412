# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Static units against the generator's: the same except for intended differences, and for the same words."""

import re

import pytest

from overlay_generator.cmdline import read_request, split_words
from overlay_generator.decide import decide
from overlay_generator.model import Directory, FstabEntry, Inputs, Plan, Settings, UnitFile, UnitLink, Word
from overlay_generator.render import render as render_boot
from overlay_prepare import events
from overlayctl.render import units
from overlayctl.render.limits import find_limits
from overlayctl.render.services import name_service
from overlayctl.render.text import parse

MOUNTS = "/run/buildroot/mounts"
FSTABS = {
    "memory": (),
    "disk": (f"{MOUNTS}/var ext4 defaults",),
    "nofail": (f"{MOUNTS}/var ext4 nofail,x-systemd.growfs",),
    "shared": (f"{MOUNTS} ext4 nofail",),
    "tmpfs": (f"{MOUNTS}/var tmpfs size=8M",),
    "nested": (f"{MOUNTS}/var xfs defaults", "/var/lib btrfs nofail"),
}
ADDED = ("reset", "trash", "warn", "upper", "volatile", "mount")


def make_plan(words: str, fstab: "tuple[str, ...]" = (), module: bool = False, **settings: object) -> Plan:
    """The plan for a command line, over a machine that has everything."""
    request = read_request(split_words(words), "/proc/cmdline")
    entries = []
    for number, line in enumerate(fstab, 1):
        where, fstype, options = line.split()
        entries.append(FstabEntry("LABEL=x", where, fstype, options, "/etc/fstab", number))
    directories = {where: Directory("directory", mode=0o755) for where in request.mounts}
    directories["/home"] = Directory("directory", mode=0o2750, uid=5, gid=6)
    asked = {"/var": Settings(**settings)} if settings else {}  # type: ignore[arg-type]
    kernel = "module" if module else "built in"
    return decide(Inputs(request, tuple(entries), directories=directories, kernel=kernel, settings=asked))


def render(words: str, fstab: "tuple[str, ...]" = (), always: bool = False, **more: object) -> "list[units.File]":
    plan = make_plan(words, fstab, **more)  # type: ignore[arg-type]
    in_memory = make_plan(words + " overlayfs.upper=volatile", fstab, **more)  # type: ignore[arg-type]
    return units.render(plan, in_memory, always)


def texts(files: "list[units.File]") -> "dict[str, str]":
    return {file.path: file.text for file in files if isinstance(file, UnitFile)}


@pytest.mark.parametrize("kind", FSTABS)
@pytest.mark.parametrize("words", ["overlayfs.mounts=/var", "overlayfs.mounts=/var,/home,/var/lib/app"])
def test_the_units_are_those_of_the_generator_with_conditions(words: str, kind: str) -> None:
    plan = make_plan(words, FSTABS[kind], module=True)
    # As the generator makes them without a shell: a line for each command, and no Python for what is known.
    plan.shell, plan.static = False, True
    boot = {file.path: file for file in render_boot(plan)}
    files = {file.path: file for file in render(words, FSTABS[kind], module=True)}
    assert set(boot) <= set(files)
    for path, theirs in boot.items():
        ours = files[path]
        if isinstance(theirs, UnitLink):
            assert isinstance(ours, UnitLink)
            assert ours.target == theirs.target
            continue
        assert isinstance(ours, UnitFile)
        their_sections, our_sections = parse(theirs.text), parse(ours.text)
        assert list(our_sections) == list(their_sections)
        for name, lines in their_sections.items():
            added = [line for line in our_sections[name] if line not in lines]
            removed = [line for line in lines if line not in our_sections[name]]
            kept = [line for line in our_sections[name] if line in lines]
            assert kept == [line for line in lines if line not in removed], f"{path}: another order"
            assert all(is_meant_to_differ(path, line) for line in added), f"{path}: {added}"
            assert all(is_meant_to_go(path, line) for line in removed), f"{path}: {removed}"


def is_meant_to_differ(path: str, line: str) -> bool:
    key, _, value = line.partition("=")
    if key in ("ConditionKernelCommandLine", "ConditionPathExists", "ConditionPathIsReadWrite"):
        return True
    if path.startswith("prepare-"):
        own = all(re.match(rf"({'|'.join(ADDED)})-.*-overlay\.service$", unit) for unit in value.split())
        return (key in ("Wants", "Requires") and own) or key == "ExecStart"
    if path.startswith("fallback-"):
        return key == "ConditionPathIsMountPoint" or line.startswith("ExecStart=-/bin/umount -q ")
    ours = value.startswith(
        ("/bin/echo ", "/bin/mkdir -p /run/overlay-generator", "/bin/ln -sf /usr/lib/overlay-generat")
    )
    # There prepare sends the event.
    event = line.startswith(f"LogExtraFields=MESSAGE_ID={events.READ_ONLY} ")
    return path.startswith("verify-") and ((key == "ExecStart" and ours) or key == "StandardOutput" or event)


def is_meant_to_go(path: str, line: str) -> bool:
    if path.startswith("fallback-"):
        return line.startswith("ConditionPathIsMountPoint=!")
    if path.startswith("prepare-") and line.startswith("ConditionPathExists=!/run/systemd/generator/"):
        return True
    return line.startswith("ExecStart=/usr/bin/python3 ")


def test_the_comparison_would_notice() -> None:
    assert not is_meant_to_differ("var.mount", "Options=lowerdir=/x")
    assert not is_meant_to_differ("prepare-var-overlay.service", "Wants=other.service")
    assert not is_meant_to_go("prepare-var-overlay.service", "ExecStart=/bin/mount -n -o bind")


@pytest.mark.parametrize("kind", FSTABS)
def test_only_what_lasts_gets_more_units(kind: str) -> None:
    plan = make_plan("overlayfs.mounts=/var,/home", FSTABS[kind])
    files = texts(render("overlayfs.mounts=/var,/home", FSTABS[kind]))
    for mount in plan.mounts:
        found = {name for name in ADDED if name_service(mount, name) in files}
        wanted = set() if mount.backing.volatile else {"reset", "trash", "volatile", "mount"}
        wanted |= {"warn"} if mount.backing.nofail else set()
        wanted |= {"upper"} if not mount.backing.tmpfs and mount.directory.uid else set()
        assert found == wanted


def test_a_fallback_is_forgotten_when_it_ends() -> None:
    """/run outlives a soft-reboot: the mark must not, and the next good prepare takes the message away."""
    files = texts(render("overlayfs.mounts=/var", FSTABS["nofail"]))
    fallback = parse(files["fallback-run-buildroot-mounts-var.service"])["Service"]
    mark = next(line for line in fallback if line.startswith("ExecStop=")).split()[-1]
    assert any(line.startswith("ExecStart=/bin/mkdir ") and line.endswith(f" {mark}") for line in fallback)
    assert f"ConditionPathExists={mark}" in files["warn-var-overlay.service"]
    prepare = parse(files["prepare-var-overlay.service"])["Service"]
    assert any(
        line.startswith("ExecStart=/bin/rm -f ") and "/run/motd.d/overlay-generator-var" in line for line in prepare
    )


def test_what_static_units_have_no_form_for_is_left_out() -> None:
    passed = (Word("/var/lib/docker", "/etc/overlay-generator.conf", 2),)
    files = render("overlayfs.mounts=/var", FSTABS["disk"], passthrough=passed, policy="prune")
    assert not [file.path for file in files if "docker" in file.path]
    assert "python3" not in "".join(texts(files).values())


def test_what_only_the_generator_can_mask_is_said() -> None:
    plan = make_plan("overlayfs.mounts=/var", (f"{MOUNTS}/var ext4 x-systemd.required-by=var.mount",))
    said = [limit for limit in find_limits(plan, False) if "var.mount requires run-buildroot-mounts-var.mount" in limit]
    assert len(said) == 1
    assert find_limits(make_plan("overlayfs.mounts=/var", FSTABS["nofail"]), False).count(said[0]) == 0


# Conditions as systemd evaluates them, for a machine where all else is as it should be.
def is_mounted(where: str, cmdline: str, files: "list[units.File]") -> bool:
    """True if the overlay on `where` comes up: prepare's conditions hold."""
    name = f"prepare-{where[1:]}-overlay.service"
    return conditions_hold(texts(files)[name], split_words(cmdline))


def conditions_hold(text: str, words: "list[str]") -> bool:
    results: dict[bool, list[bool]] = {False: [], True: []}
    for line in parse(text)["Unit"]:
        key, _, value = line.partition("=")
        if key != "ConditionKernelCommandLine":
            continue
        trigger = value.startswith("|")
        wanted = not value.lstrip("|").startswith("!")
        value = value.lstrip("|!").replace("%%", "%")
        found = value in words if "=" in value else any(word.partition("=")[0] == value for word in words)
        results[trigger].append(found == wanted)
    return all(results[False]) and (not results[True] or any(results[True]))


AS_THE_GENERATOR = [
    "", "quiet", "overlayfs.mounts", "overlayfs.mounts=yes", "overlayfs.mounts=1", "overlayfs.mounts=no",
    "overlayfs.mounts=0", "overlayfs.mounts=off", "overlayfs.mounts=false", "overlayfs.mounts=/var",
    "overlayfs.mounts overlayfs.mounts=no", "xoverlayfs.mounts=/var", "overlayfs.mountsx=/var", "rd.overlayfs.mounts",
    'overlayfs.mounts="/var"', '"overlayfs.mounts=no"', "overlayfs.mounts=maybe", "overlayfs.mounts=/var/",
    "overlayfs.mounts=/var systemd.volatile=yes", "overlayfs.mounts=/var systemd.volatile=overlay",
    "overlayfs.mounts=/var systemd.volatile=no", "overlayfs.mounts=/var systemd.volatile=off",
]  # fmt: skip


@pytest.mark.parametrize("cmdline", AS_THE_GENERATOR)
def test_the_key_means_what_it_means_to_the_generator(cmdline: str) -> None:
    plan = make_plan(cmdline)
    assert is_mounted("/var", cmdline, render("overlayfs.mounts=/var")) == bool(plan.mounts)


@pytest.mark.parametrize(
    ("cmdline", "mounted"),
    [
        ("overlayfs.mounts=/var", "/var"),
        ("overlayfs.mounts=/home", "/home"),
        ("overlayfs.mounts=/var,/home", "/var /home"),
        ("overlayfs.mounts", "/var /home"),
        ("overlayfs.mounts=no", ""),
        # Coarser than the generator, and documented.
        ("overlayfs.mounts=/srv", "/var /home"),
        ("overlayfs.mounts=no overlayfs.mounts=/var", ""),
        ("overlayfs.mounts=NO", "/var /home"),
    ],
)
def test_one_of_several_directories(cmdline: str, mounted: str) -> None:
    files = render("overlayfs.mounts=/var,/home")
    assert [where for where in ("/var", "/home") if is_mounted(where, cmdline, files)] == mounted.split()


@pytest.mark.parametrize(
    ("cmdline", "mounted"),
    [("", True), ("overlayfs.mounts=/var", True), ("overlayfs.mounts=no", False), ("systemd.volatile=yes", False)],
)
def test_always_needs_no_key(cmdline: str, mounted: bool) -> None:
    assert is_mounted("/var", cmdline, render("overlayfs.mounts=/var", always=True)) == mounted


@pytest.mark.parametrize(
    ("word", "var", "home"),
    [
        ("", False, False),
        ("overlayfs.reset=yes", True, True),
        ("overlayfs.reset=1", True, True),
        ("overlayfs.reset=/var", True, False),
        ("overlayfs.reset=/home", False, True),
        ("overlayfs.reset=no", False, False),
        ("overlayfs.reset=/var overlayfs.reset=no", False, False),
        ("overlayfs.reset=/vari", False, False),
        ("overlayfs.reset=maybe", False, False),
        ("overlayfs.reset=yes overlayfs.upper=volatile", False, False),
        ("overlayfs.reset=yes overlayfs.mounts=no", False, False),
        # The generator takes these, static units are not sure of them.
        ("overlayfs.reset", False, False),
        ("overlayfs.reset=/var,/home", False, False),
    ],
)
def test_a_reset_is_done_only_where_there_is_no_doubt(word: str, var: bool, home: bool) -> None:
    files = texts(render("overlayfs.mounts=/var,/home", FSTABS["shared"]))
    words = split_words(f"overlayfs.mounts {word}")
    assert conditions_hold(files["reset-var-overlay.service"], words) == var
    assert conditions_hold(files["reset-home-overlay.service"], words) == home


def test_in_one_boot_either_the_disk_or_memory_is_used() -> None:
    files = texts(render("overlayfs.mounts=/var", FSTABS["nofail"]))
    on_disk = ("prepare-var-overlay.service", "var.mount", "fallback-run-buildroot-mounts-var.service")
    in_memory = ("volatile-var-overlay.service", "mount-var-overlay.service", "run-buildroot-volatile-var.mount")
    for words in (["overlayfs.mounts"], ["overlayfs.mounts", "overlayfs.upper=volatile"]):
        memory = len(words) == 2
        assert all(conditions_hold(files[name], words) != memory for name in on_disk)
        assert all(conditions_hold(files[name], words) == memory for name in in_memory)


def test_services_that_tell_an_event_have_its_number() -> None:
    files = texts(render("overlayfs.mounts=/var", FSTABS["nofail"]))
    for name, event in (("warn", events.FELL_BACK), ("verify", events.READ_ONLY), ("reset", events.RESET_DONE)):
        service = parse(files[f"{name}-var-overlay.service"])["Service"]
        assert any(line.startswith(f"LogExtraFields=MESSAGE_ID={event} ") for line in service), name
        assert "LogExtraFields=OVERLAY_WHERE=/var" in service
    assert "/bin/echo" in files["reset-var-overlay.service"], "an event is a line"


def test_memory_in_place_of_a_disk_that_is_known_beforehand_fails_unless_it_is_asked_for() -> None:
    def plan(words: str) -> Plan:
        found = make_plan(words)
        for mount in found.mounts:
            mount.backing.lost = "" if "volatile" in words else "why"
        return found

    words = "overlayfs.mounts=/var"
    text = texts(units.render(plan(words), plan(words + " overlayfs.upper=volatile")))[
        "overlay-not-persistent@var.service"
    ]
    assert "--status=why" in text
    assert "ConditionPathExists=/run/overlay-generator" not in text
    assert "ConditionKernelCommandLine=!overlayfs.upper=volatile" in text
