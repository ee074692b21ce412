# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy: one table per rule of decide.py, their order, and what is decided for an accepted directory."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay_generator import model
from overlay_generator.decide import decide
from overlay_generator.model import Backing, Directory, FstabEntry, Inputs, Mounted, OverlayMount, Plan, Request, Unit
from overlay_generator.names import find_fault

Entries = tuple[FstabEntry, ...]

CMDLINE = "/proc/cmdline"
ROOT = "/run/buildroot/mounts"
OURS = Mounted("/var", "overlay", f"rw,lowerdir={ROOT}/var/lower,upperdir={ROOT}/var/upper,workdir={ROOT}/var/work")


def entry(where: str, fstype: str = "ext4", options: str = "", what: str = "/dev/sda2", line: int = 7) -> FstabEntry:
    return FstabEntry(what, where, fstype, options, "/etc/fstab", line)


def inputs(*mounts: str, masked: "tuple[str, ...]" = (), volatile: str = "", **others: Any) -> Inputs:
    mounts = mounts or ("/var",)
    known = {where: Directory("directory") for where in mounts}
    directories = {**known, **others.pop("directories", {})}
    return Inputs(Request(CMDLINE, mounts, masked=masked, volatile=volatile), directories=directories, **others)


def refusal(values: Inputs, level: str = "notice") -> str:
    plan = decide(values)
    assert plan.mounts == ()
    assert [(skipped.where, skipped.level) for skipped in plan.skipped] == [(values.request.mounts[0], level)]
    return plan.skipped[0].reason


def mount(values: Inputs) -> OverlayMount:
    plan = decide(values)
    assert plan.skipped == ()
    return plan.mounts[0]


def test_a_plain_directory_is_overlaid_in_memory() -> None:
    backing = Backing(f"{ROOT}/var", f"{ROOT}/var", True, True, False, CMDLINE)
    assert decide(inputs("/var")) == Plan((OverlayMount("/var", "var", backing, Directory("directory")),))


@pytest.mark.parametrize(
    ("where", "reason"),
    [("/var/../etc", '".."'), ("/a\nb", "control"), ("/a\udcff", "UTF-8"), ("/a ", "blank"), ("/" + "x" * 256, "long")],
)
def test_rule_1_no_unit_can_be_written(where: str, reason: str) -> None:
    assert reason in refusal(inputs(where), "error")


@pytest.mark.parametrize(("where", "reason"), [
    ("/", "once it is running"),
    ("/usr", "PID 1 runs from it"), ("/etc", "PID 1 has read it"), ("/etc/systemd", "PID 1 has read it"),
    ("/etc/systemd/system", "it lies in /etc/systemd: PID 1 has read it"),
    ("/usr/lib/systemd/system", "it lies in /usr/lib/systemd"),
    ("/run", "file system of the kernel or of PID 1"),
    ("/run/user", "it lies in /run"), ("/proc/x", "it lies in /proc"), ("/dev/shm", "it lies in /dev"),
    ("/sys", "file system of the kernel"),
    (ROOT, "inside a backing directory"), (f"{ROOT}/var", "inside a backing directory"),
])  # fmt: skip
def test_rule_2_an_overlay_there_is_never_right(where: str, reason: str) -> None:
    assert reason in refusal(inputs(where), "error")


@pytest.mark.parametrize("where", ["/usr/local", "/usr/lib", "/etc/ssh", "/opt", "/running", "/device", "/systemd"])
def test_rule_2_refuses_no_neighbour(where: str) -> None:
    assert mount(inputs(where)).where == where


@pytest.mark.parametrize(("context", "word"), [("initrd", "initrd"), ("user", "user's service manager")])
def test_rule_3_the_initrd_and_a_user_s_manager_are_left_alone_quietly(context: str, word: str) -> None:
    assert word in refusal(inputs("/var", context=context), "quiet")


@pytest.mark.parametrize(("volatile", "where", "accepted"), [
    ("state", "/var", False), ("state", "/var/lib", False), ("state", "/home", True), ("state", "/variable", True),
    ("yes", "/home", False), ("overlay", "/home", False), ("", "/var", True),
])  # fmt: skip
def test_rule_4_systemd_volatile_makes_it_writable_already(volatile: str, where: str, accepted: bool) -> None:
    plan = decide(inputs(where, volatile=volatile))
    assert bool(plan.mounts) is accepted
    assert [f"systemd.volatile={volatile} " in skipped.reason for skipped in plan.skipped] == [True] * (not accepted)


def test_rule_5_fstab_mounts_something_there() -> None:
    entries = (entry("/srv"), entry("/var", what="LABEL=state", line=3), entry("/var", line=9))
    assert refusal(inputs(entries=entries)) == "/etc/fstab:3 mounts LABEL=state there"


@pytest.mark.parametrize("where", ["/", "/var/log", "/variable", "/va"])
def test_rule_5_other_mount_points_do_not_matter(where: str) -> None:
    assert mount(inputs(entries=(entry(where),))).where == "/var"


@pytest.mark.parametrize("unit", ["var.mount", "prepare-var-overlay.service", "run-buildroot-mounts-var.mount"])
def test_rule_6_a_masked_unit(unit: str) -> None:
    reason = f"{unit} is masked by systemd.mask= on the kernel command line"
    assert refusal(inputs(masked=(unit,))) == reason
    assert refusal(inputs(units={unit: Unit("mask", f"/etc/{unit}")})) == f"{unit} is masked by /etc/{unit}"


@pytest.mark.parametrize("kind", ["provided", "vendor"])
def test_rule_6_a_mount_unit_of_somebody_else(kind: str) -> None:
    assert refusal(inputs(units={"var.mount": Unit(kind, "/x/var.mount")})) == "/x/var.mount provides var.mount"


@pytest.mark.parametrize(("name", "kind"), [("var.mount", "buildroot"), ("prepare-var-overlay.service", "provided")])
def test_rule_6_the_static_unit_or_a_prepare_service_is_no_reason(name: str, kind: str) -> None:
    assert mount(inputs(units={name: Unit(kind, f"/x/{name}")})).where == "/var"


@pytest.mark.parametrize(("mounted", "reason"), [
    ([Mounted("/var", "ext4", "rw")], "a file system of type ext4 is mounted there already"),
    ([Mounted("/var", "ext4", "rw"), Mounted("/var", "tmpfs", "rw")], "of type tmpfs is mounted there"),
    ([Mounted("/var", "overlay", "rw,upperdir=/x")], "of type overlay is mounted there already"),
    ([Mounted("/var", "overlay", f"rw,upperdir={ROOT}/var/upper2")], "of type overlay is mounted there already"),
    ([Mounted("/var/lib/x", "tmpfs", "rw")], "/var/lib/x below it is mounted already, and would be hidden"),
])  # fmt: skip
def test_rule_7_mounted_already(mounted: "list[Mounted]", reason: str) -> None:
    assert reason in refusal(inputs(mounted=tuple(mounted)))


@pytest.mark.parametrize("more", [(), (Mounted("/var/log", "ext4", "rw"),), (Mounted("/var", "tmpfs", "rw"),)])
def test_rule_7_our_own_overlay_found_at_a_reload_is_no_reason(more: "tuple[Mounted, ...]") -> None:
    assert decide(inputs(mounted=(OURS, *more))) == decide(inputs())


@pytest.mark.parametrize(("directory", "reason", "level"), [
    (Directory("symlink", "/var is a symbolic link to x"), "/var is a symbolic link to x; ask for the", "notice"),
    (Directory("missing", "/var"), "/var does not exist in the image; create it there", "error"),
    (Directory("file"), "it is not a directory", "error"),
])  # fmt: skip
def test_rule_8_no_directory_of_the_image(directory: Directory, reason: str, level: str) -> None:
    assert reason in refusal(inputs(directories={"/var": directory}), level)


def test_rule_8_a_directory_that_can_not_be_looked_at_is_accepted() -> None:
    assert mount(inputs(directories={"/var": Directory("unseen")})).directory == Directory("unseen")


@pytest.mark.parametrize(("release", "name"), [("6.1.0-x", "kernel 6.1.0-x has"), ("", "the kernel has")])
def test_rule_9_no_overlayfs(release: str, name: str) -> None:
    reason = refusal(inputs(kernel="absent", release=release), "error")
    assert reason.startswith(name)
    assert "CONFIG_OVERLAY_FS" in reason


@pytest.mark.parametrize(("kernel", "load"), [("built in", False), ("module", True), ("unknown", False)])
def test_rule_9_only_a_module_is_loaded(kernel: str, load: bool) -> None:
    assert decide(inputs(kernel=kernel)).load_module is load


@pytest.mark.parametrize(("found", "reason"), [
    (entry(f"{ROOT}/var", "vfat"), "mounts vfat at /run/buildroot/mounts/var, which can't hold an upper layer"),
    (entry(ROOT, "nfs"), "mounts nfs at /run/buildroot/mounts, which can't hold"),
    (entry("/run/buildroot", "squashfs"), "mounts squashfs at /run/buildroot, which can't hold"),
    (entry(f"{ROOT}/var/upper"), "upper and work must be on one mount: mount it at /run/buildroot/mounts/var"),
    (entry(f"{ROOT}/var/a/b"), "upper and work must be on one mount"),
])  # fmt: skip
def test_rule_10_nothing_to_hold_the_upper_layer(found: FstabEntry, reason: str) -> None:
    given = refusal(inputs(entries=(found,)), "error")
    assert given.startswith("/etc/fstab:7 mounts")
    assert reason in given


# One obstacle for each rule from 3 on, all of them on /var and none in another's way.
OBSTACLES: "list[tuple[str, str, dict[str, Any]]]" = [
    ("initrd", "quiet", {"context": "initrd"}),
    ("systemd.volatile=", "notice", {"volatile": "yes"}),
    ("mounts /dev/sda2 there", "notice", {"entries": (entry("/var"), entry(f"{ROOT}/var", "vfat"))}),
    ("is masked", "notice", {"masked": ("var.mount",)}),
    ("mounted there already", "notice", {"mounted": (Mounted("/var", "ext4", "rw"),)}),
    ("does not exist", "error", {"directories": {"/var": Directory("missing", "/var")}}),
    ("overlayfs neither", "error", {"kernel": "absent"}),
    ("can't hold", "error", {"entries": (entry(f"{ROOT}/var", "vfat"),)}),
]


@pytest.mark.parametrize("first", range(len(OBSTACLES)))
def test_the_first_rule_that_holds_gives_the_reason(first: int) -> None:
    reason, level, _ = OBSTACLES[first]
    arguments: dict[str, Any] = {}
    for _, _, obstacle in reversed(OBSTACLES[first:]):
        arguments.update(obstacle)
    assert reason in refusal(inputs("/var", **arguments), level)


def test_the_path_s_own_faults_come_before_all_that_is_around_it() -> None:
    assert "blank" in refusal(inputs("/run/a ", context="initrd"), "error")
    assert "it lies in /run" in refusal(inputs("/run/a", context="initrd"), "error")


@pytest.mark.parametrize(("entries", "at", "volatile", "nofail"), [
    ((entry(f"{ROOT}/var"),), f"{ROOT}/var", False, False),
    ((entry(f"{ROOT}/var", "xfs", "noatime,nofail"),), f"{ROOT}/var", False, True),
    ((entry(f"{ROOT}/var", options="x-nofail,nofails"),), f"{ROOT}/var", False, False),
    ((entry(f"{ROOT}/var", "tmpfs"),), f"{ROOT}/var", True, False),
    ((entry(ROOT),), ROOT, False, False),
    ((entry("/run/buildroot", options="nofail"),), "/run/buildroot", False, True),
    ((entry(ROOT, "tmpfs"), entry(f"{ROOT}/var")), f"{ROOT}/var", False, False),
    ((entry(f"{ROOT}/var"), entry(f"{ROOT}/var", "tmpfs", "nofail")), f"{ROOT}/var", False, False),
])  # fmt: skip
def test_the_owner_s_mount_holds_the_upper_layer(entries: Entries, at: str, volatile: bool, nofail: bool) -> None:
    fstype = next(entry.fstype for entry in entries if entry.where == at)
    expected = Backing(f"{ROOT}/var", at, False, volatile, nofail, "/etc/fstab", fstype)
    assert mount(inputs(entries=entries)).backing == expected


VOLATILE = Backing("/run/buildroot/volatile/var", "/run/buildroot/volatile/var", True, True, False, CMDLINE)


@pytest.mark.parametrize(("entries", "backing"), [
    ((entry(f"{ROOT}/var"),), VOLATILE),
    ((entry(ROOT, options="nofail"),), VOLATILE),
    ((entry(f"{ROOT}/var", "vfat"),), VOLATILE),
    ((entry(ROOT, "tmpfs"),), Backing(f"{ROOT}/var", ROOT, False, True, False, "/etc/fstab", "tmpfs")),
    ((), Backing(f"{ROOT}/var", f"{ROOT}/var", True, True, False, CMDLINE)),
])  # fmt: skip
def test_a_boot_in_memory_leaves_what_persists_where_it_is(entries: Entries, backing: Backing) -> None:
    asked = inputs(entries=entries)
    asked.request.in_memory = True
    assert mount(asked).backing == backing


def test_a_mount_at_run_holds_no_upper_layer() -> None:
    assert mount(inputs(entries=(entry("/run", "tmpfs"),))).backing.tmpfs


def test_the_kernel_command_line_is_named_as_source_without_its_key() -> None:
    extra = FstabEntry("LABEL=x", f"{ROOT}/var", "ext4", "", f"{CMDLINE} (systemd.mount-extra=)")
    assert mount(inputs(entries=(extra,))).backing.source == CMDLINE


@pytest.mark.parametrize(("units", "mounted", "source"), [
    ({"run-buildroot-mounts-var.mount": Unit("provided", "/etc/x.mount")}, (), "/etc/x.mount"),
    ({"run-buildroot-mounts-var.mount": Unit("vendor", "/usr/x.mount")}, (), "/usr/x.mount"),
    ({}, (Mounted(f"{ROOT}/var", "ext4", "rw"),), CMDLINE),
    ({"run-buildroot-mounts-var.mount": Unit("provided", "/etc/x.mount", False)}, (), "/etc/x.mount"),
])  # fmt: skip
def test_what_others_mount_is_taken_for_a_disk(units: Any, mounted: "tuple[Mounted, ...]", source: str) -> None:
    nofail = any(not unit.required for unit in units.values())
    expected = Backing(f"{ROOT}/var", f"{ROOT}/var", False, False, nofail, source)
    assert mount(inputs(units=units, mounted=mounted)).backing == expected


def test_one_disk_holds_several_directories() -> None:
    plan = decide(inputs("/var", "/home", entries=(entry(ROOT),)))
    assert [found.backing.path for found in plan.mounts] == [f"{ROOT}/var", f"{ROOT}/home"]
    assert [found.backing.mount for found in plan.mounts] == [ROOT, ROOT]


@pytest.mark.parametrize(("count", "entries", "size"), [
    (1, (), 25), (2, (), 25), (3, (), 16), (5, (), 10), (100, (), 1),
    (3, (entry(f"{ROOT}/d0"),), 25),
    (3, (entry(f"{ROOT}/d0", options="nofail"),), 16),
    (3, (entry(ROOT),), 25),
])  # fmt: skip
def test_all_tmpfs_together_take_half_of_memory_at_most(count: int, entries: Entries, size: int) -> None:
    plan = decide(inputs(*(f"/d{number}" for number in range(count)), entries=entries))
    assert (len(plan.mounts), plan.size) == (count, size)


@pytest.mark.parametrize(("mounts", "entries", "expected"), [
    (("/var", "/var/lib"), (), ("/", ("var.mount",), False)),
    (("/a", "/a/b", "/a/b/c"), (), ("/", ("a-b.mount", "a.mount"), False)),
    (("/var/lib",), (), ("/var", (), False)),
    (("/var", "/var/lib/x"), (entry("/var/lib"),), ("/var/lib", (), False)),
    (("/a/b", "/a/b/c"), (entry("/a"),), ("/a", ("a-b.mount",), False)),
    (("/a/b/c",), (entry("/a", options="nofail"),), ("/a/b", (), True)),
    (("/a", "/a/b/c"), (entry("/a/b", options="nofail"), entry("/a")), ("/a/b", (), True)),
    (("/var", "/var/lib"), (entry("/var", options="ro"),), ("/var", (), False)),
])  # fmt: skip
def test_an_overlay_is_ordered_among_the_mounts_around_it(mounts: Any, entries: Entries, expected: Any) -> None:
    inner = decide(inputs(*mounts, entries=entries)).mounts[-1]
    assert inner.where == mounts[-1]
    assert (inner.parent, inner.before, inner.optional) == expected


pick = st.sampled_from
PATHS = pick(["/", "/var", "/var/lib", "/var/lib/x", "/home", "/run", "/a b", "/a ", "/x/..", "/\u00e9", ROOT])
PLACES = PATHS | pick(["/run/buildroot", f"{ROOT}/var", f"{ROOT}/var-lib", f"{ROOT}/var/upper"])
UNITS = pick(["var.mount", "home.mount", "prepare-var-overlay.service", "run-buildroot-mounts-var.mount"])
ENTRIES = st.builds(entry, PLACES, pick(["ext4", "tmpfs", "vfat"]), pick(["", "nofail"]))
REQUESTS = st.builds(
    Request,
    pick([CMDLINE]),
    mounts=st.lists(PATHS, unique=True).map(tuple),
    problems=pick([(), (model.Problem("wrong"),)]),
    masked=st.lists(UNITS, max_size=1).map(tuple),
    volatile=pick(["", "", "yes", "state"]),
)
INPUTS = st.builds(
    Inputs,
    REQUESTS,
    entries=st.lists(ENTRIES, max_size=4).map(tuple),
    problems=pick([(), (model.Problem("also wrong"),)]),
    directories=st.dictionaries(PATHS, pick(["directory", "symlink", "missing", "file", "unseen"]).map(Directory)),
    units=st.dictionaries(UNITS, pick(["mask", "provided", "vendor", "buildroot"]).map(lambda kind: Unit(kind, "/x"))),
    mounted=st.lists(st.builds(Mounted, PLACES, pick(["ext4", "overlay"]), pick(["rw"])), max_size=3).map(tuple),
    kernel=pick(["built in", "module", "unknown", "absent"]),
    context=pick(["", "", "initrd", "user"]),
)  # fmt: skip


@settings(max_examples=500)
@given(INPUTS)
def test_every_path_is_mounted_or_skipped_once_whatever_the_inputs(values: Inputs) -> None:
    plan = decide(values)
    done = [found.where for found in plan.mounts] + [skipped.where for skipped in plan.skipped]
    assert sorted(done) == sorted(values.request.mounts)
    assert plan.problems == values.request.problems + values.problems
    assert not [found for found in plan.mounts if find_fault(found.where)]


@pytest.mark.parametrize("sign", [":", ";", "+"])
def test_another_sign_than_a_comma_is_told(sign: str) -> None:
    where = f"/var{sign}/home"
    directory = Directory("missing", f"/var{sign}")
    plan = decide(Inputs(Request(CMDLINE, (where,)), directories={where: directory}))
    assert plan.skipped[0].reason.endswith("if several are meant, separate them by commas: /var,/home")
