# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The br2-external tree in a tree of Buildroot itself: BUILDROOT=/path/to/tree make builders-check.

Nothing is downloaded or compiled but Buildroot's Kconfig. Commands that do nothing stand in for what packages of
Buildroot's would have built, so that its own Makefile takes the package up to the packed image.
"""

import csv
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from builders import BUILDROOT, tree

import overlay_generator
from product import REPOSITORY, SYSTEM_PYTHON

EXTERNAL = REPOSITORY / "packaging/buildroot"
DEFCONFIG = "overlay_generator_qemu_x86_64_defconfig"
TESTS = EXTERNAL / "support/testing/tests/init/test_overlay_generator.py"
NAME = f"overlay-generator-{overlay_generator.__version__}"
ON = "BR2_PACKAGE_OVERLAY_GENERATOR"
READ_ONLY = ["BR2_x86_64=y", "BR2_INIT_SYSTEMD=y", "# BR2_TARGET_GENERIC_REMOUNT_ROOTFS_RW is not set"]
STATIC = [f"# {ON}_AT_BOOT is not set", f"{ON}_STATIC=y"]
# Without what Buildroot would build itself first: host-python3 for our package, a tar of its version for any.
UNBUILT = ["OVERLAY_GENERATOR_FINAL_DEPENDENCIES=", "BR2_TAR_HOST_DEPENDENCY="]
WHOLE = [*UNBUILT, "PACKAGES=", "PACKAGES_USERS=", "ROOTFS_COMMON_DEPENDENCIES=", "TARGET_FINALIZE_HOOKS="]


class Output:
    """An output directory of Buildroot's."""

    def __init__(self, where: Path, external: Path = EXTERNAL) -> None:
        self.buildroot = tree(BUILDROOT)
        self.where = where
        self.external = external

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """The result of Buildroot's make with these words."""
        paths = [f"O={self.where}", f"BR2_EXTERNAL={self.external}"]
        return subprocess.run(
            ["make", "--no-print-directory", "-C", self.buildroot, *paths, *words],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.where), "LC_ALL": "C.UTF-8"},
            capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip

    def make(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def configure(self, lines: "list[str]") -> "dict[str, str]":
        """What Kconfig makes of these lines; "" for a symbol that is not set."""
        self.where.mkdir(exist_ok=True)
        (self.where / ".config").write_text("\n".join([*lines, ""]))
        self.make("olddefconfig")
        return self.read_config()

    def read_config(self) -> "dict[str, str]":
        text = (self.where / ".config").read_text()
        return dict(re.findall(r"^(BR2_\w+)=(.*)$", text, re.MULTILINE))

    def stand_in(self) -> None:
        """What the packages of Buildroot would have put: commands for the build, and the target's skeleton."""
        commands = self.where / "host/bin"
        commands.mkdir(parents=True)
        (self.where / "host/sbin").mkdir()
        (commands / "python3").symlink_to(SYSTEM_PYTHON)
        (commands / "tar").symlink_to("/usr/bin/tar")
        for name in ("makedevs", "systemctl", "systemd-tmpfiles", "journalctl", "systemd-hwdb", "patchelf"):
            (commands / name).write_text("#!/bin/sh\n")
        (commands / "fakeroot").write_text('#!/bin/sh\nshift\nexec "$@"\n')
        for path in commands.iterdir():
            if not path.is_symlink():
                path.chmod(0o755)
        target = self.where / "target"
        shutil.copytree(self.buildroot / "system/skeleton", target, symlinks=True, dirs_exist_ok=True)
        for name in ("usr/bin", "usr/lib/tmpfiles.d", "usr/lib/systemd/system", "var/lib", "etc"):
            (target / name).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "usr/sbin", "lib"):
            if not (target / name).exists():
                (target / name).symlink_to({"lib": "usr/lib", "usr/sbin": "bin"}.get(name, "usr/bin"))
        for name in ("mkdir", "mount", "umount", "modprobe", "chown", "chmod"):
            (target / "usr/bin" / name).touch(0o755)


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(tmp_path / "output")


def test_the_defconfig_is_taken_whole(output: Output) -> None:
    done = output.run(DEFCONFIG)
    assert (done.returncode, done.stderr) == (0, "")
    config = (output.where / ".config").read_text().splitlines()
    wanted = [
        line for line in (EXTERNAL / "configs" / DEFCONFIG).read_text().splitlines() if re.match("(# )?BR2_", line)
    ]
    missing = [line for line in wanted if line not in config]
    if output.make("print-version").startswith("2023.11"):
        # It wants a global patch directory first there.
        missing.remove("BR2_DOWNLOAD_FORCE_CHECK_HASHES=y")
    assert missing == []


def test_the_defconfig_is_what_savedefconfig_writes(output: Output) -> None:
    output.make(DEFCONFIG)
    saved = output.where / "saved"
    output.make("savedefconfig", f"BR2_DEFCONFIG={saved}")
    lines = (EXTERNAL / "configs" / DEFCONFIG).read_text().splitlines()
    expected = [line for line in lines if line and not re.match(r"# (?!BR2_)|#  ", line)]
    if output.make("print-version").startswith("2023.11"):
        expected.remove("BR2_DOWNLOAD_FORCE_CHECK_HASHES=y")
    assert saved.read_text().splitlines() == expected


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (READ_ONLY, {ON: ""}),
        ([*READ_ONLY, "BR2_INIT_SYSTEMD_VAR_NONE=y", f"{ON}=y"], {ON: "y", f"{ON}_STATIC": "y"}),
        (
            [*READ_ONLY, "BR2_INIT_SYSTEMD_VAR_NONE=y", f"{ON}=y", "BR2_PACKAGE_PYTHON3=y"],
            {f"{ON}_AT_BOOT": "y", f"{ON}_STATIC": "", "BR2_INIT_SYSTEMD_POPULATE_TMPFILES": "y"},
        ),
        (
            [*READ_ONLY, "BR2_INIT_SYSTEMD_VAR_NONE=y", f"{ON}=y", "BR2_PACKAGE_PYTHON3=y", f"{ON}_OVERLAYCTL=y"],
            {"BR2_PACKAGE_PYTHON_PSUTIL": "y", "BR2_PACKAGE_PYTHON_PYUDEV": "y", "BR2_PACKAGE_PYTHON3_ZLIB": "y"},
        ),
        ([*READ_ONLY, "BR2_INIT_SYSTEMD_VAR_OVERLAYFS=y", f"{ON}=y"], {ON: ""}),
        ([*READ_ONLY, "BR2_INIT_SYSTEMD_VAR_FACTORY=y", f"{ON}=y"], {ON: ""}),
        # Buildroot's default: the root file system is remounted read-write.
        (["BR2_x86_64=y", "BR2_INIT_SYSTEMD=y", f"{ON}=y"], {ON: "", "BR2_TARGET_GENERIC_REMOUNT_ROOTFS_RW": "y"}),
        (["BR2_x86_64=y", f"{ON}=y"], {ON: ""}),
    ],
)  # fmt: skip
def test_the_menu(lines: "list[str]", expected: "dict[str, str]", output: Output) -> None:
    # A toolchain with which systemd can be chosen.
    config = output.configure(["BR2_TOOLCHAIN_EXTERNAL=y", *lines])
    assert {symbol: config.get(symbol, "") for symbol in expected} == expected


def test_every_symbol_is_one_of_buildroot_s(output: Output) -> None:
    """A condition on a symbol that does not exist holds always, or never."""
    text = "".join(path.read_text() for path in EXTERNAL.rglob("*") if path.is_file())
    ours = set(re.findall(r"^config (BR2_\w+)", text, re.MULTILINE))
    named = (
        set(re.findall(r"\bBR2_[A-Z0-9_a-z]+", text)) - ours - {"BR2_EXTERNAL", "BR2_EXTERNAL_OVERLAY_GENERATOR_PATH"}
    )
    known = set()
    for path in output.buildroot.rglob("Config.in*"):
        known |= set(re.findall(r"^\s*(?:menu)?config (BR2_\w+)", path.read_text(), re.MULTILINE))
    assert {name for name in named - known if not name.startswith(f"{ON}_")} == set()


def test_legal_info_has_the_product(output: Output) -> None:
    output.make(DEFCONFIG)
    output.stand_in()
    said = output.make(*UNBUILT, "overlay-generator-legal-info")
    assert "LICENSE: OK (sha256: " in said
    where = output.where / "legal-info"
    rows = list(csv.reader((where / "manifest.csv").read_text().splitlines()))
    assert ["overlay-generator", overlay_generator.__version__, "LGPL-2.1+", "LICENSE"] in [row[:4] for row in rows]
    assert (where / "licenses" / NAME / "LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
    # Releases before saved no sources of a package that lies in a directory. Years and months compare as text.
    if output.make("print-version").split()[-1] >= "2024.08":
        with tarfile.open(where / "sources" / NAME / f"{NAME}.tar.gz") as archive:
            assert f"{NAME}/generator/overlay_generator/boot.py" in archive.getnames()
    else:
        assert not (where / "sources").exists()
    assert output.make("overlay-generator-show-version").strip() == overlay_generator.__version__


def test_a_package_without_its_sources_copies_nothing(tmp_path: Path) -> None:
    external = tmp_path / "home/project/external"
    shutil.copytree(EXTERNAL, external)
    output = Output(tmp_path / "output", external)
    output.make(DEFCONFIG)
    for goal in ("overlay-generator-rsync", "overlay-generator-legal-info"):
        done = output.run(*UNBUILT, goal)
        assert done.returncode != 0, goal
        assert "there are no sources of it in" in done.stderr
        assert "rsync -au" not in done.stdout
    # What the message names, where Buildroot reads it.
    (output.where / "local.mk").write_text(f"OVERLAY_GENERATOR_OVERRIDE_SRCDIR = {REPOSITORY}\n")
    output.make(*UNBUILT, "overlay-generator-rsync")
    assert (output.where / "build/overlay-generator-custom/generator/overlay_generator/__init__.py").is_file()


def test_only_what_is_installed_is_copied(output: Output) -> None:
    output.make(DEFCONFIG)
    output.make(*UNBUILT, "overlay-generator-rsync")
    names = {path.name for path in (output.where / "build" / NAME).iterdir() if not path.name.startswith(".stamp")}
    assert names == {"LICENSE", "Makefile", "generator", "lib", "packaging"}


def build(output: Output, lines: "list[str]") -> str:
    """Build an image of what stands in, with the package and these lines; what was said."""
    output.configure([*(EXTERNAL / "configs" / DEFCONFIG).read_text().splitlines(), "BR2_TARGET_ROOTFS_TAR=y", *lines])
    if not (output.where / "host/bin").exists():
        output.stand_in()
    output.make(*UNBUILT, "overlay-generator-install")
    return output.make(*WHOLE, "rootfs-tar")


def packed(output: Output) -> "set[str]":
    with tarfile.open(output.where / "images/rootfs.tar") as archive:
        return {name.removeprefix("./") for name in archive.getnames()}


def test_an_image_with_the_generator(output: Output) -> None:
    said = build(output, [f"{ON}_OVERLAYCTL=y", "BR2_REPRODUCIBLE=y"])
    assert "the kernel command line needs overlayfs.mounts=/var" in said
    assert "no IMAGE_VERSION= in os-release" in said
    names = packed(output)
    assert "usr/lib/systemd/system-generators/overlay-generator" in names
    library = {name for name in names if name.startswith("usr/lib/overlay-generator/")}
    modules = {
        str(path.relative_to(REPOSITORY / "generator").with_suffix(""))
        for path in (REPOSITORY / "generator").rglob("*.py")
    }
    # PYC_ONLY, Buildroot's default.
    assert {name.removesuffix(".pyc") for name in library if name.endswith(".pyc")} == {
        f"usr/lib/overlay-generator/{name}" for name in modules
    }
    assert [name for name in library if name.endswith((".py", "__pycache__"))] == []


def test_an_image_with_static_units(output: Output) -> None:
    build(output, STATIC)
    names = packed(output)
    assert {"usr/lib/systemd/system/var.mount", "usr/lib/systemd/system/prepare-var-overlay.service"} <= names
    assert [name for name in names if "overlay-generator" in name and name.endswith((".py", ".pyc"))] == []


def test_a_generator_from_before_static_units_were_chosen_is_told(output: Output) -> None:
    build(output, [])
    config = (output.where / ".config").read_text()
    config = re.sub(rf"^{ON}_AT_BOOT=y$", f"# {ON}_AT_BOOT is not set", config, flags=re.MULTILINE)
    output.configure([*config.splitlines(), f"{ON}_STATIC=y"])
    output.make(*UNBUILT, "overlay-generator-reinstall")
    done = output.run(*WHOLE, "rootfs-tar")
    assert done.returncode != 0
    assert "make clean all" in done.stderr


def needs_modules(*names: str) -> None:
    """Skip the test if Debian's Python lacks one of them, and there is no such command either."""
    for name in names:
        done = subprocess.run([SYSTEM_PYTHON, "-c", f"import {name}"], capture_output=True, check=False)
        if done.returncode and not shutil.which(name, path="/usr/bin"):
            pytest.skip(f"Buildroot's own checks need {name}")


def check_package(output: Output, files: "list[Path]") -> str:
    needs_modules("magic", "flake8", "shellcheck")
    command = ["python3", "utils/check-package", "-b", *map(str, files)]
    done = subprocess.run(command, cwd=output.buildroot, capture_output=True, text=True, check=False,
                          env={"PATH": "/usr/bin:/bin"})  # fmt: skip
    return done.stdout + done.stderr


def test_check_package_has_nothing_to_say(output: Output) -> None:
    said = check_package(output, sorted(path for path in EXTERNAL.rglob("*") if path.is_file()))
    assert re.search(r"^0 warnings generated$", said, re.MULTILINE), said


def test_run_tests_lists_the_tests(output: Output) -> None:
    """They lie in Buildroot's own tree, so for this a copy of its tests is made."""
    needs_modules("nose2", "pexpect")
    testing = output.where.parent / "support/testing"
    shutil.copytree(output.buildroot / "support/testing", testing)
    (testing / "tests/init" / TESTS.name).symlink_to(TESTS)
    done = subprocess.run(["/usr/bin/python3", testing / "run-tests", "-l"], cwd=testing.parent.parent,
                          capture_output=True, text=True, check=False)  # fmt: skip
    listed = re.findall(r"tests\.init\.test_overlay_generator\.(\w+)", done.stdout + done.stderr)
    assert set(listed) == set(re.findall(r"^class (Test\w+)", TESTS.read_text(), re.MULTILINE)), done.stderr
