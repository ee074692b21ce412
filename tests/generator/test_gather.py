# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is read from a machine: trees in a fake file system, and one real FIFO."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from overlay_generator import entries, gather, inside
from overlay_generator import look as look_module
from overlay_generator.model import Directory, FstabEntry, Inputs, Mounted, Problem, Request, Unit

BACKING = "/run/buildroot/mounts/var"
RELEASE = "6.1.0-test"
MODULES = f"/usr/lib/modules/{RELEASE}"


@pytest.fixture
def machine(fs: FakeFilesystem, monkeypatch: pytest.MonkeyPatch) -> FakeFilesystem:
    """An empty machine. gather uses posix where the fake has os; what the fake lacks stands in for it here."""
    monkeypatch.setattr(gather, "posix", os)
    monkeypatch.setattr(inside, "posix", os)
    monkeypatch.setattr(entries, "posix", os)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=RELEASE, machine="x86_64"))
    monkeypatch.setattr(look_module, "posix", os)
    monkeypatch.setattr(os, "listxattr", lambda path: ["user.x"] if path.endswith("labelled") else [])
    fs.create_dir("/var")
    return fs


def look(*mounts: str, environ: "dict[str, str] | None" = None, **request: object) -> Inputs:
    wanted = Request("/proc/cmdline", mounts or ("/var",), **request)  # type: ignore[arg-type]
    return gather.gather("", {"SYSTEMD_IN_INITRD": "0", **(environ or {})}, wanted)


@pytest.mark.parametrize(("environ", "release_file", "expected"), [
    ({"SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "0"}, False, ""),
    ({"SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "0"}, True, ""),
    ({"SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "1"}, False, "initrd"),
    ({"SYSTEMD_IN_INITRD": "yes"}, False, "initrd"),
    ({"SYSTEMD_IN_INITRD": "no"}, True, ""),
    ({"SYSTEMD_SCOPE": "user", "SYSTEMD_IN_INITRD": "1"}, True, "user"),
    ({"SYSTEMD_SCOPE": "user"}, False, "user"),
    ({}, False, ""),
    ({}, True, "initrd"),
    ({"SYSTEMD_SCOPE": "system"}, True, "initrd"),
])  # fmt: skip
def test_context(environ: "dict[str, str]", release_file: bool, expected: str, machine: FakeFilesystem) -> None:
    if release_file:
        machine.create_file("/image/etc/initrd-release")
    assert gather.read_context("/image", environ) == expected


@pytest.mark.parametrize(("environ", "file", "container"), [
    ({"SYSTEMD_SCOPE": "system"}, "", False),
    ({"SYSTEMD_SCOPE": "system", "SYSTEMD_VIRTUALIZATION": "vm:kvm"}, "", False),
    ({"SYSTEMD_SCOPE": "system", "SYSTEMD_VIRTUALIZATION": "container:lxc"}, "", True),
    ({"SYSTEMD_VIRTUALIZATION": "container:systemd-nspawn"}, "", True),
    ({"SYSTEMD_SCOPE": "system", "container": "x"}, "/run/systemd/container", False),
    ({}, "", False),
    ({"container": "docker"}, "", True),
    ({"container": ""}, "", False),
    ({}, "/run/host/container-manager", True),
    ({}, "/run/systemd/container", True),
])  # fmt: skip
def test_command_line_of_machine_and_container(
    environ: "dict[str, str]", file: str, container: bool, machine: FakeFilesystem
) -> None:
    machine.create_file("/proc/cmdline", contents=b"host \xff\n")
    machine.create_file("/proc/1/cmdline", contents=b"init\0argument\0")
    if file:
        machine.create_file(file)
    expected = ("init\0argument\0", "/proc/1/cmdline") if container else ("host \udcff\n", "/proc/cmdline")
    assert gather.read_command_line("", environ) == expected


@pytest.mark.parametrize("given", ["", "overlayfs.mounts=/x"])
def test_the_environment_s_command_line_replaces_both(given: str, machine: FakeFilesystem) -> None:
    environ = {"SYSTEMD_PROC_CMDLINE": given, "SYSTEMD_VIRTUALIZATION": "container:lxc"}
    assert gather.read_command_line("/nowhere", environ) == (given, "/proc/cmdline")
    assert not machine.exists("/proc/cmdline")


def test_no_command_line_is_an_error_that_names_it(machine: FakeFilesystem) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        gather.read_command_line("/image", {})
    assert caught.value.filename == "/image/proc/cmdline"
    assert not machine.exists("/image")


def test_the_environment_is_read_with_bytes_that_are_not_utf_8(
    machine: FakeFilesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine.exists("/var")
    monkeypatch.setattr(gather, "posix", SimpleNamespace(environ={b"A": b"\xff", b"B": "é".encode()}))
    assert gather.read_environ() == {"A": "\udcff", "B": "é"}


def test_a_large_file_is_read_whole_up_to_a_limit(machine: FakeFilesystem) -> None:
    machine.create_file("/large", contents=b"x" * (3 << 20))
    machine.create_file("/huge", contents=b"x" * (20 << 20))
    assert len(gather.read_file("/large")) == 3 << 20
    assert 16 << 20 <= len(gather.read_file("/huge")) <= 18 << 20


@pytest.mark.parametrize(("where", "expected"), [
    ("/var", Directory("directory")),
    ("/modes", Directory("directory", "", 0o2775, 5, 6)),
    ("/labelled", Directory("directory", labelled=True)),
    ("/missing", Directory("missing", "/missing")),
    ("/missing/below", Directory("missing", "/missing")),
    ("/file", Directory("file")),
    ("/file/below", Directory("missing", "/file/below")),
    ("/link", Directory("symlink", "/link is a symbolic link to var")),
    ("/link/below/it", Directory("symlink", "/link is a symbolic link to var")),
    ("/dangling", Directory("symlink", "/dangling is a symbolic link to /nowhere")),
    ("/mounted", Directory("unseen")),
    ("/mounted/below", Directory("unseen")),
])  # fmt: skip
def test_what_stands_at_a_path(where: str, expected: Directory, machine: FakeFilesystem) -> None:
    machine.create_dir("/modes")
    os.chmod("/modes", 0o2775)
    os.chown("/modes", 5, 6)
    machine.create_dir("/labelled")
    machine.create_file("/file")
    machine.create_symlink("/link", "var")
    machine.create_symlink("/dangling", "/nowhere")
    machine.create_file("/etc/fstab", contents="/dev/sda1 / ext4\n/dev/sda2 /mounted ext4\n")
    assert look(where).directories == {where: expected}


ETC, RUN = "/etc/systemd/system", "/run/systemd/system"
LOCAL, VENDOR = "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"


@pytest.mark.parametrize(("files", "expected"), [
    ({}, None),
    ({f"{ETC}/var.mount": "-> /dev/null"}, Unit("mask", f"{ETC}/var.mount")),
    ({f"{RUN}/var.mount": "-> /dev/null"}, Unit("mask", f"{RUN}/var.mount")),
    ({f"{ETC}/var.mount": ""}, Unit("mask", f"{ETC}/var.mount")),
    ({f"{VENDOR}/var.mount": "-> /dev/null"}, Unit("mask", f"{VENDOR}/var.mount")),
    ({f"{ETC}/var.mount": "x"}, Unit("provided", f"{ETC}/var.mount")),
    ({f"{ETC}/var.mount": "-> ../other"}, Unit("provided", f"{ETC}/var.mount")),
    ({f"{RUN}/var.mount": "x", f"{ETC}/var.mount": "-> /dev/null"}, Unit("mask", f"{ETC}/var.mount")),
    ({f"{RUN}/var.mount": "-> /dev/null", f"{ETC}/var.mount": "x"}, Unit("provided", f"{ETC}/var.mount")),
    ({f"{VENDOR}/var.mount": "", f"{RUN}/var.mount": "x"}, Unit("provided", f"{RUN}/var.mount")),
    ({f"{RUN}.control/var.mount": "x", f"{ETC}/var.mount": ""}, Unit("provided", f"{RUN}.control/var.mount")),
    ({f"{ETC}.control/var.mount": "", f"{RUN}.control/var.mount": "x"}, Unit("mask", f"{ETC}.control/var.mount")),
    ({f"{VENDOR}/var.mount": "x"}, Unit("vendor", f"{VENDOR}/var.mount")),
    ({"/lib/systemd/system/var.mount": "x"}, Unit("vendor", "/lib/systemd/system/var.mount")),
    ({f"{LOCAL}/var.mount": "x", f"{VENDOR}/var.mount": BACKING}, Unit("vendor", f"{LOCAL}/var.mount")),
    ({f"{VENDOR}/var.mount": f"upperdir={BACKING}/upper"}, Unit("buildroot", f"{VENDOR}/var.mount")),
    ({f"{ETC}/var.mount": f"upperdir={BACKING}/upper"}, Unit("provided", f"{ETC}/var.mount")),
    ({f"{ETC}/home.mount": "x"}, None),
])  # fmt: skip
def test_the_highest_unit_file_counts(
    files: "dict[str, str]", expected: "Unit | None", machine: FakeFilesystem
) -> None:
    for path, text in files.items():
        if text.startswith("-> "):
            machine.create_symlink(path, text[3:])
        else:
            machine.create_file(path, contents=text)
    assert look().units == ({"var.mount": expected} if expected else {})


def test_all_three_units_of_each_path_are_looked_for(machine: FakeFilesystem) -> None:
    names = ["home.mount", "prepare-home-overlay.service", "run-buildroot-mounts-home.mount"]
    for name in names:
        machine.create_file(f"{ETC}/{name}", contents="x")
    # Nothing requires the one at the backing directory.
    expected = {name: Unit("provided", f"{ETC}/{name}", not name.startswith("run-")) for name in names}
    assert look("/var", "/home").units == expected


@pytest.mark.parametrize("directory", [ETC, RUN, "/usr/lib/systemd/system"])
def test_a_mount_at_the_backing_is_required_if_local_fs_target_requires_it(
    directory: str, machine: FakeFilesystem
) -> None:
    name = "run-buildroot-mounts-var.mount"
    machine.create_file(f"{ETC}/{name}", contents="x")
    machine.create_symlink(f"{directory}/local-fs.target.requires/{name}", f"../{name}")
    assert look("/var").units == {name: Unit("provided", f"{ETC}/{name}", True)}


OVERLAY_KO = "kernel/fs/overlayfs/overlay.ko"
MODULE = {f"{MODULES}/modules.dep": f"{OVERLAY_KO}.xz:\n", f"{MODULES}/{OVERLAY_KO}.xz": "x"}


@pytest.mark.parametrize(("files", "expected"), [
    ({}, ("absent", RELEASE)),
    ({f"{MODULES}/modules.builtin": f"kernel/a.ko\n{OVERLAY_KO}\n"}, ("built in", RELEASE)),
    (MODULE, ("module", RELEASE)),
    ({f"{MODULES}/modules.dep": f"{OVERLAY_KO}:\n"}, ("absent", RELEASE)),
    ({"/usr/lib/modules/5.0/modules.builtin": f"{OVERLAY_KO}\n"}, ("absent", RELEASE)),
    ({f"/lib/modules/{RELEASE}/modules.builtin": f"{OVERLAY_KO}\n"}, ("built in", RELEASE)),
    ({"/proc/filesystems": "nodev\toverlay\n"}, ("built in", RELEASE)),
    ({"/proc/filesystems": "nodev\ttmpfs\n"}, ("absent", RELEASE)),
    ({**MODULE, "/proc/filesystems": "nodev\toverlay\n"}, ("module", RELEASE)),
    ({**MODULE, f"{MODULES}/modules.builtin": f"{OVERLAY_KO}\n"}, ("built in", RELEASE)),
])  # fmt: skip
def test_how_the_running_kernel_has_overlayfs(
    files: "dict[str, str]", expected: "tuple[str, str]", machine: FakeFilesystem
) -> None:
    for path, text in files.items():
        machine.create_file(path, contents=text)
    inputs = look()
    assert (inputs.kernel, inputs.release) == expected


@pytest.mark.parametrize(("files", "expected"), [
    ({}, ("unknown", "")),
    ({f"{MODULES}/modules.builtin": f"{OVERLAY_KO}\n"}, ("built in", RELEASE)),
    ({"/usr/lib/modules/5.0/a": "", f"{MODULES}/modules.builtin": f"{OVERLAY_KO}\n"}, ("built in", RELEASE)),
    ({"/proc/sys/kernel/osrelease": "5.0\n", f"{MODULES}/modules.builtin": f"{OVERLAY_KO}\n"}, ("absent", "5.0")),
    ({f"{MODULES}/modules.builtin": "kernel/a.ko\n"}, ("absent", RELEASE)),
])  # fmt: skip
def test_how_a_kernel_of_an_image_has_overlayfs(
    files: "dict[str, str]", expected: "tuple[str, str]", machine: FakeFilesystem
) -> None:
    for path, text in files.items():
        machine.create_file("/image" + path, contents=text)
    inputs = gather.gather("/image", {}, Request("/proc/cmdline"))
    assert (inputs.kernel, inputs.release, inputs.library) == (*expected, "/usr/lib/overlay-generator")


MOUNTINFO = b"""\
21 1 254:0 / / ro,relatime shared:1 - squashfs /dev/root ro,errors=continue
22 21 0:5 / /home rw - ext4 /dev/sda3 rw
30 21 0:40 / /var ro,relatime shared:9 master:1 - overlay overlay rw,lowerdir=/l,upperdir=/u
31 30 8:2 / /var/my\\040log rw - ext4 /dev/sda4 rw,data=ordered
32 21 8:3 / /variable rw - ext4 /dev/sda5 rw
33 21 0:41 / /run/buildroot/mounts/var rw - tmpfs tmpfs rw,size=1k
34 33 0:42 / /run/buildroot/mounts/var/lower ro - squashfs /dev/root ro
35 21 0:43 / /var/\xff rw shared:2 propagate_from:3 - tmpfs - rw
36 21 0:44 / /var/short rw -
garbage /var

37 21 / /var/few - ext4 a b
"""


def test_what_is_mounted_at_and_below_the_paths_and_at_their_backings(machine: FakeFilesystem) -> None:
    machine.create_file("/proc/self/mountinfo", contents=MOUNTINFO)
    assert look().mounted == (
        Mounted("/var", "overlay", "rw,lowerdir=/l,upperdir=/u", "ro,relatime"),
        Mounted("/var/my log", "ext4", "rw,data=ordered"),
        Mounted(BACKING, "tmpfs", "rw,size=1k"),
        Mounted("/var/\udcff", "tmpfs", "rw"),
    )


LAST = "/proc/cmdline (systemd.mount-extra=)"
EXTRA = FstabEntry("c", "/c", "", "", LAST)


@pytest.mark.parametrize(("environ", "request_", "expected"), [
    ({}, {}, ["/etc/fstab"]),
    ({"SYSTEMD_FSTAB": "/other"}, {}, ["/other"]),
    ({"SYSTEMD_FSTAB": "/missing"}, {}, []),
    ({}, {"read_fstab": False}, []),
    (
        {"CREDENTIALS_DIRECTORY": "/creds"},
        {"entries": (EXTRA,)},
        ["/etc/fstab", EXTRA.source, "/creds/fstab.extra"],
    ),
    ({"CREDENTIALS_DIRECTORY": "/creds"}, {"read_fstab": False}, ["/creds/fstab.extra"]),
    ({"CREDENTIALS_DIRECTORY": "/empty"}, {}, ["/etc/fstab"]),
    ({"ENCRYPTED_CREDENTIALS_DIRECTORY": "/empty"}, {}, ["/etc/fstab"]),
])  # fmt: skip
def test_entries_come_from_fstab_then_kernel_command_line_then_credential(
    environ: "dict[str, str]", request_: "dict[str, object]", expected: "list[str]", machine: FakeFilesystem
) -> None:
    for path in ("/etc/fstab", "/other", "/creds/fstab.extra"):
        machine.create_file(path, contents=f"x {path} ext4\n")
    inputs = look(environ=environ, **request_)
    assert [entry.source for entry in inputs.entries] == expected
    assert inputs.problems == ()


def test_an_encrypted_credential_is_a_problem(machine: FakeFilesystem) -> None:
    machine.create_file("/secret/fstab.extra", contents="?")
    inputs = look(environ={"ENCRYPTED_CREDENTIALS_DIRECTORY": "/secret"})
    text = "is encrypted and can't be read this early; mounts that it has are not taken into account"
    assert inputs.problems == (Problem(text, "/secret/fstab.extra"),)


def test_a_machine_with_nothing_is_read_too(machine: FakeFilesystem) -> None:
    machine.rmdir("/var")
    expected = Inputs(Request("/proc/cmdline", ("/var",)), directories={"/var": Directory("missing", "/var")})
    inputs = gather.gather("/image", {}, expected.request)
    expected.kernel = "unknown"
    expected.shell = False
    assert inputs == expected


def test_a_shell_is_looked_for_where_units_will_call_it(machine: FakeFilesystem) -> None:
    request = Request("/proc/cmdline", ("/var",))
    assert gather.gather("/image", {}, request).shell is False
    machine.create_symlink("/image/bin/sh", "busybox")
    assert gather.gather("/image", {}, request).shell is True


def test_on_a_real_tree_a_fifo_is_not_waited_for_and_a_nul_is_no_path(tmp_path: Path) -> None:
    for name in ("etc", "run/fstab.extra"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("etc/fstab", "file"):
        os.mkfifo(tmp_path / name)
    request = Request("/proc/cmdline", ("/etc", "/file", "/a\0b"))
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("a FIFO is waited for"))
    signal.alarm(5)
    inputs = gather.gather(str(tmp_path), {"CREDENTIALS_DIRECTORY": "/run"}, request)
    signal.alarm(0)
    assert inputs.entries == ()
    text = "can't be read (Is a directory), and is treated as empty"
    assert inputs.problems == (Problem(text, "/run/fstab.extra", hides=("/",)),)
    labelled = bool(os.listxattr(tmp_path / "etc"))
    expected = [Directory("directory", labelled=labelled), Directory("file"), Directory("unseen")]
    assert list(inputs.directories.values()) == expected


@pytest.mark.parametrize(
    ("machine", "expected"),
    [("x86_64", True), ("aarch64", True), ("s390x", True), ("ppc64le", True), ("armv7l", False), ("i686", False)],
)
def test_how_many_bits_the_kernel_has(machine: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "posix", SimpleNamespace(uname=lambda: SimpleNamespace(machine=machine)))
    assert gather._is_wide("") is expected


@pytest.mark.parametrize(("start", "expected"), [(b"\x7fELF\x01", False), (b"\x7fELF\x02", True), (b"", True)])
def test_how_many_bits_an_image_has(start: bytes, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "usr/lib/systemd").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/systemd").write_bytes(start)
    assert gather._is_wide(str(tmp_path)) is expected
    assert gather._is_wide(str(tmp_path / "nowhere")) is True
