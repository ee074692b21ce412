# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The br2-external tree: its package installed by make as Buildroot does it.

Buildroot itself is not needed: buildroot.mk stands for its package infrastructure.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

import overlay_generator
from product import ENVIRON, REPOSITORY, SYSTEM_PYTHON

HERE = Path(__file__).resolve().parent
EXTERNAL = REPOSITORY / "packaging/buildroot"
PACKAGE = EXTERNAL / "package/overlay-generator"
LIBRARY = "usr/lib/overlay-generator"
GENERATOR = "usr/lib/systemd/system-generators/overlay-generator"
AT_BOOT = {"BR2_PACKAGE_PYTHON3": "y", "BR2_PACKAGE_OVERLAY_GENERATOR_AT_BOOT": "y"}
STATIC = {"BR2_PACKAGE_OVERLAY_GENERATOR_STATIC": "y"}


def make(
    base: Path, goal: str, config: "dict[str, str]", external: Path = EXTERNAL
) -> "subprocess.CompletedProcess[str]":
    """What `goal` of the fake Buildroot says, with the configuration `config`; its target tree is base/target."""
    python = base / "host/bin/python3"
    if not python.exists():
        python.parent.mkdir(parents=True)
        python.symlink_to(SYSTEM_PYTHON)
    config = {"BR2_PACKAGE_OVERLAY_GENERATOR_MOUNTS": '"/var"', **config}
    words = [f"{key}={value}" for key, value in config.items()]
    files = ["-f", str(HERE / "buildroot.mk"), f"EXTERNAL={external}", f"BASE={base}"]
    return subprocess.run(
        ["make", "--no-print-directory", *files, goal, *words],
        cwd=base,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**ENVIRON, "LC_ALL": "C.UTF-8"},
    )


def install(base: Path, goal: str = "install", **config: str) -> Path:
    done = make(base, goal, config)
    assert done.returncode == 0, done.stdout + done.stderr
    return base / "target"


def generate(target: Path, where: Path) -> "dict[str, str]":
    """The units that the package in the tree `target` makes for a flag and an empty image."""
    where.mkdir()
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from overlay_generator.dryrun import run; run(sys.argv[:1] + "
        "['--root', sys.argv[1], '--cmdline', 'overlayfs.mounts=/var', sys.argv[2]])"
    )
    image = where / "image"
    (image / "var").mkdir(parents=True)
    (where / "units").mkdir()
    command: list[str | Path] = [SYSTEM_PYTHON, "-ISB", "-c", code, target / LIBRARY, image, where / "units"]
    subprocess.run(command, check=True, env=ENVIRON)
    return {path.name: path.read_text() for path in (where / "units").glob("*.*") if path.is_file()}


def files_of(target: Path) -> "set[str]":
    return {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}


def modules_of(library: Path) -> "set[Path]":
    """What can be imported from the directory `library`: paths in it without a suffix."""
    return {path.relative_to(library).with_suffix("") for path in library.rglob("*.py")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> "set[Path]":
    """The modules that `make install-generator` puts."""
    where = tmp_path_factory.mktemp("installed")
    words = ["install-generator", f"DESTDIR={where}", "COMPILE=no"]
    subprocess.run(["make", "-s", "-C", REPOSITORY, *words], check=True, env=ENVIRON)
    return modules_of(where / LIBRARY)


@pytest.mark.parametrize("kind", ["PY_PYC", "PYC_ONLY", "PY_ONLY"])
def test_the_generator_is_installed_with_the_files_that_were_chosen(
    kind: str, installed: "set[Path]", tmp_path: Path
) -> None:
    target = install(tmp_path, **AT_BOOT, **{f"BR2_PACKAGE_PYTHON3_{kind}": "y"})
    library = target / LIBRARY
    compiled = {path.relative_to(library) for path in library.rglob("*.pyc")}
    beside = {path.with_suffix("") for path in compiled if path.parent.name != "__pycache__"}
    cached = {
        path.parent.parent / path.name.partition(".")[0] for path in compiled if path.parent.name == "__pycache__"
    }
    assert (modules_of(library), beside, cached) == {
        "PY_PYC": (installed, set(), installed),
        "PYC_ONLY": (set(), installed, set()),
        "PY_ONLY": (installed, set(), set()),
    }[kind]
    assert bool(list(library.rglob("__pycache__"))) == (kind == "PY_PYC")
    assert os.access(target / GENERATOR, os.X_OK)
    assert "var.mount" in generate(target, tmp_path / "out")


def test_folders_of_a_package_are_treated_like_the_package(tmp_path: Path) -> None:
    """Which packages and folders there are is the business of `make install`: whatever that puts, to any depth."""
    source = tmp_path / "source"
    (source / "generator/overlay_generator").mkdir(parents=True)
    (source / "generator/overlay_generator/__init__.py").touch()
    (source / "Makefile").write_text(
        "install-generator install-overlayctl:\n"
        "\tmkdir -p $(DESTDIR)/usr/lib/overlay-generator/$@/a/b && cd $(DESTDIR)/usr/lib/overlay-generator/$@/a/b && "
        "touch one.py ../two.py && $(PYTHON) -m py_compile one.py ../two.py\n"
    )
    config = {"BR2_PACKAGE_PYTHON3_PYC_ONLY": "y", "BR2_PACKAGE_OVERLAY_GENERATOR_OVERLAYCTL": "y"}
    target = install(tmp_path, **AT_BOOT, **config, OVERLAY_GENERATOR_OVERRIDE_SRCDIR=str(source))
    library = target / Path(LIBRARY)
    assert {str(path.relative_to(library)) for path in library.rglob("*") if path.is_file()} == {
        f"{goal}/a/{name}" for goal in ("install-generator", "install-overlayctl") for name in ("b/one.pyc", "two.pyc")
    }


def test_all_kinds_of_files_do_the_same(tmp_path: Path) -> None:
    units = []
    for kind in ("PY_PYC", "PYC_ONLY", "PY_ONLY"):
        base = tmp_path / kind
        base.mkdir()
        target = install(base, **AT_BOOT, **{f"BR2_PACKAGE_PYTHON3_{kind}": "y"})
        units.append(generate(target, base / "out"))
    assert units[0] == units[1] == units[2]


def test_no_path_of_the_build_machine_gets_into_the_image(tmp_path: Path) -> None:
    target = install(tmp_path, **AT_BOOT, BR2_PACKAGE_OVERLAY_GENERATOR_OVERLAYCTL="y")
    for path in target.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), path
            assert str(REPOSITORY).encode() not in path.read_bytes(), path


def test_overlayctl_is_installed_where_asked_for(tmp_path: Path) -> None:
    target = install(tmp_path, **AT_BOOT)
    assert not (target / "usr/bin/overlayctl").exists()
    (tmp_path / f"build/overlay-generator-{overlay_generator.__version__}/.stamp_target_installed").unlink()
    with_it = {"BR2_PACKAGE_OVERLAY_GENERATOR_OVERLAYCTL": "y", "BR2_PACKAGE_PYTHON3_PYC_ONLY": "y"}
    target = install(tmp_path, **AT_BOOT, **with_it)
    assert os.access(target / "usr/bin/overlayctl", os.X_OK)
    assert not [name for name in files_of(target) if name.endswith(".py")]
    assert (target / "usr/lib/overlay-generator/overlayctl/main.pyc").is_file()


def make_tree(target: Path, var: bool = True) -> None:
    """The least that Buildroot has in a target tree: /bin as a link into /usr, and the commands that units run."""
    (target / "usr/bin").mkdir(parents=True)
    (target / "bin").symlink_to("usr/bin")
    (target / "sbin").symlink_to("usr/bin")
    for command in ("mkdir", "mount", "umount", "modprobe", "chown", "chmod"):
        (target / "usr/bin" / command).touch(0o755)
    if var:
        (target / "var").mkdir()


def test_the_image_is_checked_and_the_word_is_told(tmp_path: Path) -> None:
    make_tree(tmp_path / "target")
    done = make(tmp_path, "rootfs", AT_BOOT)
    assert done.returncode == 0, done.stderr
    assert "kernel command line needs overlayfs.mounts=/var" in done.stdout


def test_an_image_that_could_not_be_overlaid_is_not_built(tmp_path: Path) -> None:
    make_tree(tmp_path / "target", var=False)
    done = make(tmp_path, "rootfs", AT_BOOT)
    assert done.returncode != 0
    assert "/var does not exist in the image" in done.stderr


def test_static_units_are_all_that_a_static_image_gets(tmp_path: Path) -> None:
    make_tree(tmp_path / "target")
    target = install(tmp_path, "rootfs", **STATIC)
    names = {Path(name).name for name in files_of(target)}
    assert {"var.mount", "prepare-var-overlay.service"} <= names
    assert not [name for name in files_of(target) if name.endswith((".py", ".pyc"))]
    assert not (target / "usr/lib/systemd/system-generators").exists()


def test_static_units_wait_for_the_word_unless_they_shall_not(tmp_path: Path) -> None:
    make_tree(tmp_path / "target")
    unit = install(tmp_path, "rootfs", **STATIC) / "usr/lib/systemd/system/var.mount"
    waiting = "\nConditionKernelCommandLine=overlayfs.mounts\n"
    assert waiting in unit.read_text()
    install(tmp_path, "rootfs", **STATIC, BR2_PACKAGE_OVERLAY_GENERATOR_ALWAYS="y")
    assert waiting not in unit.read_text()


def test_a_static_image_with_python_is_built(tmp_path: Path) -> None:
    """Python for something else, with Buildroot's default of compiled files alone."""
    make_tree(tmp_path / "target")
    python = {"BR2_PACKAGE_PYTHON3": "y", "BR2_PACKAGE_PYTHON3_PYC_ONLY": "y"}
    assert (install(tmp_path, "rootfs", **STATIC, **python) / "usr/lib/systemd/system/var.mount").is_file()


def test_whoever_needs_the_word_is_told(tmp_path: Path) -> None:
    make_tree(tmp_path / "target")
    assert "kernel command line needs overlayfs.mounts=/var" in make(tmp_path, "rootfs", STATIC).stdout
    always = {**STATIC, "BR2_PACKAGE_OVERLAY_GENERATOR_ALWAYS": "y"}
    assert "kernel command line needs" not in make(tmp_path, "rootfs", always).stdout


def test_a_generator_from_before_static_units_were_chosen_is_told(tmp_path: Path) -> None:
    make_tree(tmp_path / "target")
    target = install(tmp_path, **AT_BOOT)
    done = make(tmp_path, "rootfs", STATIC)
    assert done.returncode != 0
    assert "make clean all" in done.stderr
    assert not (target / "usr/lib/systemd/system/var.mount").exists()


@pytest.mark.parametrize(
    ("release", "warned"),
    [("VERSION_ID=2026.05\n", True), ("VERSION_ID=2026.05\nIMAGE_VERSION=7\n", False), ("BUILD_ID=x\n", False)],
)
def test_two_reproducible_releases_need_a_version(release: str, warned: bool, tmp_path: Path) -> None:
    make_tree(tmp_path / "target")
    (tmp_path / "target/etc").mkdir(exist_ok=True)
    (tmp_path / "target/etc/os-release").write_text(release)
    done = make(tmp_path, "rootfs", {**AT_BOOT, "BR2_REPRODUCIBLE": "y"})
    assert done.returncode == 0, done.stderr
    assert ("no IMAGE_VERSION= in os-release" in done.stdout) == warned
    assert "IMAGE_VERSION" not in make(tmp_path, "rootfs", AT_BOOT).stdout


def test_the_version_is_the_product_s() -> None:
    """A package without one is left out of legal-info."""
    text = (PACKAGE / "overlay-generator.mk").read_text()
    assert re.findall(r"^OVERLAY_GENERATOR_VERSION = (.*)$", text, re.MULTILINE) == [overlay_generator.__version__]


@pytest.mark.parametrize("building", ["y", ""])
def test_without_its_sources_the_package_copies_nothing(building: str, tmp_path: Path) -> None:
    """Somebody has copied the package into another tree: what is at the same relative path there is something else."""
    external = tmp_path / "home/tree"
    (external / "package").mkdir(parents=True)
    (external / "external.mk").write_text((EXTERNAL / "external.mk").read_text())
    subprocess.run(["cp", "-r", PACKAGE, external / "package"], check=True)
    (tmp_path / "home/secret").touch()
    done = make(tmp_path, "rsync", {**AT_BOOT, "BR_BUILDING": building}, external)
    assert done.returncode != 0
    assert "there are no sources of it in" in done.stderr
    assert "OVERLAY_GENERATOR_OVERRIDE_SRCDIR" in done.stderr
    assert "secret" not in " ".join(files_of(tmp_path / "build") if (tmp_path / "build").exists() else [])
    # Only looked at, or not chosen.
    assert make(tmp_path, "dependencies", {**AT_BOOT, "BR_BUILDING": ""}, external).returncode == 0
    assert make(tmp_path, "dependencies", {"BR2_PACKAGE_OVERLAY_GENERATOR": ""}, external).returncode == 0
    given = {**AT_BOOT, "OVERLAY_GENERATOR_OVERRIDE_SRCDIR": str(REPOSITORY)}
    done = make(tmp_path, "rsync", given, external)
    assert done.returncode == 0, done.stderr


def test_only_what_is_installed_is_copied(tmp_path: Path) -> None:
    source = tmp_path / "source"
    wanted = ["LICENSE", "Makefile", "generator/overlay_generator/__init__.py", "lib/x/y", "packaging/install"]
    for name in [*wanted, "dist/a.tar.gz", "build/x", ".venv/bin/python", "tests/x", "generator/__pycache__/x.pyc",
                 "generator/overlay_generator/__pycache__/x.pyc", "generator/a.egg-info/x", "notes"]:  # fmt: skip
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    done = make(tmp_path, "rsync", {**AT_BOOT, "OVERLAY_GENERATOR_OVERRIDE_SRCDIR": str(source)})
    assert done.returncode == 0, done.stderr
    (copy,) = (tmp_path / "build").iterdir()
    assert files_of(copy) - {".stamp_rsynced"} == set(wanted)


def test_what_the_kernel_needs_is_enabled(tmp_path: Path) -> None:
    assert make(tmp_path, "kernel", AT_BOOT).returncode == 0
    options = (tmp_path / "linux.config").read_text().split()
    assert options == ["CONFIG_OVERLAY_FS=y", "CONFIG_TMPFS=y", "CONFIG_TMPFS_XATTR=y"]


def test_the_package_is_known_and_built_by_the_host_python(tmp_path: Path) -> None:
    assert make(tmp_path, "dependencies", AT_BOOT).stdout == "overlay-generator: host-python3\n"
