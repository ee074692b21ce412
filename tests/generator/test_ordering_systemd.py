# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What would wait for itself is found as systemd finds it, and nothing else: both are asked about the same machine.

Each machine has a cycle if the directory is overlaid as fstab asks for, or only looks as if it had one.
"""

import os
from pathlib import Path

import pytest

from product import Run, skip_without_mount_namespace
from transaction import ask_both

TREES = ["/", *filter(None, os.environ.get("FSTAB_TREES", "").split(":"))]
V = "/run/buildroot/mounts/var"
DISK = f"LABEL=x {V} ext4 nofail\n"
MAPPED = f"/dev/mapper/d {V} ext4 defaults\n"
Files = dict[str, str]
UNIT = "[Unit]\nDefaultDependencies=no\n"
SERVICE = "[Service]\nExecStart=/bin/true\n"

NESTED = "/var,/var/lib"
# Where the cycle is: what is overlaid, fstab, further files, words of the messages.
CYCLES: "list[tuple[str, str, Files, tuple[str, ...]]]" = [
    # The upper layer of the outer overlay lies in the inner one.
    (NESTED, f"/var/lib/up {V} none bind\n", {}, ("/var is not overlaid: ", "takes /var/lib/up")),
    (NESTED, f"/var/lib/up {V} none bind,nofail\n", {}, ("the upper layer of /var: ", "/var is in memory")),
    (NESTED, f"/var/lib/var.img {V} ext4 loop\n", {}, ("/var is not overlaid: ", "takes /var/lib/var.img")),
    # The upper layer of the inner overlay lies in the outer one.
    (NESTED, f"/var/up {V}-lib none bind,nofail\n", {}, ("the upper layer of /var/lib: ", "/var/lib is in memory")),
    (NESTED, f"{DISK}/var/up {V}-lib none bind,nofail\n", {}, ("the upper layer of /var/lib: ",)),
    # A list of paths, with quotes or not.
    ("/var", f'/data/up {V} none bind,x-systemd.requires-mounts-for="/var/lib"\n', {}, ("/var is not overlaid: ",)),
    ("/var", f"/data/up {V} none bind,x-systemd.requires-mounts-for=/etc\\040/var/x\n", {}, ("not overlaid: ",)),
    # Memory is below what waits for it.
    ("/var", "/var/up /run/buildroot none bind,nofail\n", {}, ("/var is not overlaid: ", "/etc/fstab:1")),
    # A bind mount that says that it is a tmpfs.
    ("/var", f"/data /d tmpfs bind\n/d/up {V} none bind,nofail\n/var/swap none swap sw\n", {}, ("/var is in memory",)),
    # Mounts that want to be there before what they are on.
    ("/var", "LABEL=x /var/cache ext4 x-systemd.before=var.mount\n", {}, ("/etc/fstab:1: has to be there before",)),
    ("/var", f"LABEL=x /var/cache ext4 x-systemd.before={V}\n", {}, ("/var is not overlaid: ",)),
    ("/var", "LABEL=x /var/cache ext4 x-systemd.before=prepare-var-overlay.service\n", {}, ("/var is not overlaid: ",)),
    ("/var", f"{DISK}LABEL=y /var/cache ext4 x-systemd.before=fallback-run-buildroot-mounts-var.service\n", {}, ()),
    (NESTED, "LABEL=x /var/x ext4 x-systemd.before=prepare-var-lib-overlay.service\n", {}, ()),
    # Swap.
    ("/var", f"tmpfs /d tmpfs size=1M\n/d/up {V} none bind,nofail\n/var/swap none swap sw\n", {}, ("is in memory",)),
    ("/var", f"/data/up {V} none bind,x-systemd.requires=var-swap.swap\n/var/swap none swap sw\n", {}, ()),
    (
        "/var",
        f"/data/up {V} none bind,x-systemd.requires=var-x.automount\nLABEL=x /var/x ext4 x-systemd.automount\n",
        {},
        ("is not overlaid: ",),
    ),
    # What nothing starts but the overlay waits for itself.
    (
        "/var",
        f"tmpfs /run/buildroot tmpfs nofail\n/d {V} none bind,x-systemd.automount,x-systemd.before=/run/buildroot\n",
        {},
        ("/var is in memory",),
    ),
    # An owner's own unit.
    (
        "/var",
        "",
        {
            "/etc/systemd/system/run-buildroot-mounts-var.mount": f"[Mount]\nWhat=/var/up\nWhere={V}\nOptions=bind\n",
            "/etc/systemd/system/local-fs.target.requires/run-buildroot-mounts-var.mount": "",
        },
        ("run-buildroot-mounts-var.mount: can't hold", "/var is not overlaid: "),
    ),
]
# The files of crypttab: that file, and words of the messages.
VOLUMES = [
    ("d /dev/sda3 /var/keys/host:data.key luks\n", "has its key in /var/keys/host:data.key"),
    ("d /dev/sda3 /k:/dev/mapper/e luks\ne /dev/sda4 /var/key luks\n", "has its key in /var/key"),
    ("d /dev/sda3 none header=/h:/dev/mapper/e\ne /dev/sda4 /var/key luks\n", "has its key in /var/key"),
    ("d /dev/sda3 none header=/etc/h,header=/var/h\n", "has its header in /var/h"),
    ("d /dev/sda3 /var/key luks\nd /dev/sda3 /etc/key luks\n", "has its key in /var/key"),
    ("d /dev/sda3 //dev/urandom luks\n", "has a random key"),
    ("# other\rd /dev/sda3 /var/key luks\n", "has its key in /var/key"),
]
# What a unit says that the disk waits for: its name, its files.
UNITS: "list[tuple[str, Files]]" = [
    ("e.service", {"e.service": f"{UNIT}{SERVICE}WorkingDirectory=/var/x\n"}),
    ("e.service", {"e.service": f"{UNIT}{SERVICE}RootDirectory=/var/x\n"}),
    ("e.service", {"e.service": f"{UNIT}{SERVICE}RootImage=/var/x\n"}),
    ("e.service", {"e.service": f"{UNIT}{SERVICE}PrivateTmp=yes\n"}),
    ("e.service", {"e.service": f"{UNIT}RequiresMountsFor=%S/x\n{SERVICE}"}),
    ("e.service", {"e.service": f"{UNIT}RequiresMountsFor='/var/x'\n{SERVICE}"}),
    ("e.service", {"e.service": UNIT + SERVICE, "e.service.d/x.conf": "[Unit]\nRequiresMountsFor=/var/x\n"}),
    ("e.service", {"e.service": UNIT + SERVICE, "e.service.d/x.conf": "[Unit]\nAfter=basic.target\n"}),
    ("e@i.service", {"e@.service": UNIT + SERVICE, "e@i.service.d/x.conf": "[Unit]\nRequiresMountsFor=/var/x\n"}),
    ("e.path", {"e.path": f"{UNIT}[Path]\nPathExists=/var/x\n", "e.service": UNIT + SERVICE}),
    ("e.socket", {"e.socket": f"{UNIT}[Socket]\nListenStream=/var/x\n", "e.service": UNIT + SERVICE}),
    ("e.target", {"e.target": "[Unit]\nWants=e.service\n", "e.service": SERVICE}),
    ("e.target", {"e.target": "[Unit]\n", "e.target.wants/e.service": SERVICE, "e.service": SERVICE}),
    ("var-x.automount", {"var-x.automount": "[Automount]\nWhere=/var/x\n", "var-x.mount": "[Mount]\nWhat=/dev/sdb\n"}),
]
# What has no cycle: what is overlaid, fstab, crypttab, further files.
GOOD: "list[tuple[str, str, str, Files]]" = [
    ("/var", f"/dev/sda3 {V} ext4 nofail,x-systemd.requires={V},x-systemd.before={V}\n", "", {}),
    (
        "/var",
        "LABEL=y /var/cache/x ext4 x-systemd.before=var-cache.mount\n",
        "",
        {"/etc/overlay-generator.conf": "[/var]\nPassthrough=/var/cache\n", "/var/cache/file": ""},
    ),
    ("/var,/var/lib/x", f"LABEL=l /var/lib ext4\n{DISK}/var/lib/up {V}-lib-x none bind\n", "", {}),
    ("/var", f"/data/up {V} none bind,x-systemd.requires-mounts-for=/var/lib/..\n", "", {}),
    ("/var", MAPPED, "d /dev/sda3 none header=/var/h:LABEL=usb\n", {}),
    ("/var", f"/data/up {V} tmpfs bind,nofail\n/var/swap none swap sw\n", "", {}),
    ("/var luks=no", MAPPED, "d /dev/sda3 /var/key luks\n", {}),
    (
        "/var",
        f"/data/up {V} none bind,x-systemd.requires=e.service\n",
        "",
        {"/etc/systemd/system/e.service": f"[Unit]\nDefaultDependencies=false\n{SERVICE}"},
    ),
]


@pytest.fixture(autouse=True)
def _possible() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a root directory of its own")
    skip_without_mount_namespace()


def ask(
    run: Run, root: Path, tree: str, asked: str, fstab: str, crypttab: str, files: Files
) -> "tuple[str, list[str]]":
    """What ours says of the machine at `root`, and what the systemd of `tree` says of cycles in it."""
    tables = {"/etc/fstab": fstab, "/etc/crypttab": crypttab}
    said, cycles, _ = ask_both(run, root, tree, f"overlayfs.mounts={asked}", {**tables, **files})
    return said, cycles


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize(("asked", "fstab", "files", "words"), CYCLES)
def test_a_cycle_is_found(
    asked: str, fstab: str, files: Files, words: "tuple[str, ...]", tree: str, run: Run, tmp_path: Path
) -> None:
    said, cycles = ask(run, tmp_path / "root", tree, asked, fstab, "", files)
    assert cycles == [], said
    assert "before itself" in said
    for word in words:
        assert word in said


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize(("crypttab", "words"), VOLUMES)
def test_a_file_of_crypttab_is_found(crypttab: str, words: str, tree: str, run: Run, tmp_path: Path) -> None:
    said, cycles = ask(run, tmp_path / "root", tree, "/var", MAPPED, crypttab, {})
    assert cycles == [], said
    assert words in said


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize(("name", "files"), UNITS)
def test_a_unit_that_waits_is_found(name: str, files: Files, tree: str, run: Run, tmp_path: Path) -> None:
    # nofail: what comes before local-fs.target can't wait for what comes after it, with an overlay or not.
    fstab = f"/data/up {V} none bind,nofail,x-systemd.requires={name}\n"
    placed = {f"/etc/systemd/system/{path}": text for path, text in files.items()}
    said, cycles = ask(run, tmp_path / "root", tree, "/var", fstab, "", placed)
    assert cycles == [], said
    assert f"says x-systemd.requires={name}" in said


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("option", ["requires=systemd-cryptsetup@d.service", "after=blockdev@dev-mapper-d.target"])
def test_a_volume_may_be_named_by_its_units(option: str, tree: str, run: Run, tmp_path: Path) -> None:
    fstab = f"LABEL=x {V} ext4 x-systemd.{option}\n"
    said, cycles = ask(run, tmp_path / "root", tree, "/var", fstab, "d /dev/sda3 /var/key luks\n", {})
    assert cycles == [], said
    assert "has its key in /var/key" in said


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize(("asked", "fstab", "crypttab", "files"), GOOD)
def test_a_good_disk_is_used(
    asked: str, fstab: str, crypttab: str, files: Files, tree: str, run: Run, tmp_path: Path
) -> None:
    said, cycles = ask(run, tmp_path / "root", tree, asked, fstab, crypttab, files)
    assert cycles == []
    assert "before itself" not in said
    assert "is in memory" not in said


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("luks.name=1-2=d luks.key=1-2=/var/key", True),
        ("luks.uuid=1-2 luks.key=/var/key", False),  # of another name; it may be below /dev/mapper/d
        ("luks.name=1-2=d luks.key=1-2=/var/key luks=no", False),
    ],
)
def test_volumes_of_the_kernel_command_line(words: str, found: bool, tree: str, run: Run, tmp_path: Path) -> None:
    said, cycles = ask(run, tmp_path / "root", tree, f"/var {words}", MAPPED, "", {})
    assert cycles == [], said
    assert ("before itself" in said and "/proc/cmdline (luks.*=) has its key in /var/key" in said) == found


@pytest.mark.parametrize("tree", TREES)
def test_swap_of_the_kernel_command_line(tree: str, run: Run, tmp_path: Path) -> None:
    fstab = f"tmpfs /d tmpfs size=1M\n/d/up {V} none bind,nofail\n"
    said, cycles = ask(run, tmp_path / "root", tree, "/var systemd.swap-extra=/var/swap:nofail", fstab, "", {})
    assert cycles == [], said
    assert "/proc/cmdline (systemd.swap-extra=) takes /var/swap" in said


@pytest.mark.parametrize("tree", TREES)
def test_memory_may_have_to_wait_as_well(tree: str, run: Run, tmp_path: Path) -> None:
    fstab = "/var/up /run/buildroot none bind,nofail\n"
    said, cycles = ask(run, tmp_path / "root", tree, "/var overlayfs.upper=volatile", fstab, "", {})
    assert cycles == [], said
    assert "/var is not overlaid: it would have to be there before itself" in said
