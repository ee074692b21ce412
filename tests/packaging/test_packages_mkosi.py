# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The mkosi example: its files compared with each other and the product, its scripts run on small disks.

That mkosi builds it and that it boots is shown by packaging/mkosi/demo-update, which needs the network and minutes.
"""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from product import ENVIRON, REPOSITORY, Run

EXAMPLE = REPOSITORY / "packaging/mkosi"
UPDATE = EXAMPLE / "update-disk"
ESP, ROOT, DATA = (
    "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
)
SECTOR = 512


def read_ini(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters="=", comment_prefixes="#", interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return parser


@pytest.fixture(scope="module")
def settings() -> configparser.ConfigParser:
    return read_ini(EXAMPLE / "mkosi.conf")


def partitions() -> "list[configparser.SectionProxy]":
    return [read_ini(path)["Partition"] for path in sorted((EXAMPLE / "mkosi.repart").iterdir())]


def test_both_roots_have_the_same_size_and_one_is_free() -> None:
    first, second = (part for part in partitions() if part["Type"] == "root")
    for size in ("SizeMinBytes", "SizeMaxBytes"):
        assert first[size] == second[size] == first["SizeMinBytes"]
    assert second["Label"] == "_empty"
    assert first["Format"] == "erofs"
    assert "CopyFiles" not in second


def test_each_version_boots_its_own_root(settings: configparser.ConfigParser) -> None:
    """%M and %A of systemd-repart are %i and %v of mkosi: IMAGE_ID and IMAGE_VERSION."""
    label = next(part for part in partitions() if part["Type"] == "root")["Label"]
    words = settings["Content"]["KernelCommandLine"].split()
    assert f"root=PARTLABEL={label.replace('%M', '%i').replace('%A', '%v')}" in words
    assert settings["Content"]["UnifiedKernelImageFormat"] == "%i_%v"


def test_the_image_has_what_the_product_needs(settings: configparser.ConfigParser) -> None:
    packages = settings["Content"]["Packages"].split()
    assert {"systemd", "python3", "mount", "kmod", "e2fsprogs"} <= set(packages)
    assert packages == sorted(packages)
    source, name = settings["Build"]["BuildSources"].split(":")
    assert (EXAMPLE / source).resolve() == REPOSITORY
    assert f'"$SRCDIR/{name}"' in (EXAMPLE / "mkosi.build.chroot").read_text()


def test_the_data_partition_becomes_the_backing_of_var(
    settings: configparser.ConfigParser, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "var").mkdir()
    shutil.copytree(EXAMPLE / "mkosi.extra", tmp_path, dirs_exist_ok=True)
    done = run("--root", tmp_path, "--cmdline", settings["Content"]["KernelCommandLine"], "--print")
    assert (done.returncode, done.stderr) == (0, "")
    assert "upperdir=/run/buildroot/mounts/var/upper" in done.stdout
    # A disk that may be missing, and no tmpfs of ours.
    assert "fallback-run-buildroot-mounts-var.service" in done.stdout
    assert "/run-buildroot-mounts-var.mount <==" not in done.stdout
    data = next(part for part in partitions() if part["Type"] == "linux-generic")
    (line,) = [line for line in (tmp_path / "etc/fstab").read_text().splitlines() if not line.startswith("#")]
    fstab = line.split()
    assert fstab[0] == f"PARTLABEL={data['Label']}"
    assert fstab[2] == data["Format"]


def test_the_build_script_installs_the_product(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/overlay-generator").symlink_to(REPOSITORY)
    image = tmp_path / "image"
    environ = {"SRCDIR": str(tmp_path / "source"), "DESTDIR": str(image), "IMAGE_VERSION": "7"}
    subprocess.run([EXAMPLE / "mkosi.build.chroot"], env={**ENVIRON, **environ}, check=True, capture_output=True)
    assert os.access(image / "usr/lib/systemd/system-generators/overlay-generator", os.X_OK)
    assert list((image / "usr/lib/overlay-generator").rglob("*.pyc"))
    assert [(image / "var/lib/demo" / name).read_text() for name in ("shipped", "settings")] == ["image 7\n"] * 2


@pytest.mark.parametrize("name", ["demo-update", "mkosi.build.chroot", "update-disk"])
def test_scripts_can_be_run(name: str) -> None:
    assert os.access(EXAMPLE / name, os.X_OK)


def test_the_demo_s_command_is_one_value_for_qemu(tmp_path: Path) -> None:
    """Option values end at a comma, unless that is doubled: qemu-system-x86_64(1)."""
    script = tmp_path / "demo-update"
    script.write_text((EXAMPLE / "demo-update").read_text())
    for name, text in {
        "mkosi": "touch mkosi.output/overlay-demo_1.raw",
        "qemu-system-x86_64": 'for word; do echo "$word"; done >>words; echo "x]: demo/x" >mkosi.output/boot.log',
        "update-disk": ":",
    }.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    (tmp_path / "mkosi.output").mkdir()
    (tmp_path / "vars").touch()
    environ = {**ENVIRON, "PATH": f"{tmp_path}:{ENVIRON['PATH']}", "VARIABLES": f"{tmp_path}/vars"}
    subprocess.run(["sh", script], env=environ, check=True, capture_output=True)
    given = [line for line in (tmp_path / "words").read_text().splitlines() if line.startswith("type=11")]
    assert len(given) == 2
    for words in given:
        name, value = re.split("(?<!,),(?!,)", words.replace(",,", "\0"))
        assert (name, value[:6]) == ("type=11", "value=")
        assert value.replace("\0", ",").endswith("sed s,^,demo/preview:,; sync'\"")


PREVIEW = """\
demo/preview:hidden          8 B  /var/lib/demo/settings  (the new image's has another content)
demo/preview:/var: 4 entries, Policy=keep (default)
demo/preview:  hidden           1         8 B  changed here, and the new image's newer version stays hidden
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a tree to run it in needs root")
def test_the_demo_shows_what_the_update_will_do(tmp_path: Path) -> None:
    """Its command is given to a shell with the first image's /var, the second image at /dev/vdb."""
    lines = (EXAMPLE / "demo-update").read_text().splitlines()
    look = next(line for line in lines if line.startswith("look="))
    command = subprocess.run(["sh", "-c", f'{look}\nprintf %s "$look"'], capture_output=True, text=True, check=True)
    assert '"' not in command.stdout
    for version in ("1", "2"):
        for name in ("shipped", "settings"):
            path = tmp_path / f"image{version}/var/lib/demo" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"image {version}\n")
    for name in ("upper", "work", "bin", "dev"):
        (tmp_path / name).mkdir()
    (tmp_path / "release").write_text("IMAGE_VERSION=1\n")
    script = tmp_path / "bin/overlayctl"
    script.write_text(
        f"#!/bin/sh\nPYTHONPATH={REPOSITORY}/generator exec python3 -m overlayctl preview {tmp_path}/image2 "
        f"--upper {tmp_path}/upper --old {tmp_path}/image1 --where /var\n"
    )
    script.chmod(0o755)
    layers = f"lowerdir={tmp_path}/image1/var,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    setting = f"""set -e
        mount --bind {tmp_path}/release "$(readlink -f /etc/os-release)"
        mkdir {tmp_path}/var; mount -t overlay -o {layers} overlay {tmp_path}/var
        mount --bind {tmp_path}/var/lib /var/lib
        mount -t tmpfs dev {tmp_path}/dev; touch {tmp_path}/dev/vdb; cp -a /dev/null {tmp_path}/dev
        mount --bind {tmp_path}/dev /dev
        exec {command.stdout.rpartition("; sync")[0]}'"""
    environ = {**ENVIRON, "PATH": f"{tmp_path}/bin:{ENVIRON['PATH']}"}
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", setting], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.splitlines(keepends=True)
    assert "".join(shown[:3]) == "demo/history:written by image 1\ndemo/settings:changed here\ndemo/shipped:image 1\n"
    assert "".join(shown[3:6]) == PREVIEW
    # As a person sees it, in the journal's lines on a console.
    pattern = next(line for line in lines if "sed -n" in line).split("'")[1]
    console = "".join(f"[    9.1] sh[300]: {line}" for line in shown)
    filtered = subprocess.run(["sed", "-n", pattern], input=console, capture_output=True, text=True, check=True)
    assert filtered.stdout == done.stdout


# update-disk


def make_disk(where: Path, *parts: "tuple[str, str]") -> Path:
    """A disk with a partition of 2 MiB for each (type, label) in `parts`, filled with a byte of its own."""
    for tool in ("sfdisk", "mcopy", "mkfs.vfat"):
        if not shutil.which(tool, path=ENVIRON["PATH"]):
            assert not os.environ.get("CI"), f"{tool} is not installed"
            pytest.skip(f"{tool} is not installed")
    disk = where / "disk.raw"
    with disk.open("wb") as file:
        for number in range(len(parts) + 2):
            file.write(bytes([0x40 + number]) * (2 << 20))
    table = "label: gpt\n" + "".join(
        f'start={(number + 1) * 4096}, size=4096, type={kind}, name="{label}"\n'
        for number, (kind, label) in enumerate(parts)
    )
    subprocess.run(["sfdisk", "--quiet", disk], input=table, text=True, check=True)
    for number, (kind, _label) in enumerate(parts):
        if kind == ESP:
            options = ["--offset", str((number + 1) * 4096), "-n", "ESP"]
            subprocess.run(["mkfs.vfat", *options, str(disk), "2048"], check=True, capture_output=True)
            place = f"{disk}@@{(number + 1) * 4096 * SECTOR}"
            subprocess.run(["mmd", "-i", place, "::/EFI", "::/EFI/Linux"], check=True)
    return disk


def content_of(disk: Path, number: int) -> bytes:
    with disk.open("rb") as file:
        file.seek((number + 1) * (2 << 20))
        return file.read(2 << 20)


def labels_of(disk: Path) -> "list[str]":
    dump = subprocess.run(["sfdisk", "--dump", disk], capture_output=True, text=True, check=True).stdout
    return re.findall(r'name="([^"]*)"', dump)


def update(disk: Path, *words: "str | Path") -> "subprocess.CompletedProcess[str]":
    command = [str(word) for word in (UPDATE, disk, *words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRON)


@pytest.fixture
def new(tmp_path: Path) -> "tuple[Path, Path]":
    """Root and kernel of a new version; zeros of the root have to replace what was there as well."""
    root, kernel = tmp_path / "demo_2.root.raw", tmp_path / "demo_2.efi"
    root.write_bytes(b"R" * (1 << 20) + bytes((1 << 20) - 4096) + b"r" * 4096)
    kernel.write_bytes(b"K" * 1000)
    return root, kernel


PARTS = ((ESP, "esp"), (ROOT, "demo_1"), (ROOT, "_empty"), (DATA, "data"))


def test_an_update_goes_to_the_free_partition_and_the_esp(tmp_path: Path, new: "tuple[Path, Path]") -> None:
    disk = make_disk(tmp_path, *PARTS)
    before = [content_of(disk, number) for number in range(4)]
    done = update(disk, *new, "demo_2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert labels_of(disk) == ["esp", "demo_1", "demo_2", "data"]
    root = new[0].read_bytes()
    assert content_of(disk, 2) == root + before[2][len(root) :]
    assert [content_of(disk, number) == before[number] for number in (1, 3)] == [True, True]
    place = f"{disk}@@{4096 * SECTOR}"
    listed = subprocess.run(["mtype", "-i", place, "::/EFI/Linux/demo_2.efi"], capture_output=True, check=True)
    assert listed.stdout == b"K" * 1000


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (((ESP, "esp"), (ROOT, "demo_1"), (ROOT, "demo_2"), (DATA, "data")), "no partition with the label _empty"),
        (((ROOT, "demo_1"), (ROOT, "_empty"), (DATA, "data")), "has no ESP"),
    ],
)
def test_a_disk_that_can_not_be_updated_is_left_alone(
    parts: "tuple[tuple[str, str], ...]", message: str, tmp_path: Path, new: "tuple[Path, Path]"
) -> None:
    disk = make_disk(tmp_path, *parts)
    before = disk.read_bytes()
    done = update(disk, *new, "demo_3")
    assert done.returncode == 1
    assert message in done.stderr
    assert disk.read_bytes() == before


def test_a_root_that_is_too_large_does_not_reach_the_data(tmp_path: Path, new: "tuple[Path, Path]") -> None:
    disk = make_disk(tmp_path, *PARTS)
    before = disk.read_bytes()
    with new[0].open("ab") as file:
        file.write(b"!")
    done = update(disk, *new, "demo_2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the free partition of" in done.stderr
    assert disk.read_bytes() == before


def test_wrong_usage_shows_the_right_one() -> None:
    done = update(Path("disk"))
    assert (done.returncode, done.stderr) == (2, "Usage: update-disk DISK ROOT KERNEL LABEL\n")
