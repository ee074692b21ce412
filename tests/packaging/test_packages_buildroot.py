"""The br2-external tree: its package installed by make as Buildroot does it, its menu read by a Kconfig parser.

Buildroot itself is not needed: buildroot.mk stands for its package infrastructure, Config.stub.in for its menus.
"""

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest

from product import ENVIRON, REPOSITORY, SYSTEM_PYTHON

HERE = Path(__file__).resolve().parent
EXTERNAL = REPOSITORY / "packaging/buildroot"
PACKAGE = EXTERNAL / "package/overlay-generator"
LIBRARY = "usr/lib/overlay-generator"
GENERATOR = "usr/lib/systemd/system-generators/overlay-generator"
AT_BOOT = {"BR2_PACKAGE_PYTHON3": "y", "BR2_PACKAGE_OVERLAY_GENERATOR_AT_BOOT": "y"}
STATIC = {"BR2_PACKAGE_OVERLAY_GENERATOR_STATIC": "y"}
BOOT = [REPOSITORY / "generator" / name for name in ("overlay_generator", "overlay_prepare")]
MODULES = {path.stem for package in BOOT for path in package.glob("*.py")}


def make(base: Path, goal: str, config: "dict[str, str]") -> "subprocess.CompletedProcess[str]":
    """What `goal` of the fake Buildroot says, with the configuration `config`; its target tree is base/target."""
    python = base / "host/bin/python3"
    if not python.exists():
        python.parent.mkdir(parents=True)
        python.symlink_to(SYSTEM_PYTHON)
    config = {"BR2_PACKAGE_OVERLAY_GENERATOR_MOUNTS": '"/var"', **config}
    words = [f"{key}={value}" for key, value in config.items()]
    files = ["-f", str(HERE / "buildroot.mk"), f"EXTERNAL={EXTERNAL}", f"BASE={base}"]
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


@pytest.mark.parametrize("kind", ["PY_PYC", "PYC_ONLY", "PY_ONLY"])
def test_the_generator_is_installed_with_the_files_that_were_chosen(kind: str, tmp_path: Path) -> None:
    target = install(tmp_path, **AT_BOOT, **{f"BR2_PACKAGE_PYTHON3_{kind}": "y"})
    sources = {Path(name).stem for name in files_of(target) if name.endswith(".py")}
    beside = {path.stem for path in (target / LIBRARY).glob("*/*.pyc")}
    cached = {path.name.partition(".")[0] for path in (target / LIBRARY).glob("*/__pycache__/*.pyc")}
    assert (sources, beside, cached) == {
        "PY_PYC": (MODULES, set(), MODULES),
        "PYC_ONLY": (set(), MODULES, set()),
        "PY_ONLY": (MODULES, set(), set()),
    }[kind]
    assert os.access(target / GENERATOR, os.X_OK)
    assert "var.mount" in generate(target, tmp_path / "out")


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
    (tmp_path / "build/overlay-generator-custom/.stamp_target_installed").unlink()
    with_it = {"BR2_PACKAGE_OVERLAY_GENERATOR_OVERLAYCTL": "y", "BR2_PACKAGE_PYTHON3_PYC_ONLY": "y"}
    target = install(tmp_path, **AT_BOOT, **with_it)
    assert os.access(target / "usr/bin/overlayctl", os.X_OK)
    assert not [name for name in files_of(target) if name.endswith(".py")]
    assert (target / "usr/lib/overlay-generator/overlayctl/main.pyc").is_file()


def make_tree(target: Path, var: bool = True) -> None:
    """What Buildroot has in a target tree at the least: /bin a link into /usr, and the commands that units run."""
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


def test_what_the_kernel_needs_is_enabled(tmp_path: Path) -> None:
    assert make(tmp_path, "kernel", AT_BOOT).returncode == 0
    options = (tmp_path / "linux.config").read_text().split()
    assert options == ["CONFIG_OVERLAY_FS=y", "CONFIG_TMPFS=y", "CONFIG_TMPFS_XATTR=y"]


def test_the_package_is_known_and_built_by_the_host_python(tmp_path: Path) -> None:
    assert make(tmp_path, "dependencies", AT_BOOT).stdout == "overlay-generator: host-python3\n"


# The menu

BASE = {"BR2_INIT_SYSTEMD": "y", "BR2_INIT_SYSTEMD_VAR_NONE": "y"}
ON = "BR2_PACKAGE_OVERLAY_GENERATOR"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({**BASE, ON: "y"}, {ON: "y", f"{ON}_STATIC": "y", "BR2_INIT_SYSTEMD_POPULATE_TMPFILES": "y"}),
        ({**BASE, ON: "y", "BR2_PACKAGE_PYTHON3": "y"}, {f"{ON}_AT_BOOT": "y", f"{ON}_STATIC": "n"}),
        ({**BASE, ON: "y", "BR2_PACKAGE_PYTHON3": "y", f"{ON}_STATIC": "y"}, {f"{ON}_AT_BOOT": "n"}),
        ({**BASE, ON: "y", f"{ON}_AT_BOOT": "y"}, {f"{ON}_AT_BOOT": "n", f"{ON}_STATIC": "y"}),
        ({**BASE}, {ON: "n", f"{ON}_AT_BOOT": "n", f"{ON}_STATIC": "n"}),
        ({"BR2_INIT_SYSTEMD_VAR_NONE": "y", ON: "y"}, {ON: "n"}),
        ({**BASE, "BR2_INIT_SYSTEMD_VAR_OVERLAYFS": "y", ON: "y"}, {ON: "n"}),
        ({**BASE, "BR2_INIT_SYSTEMD_VAR_FACTORY": "y", ON: "y"}, {ON: "n"}),
        (
            {**BASE, ON: "y", "BR2_PACKAGE_PYTHON3": "y", f"{ON}_OVERLAYCTL": "y"},
            {"BR2_PACKAGE_PYTHON_PSUTIL": "y", "BR2_PACKAGE_PYTHON_PYUDEV": "y"},
        ),
    ],
)  # fmt: skip
def test_the_menu(
    given: "dict[str, str]", expected: "dict[str, str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kconfiglib = pytest.importorskip("kconfiglib")
    monkeypatch.setenv("BR2_EXTERNAL_OVERLAY_GENERATOR_PATH", str(EXTERNAL))
    monkeypatch.setenv("CONFIG_", "")
    kconfig = kconfiglib.Kconfig(str(HERE / "Config.stub.in"), warn_to_stderr=False)
    lines = "".join(f"{key}={value}\n" for key, value in given.items())
    (tmp_path / "config").write_text(lines)
    kconfig.load_config(str(tmp_path / "config"))
    assert {key: kconfig.syms[key].str_value for key in expected} == expected
    assert not [text for text in kconfig.warnings if "undefined symbol" in text]


def test_the_defconfig_chooses_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    kconfiglib = pytest.importorskip("kconfiglib")
    monkeypatch.setenv("BR2_EXTERNAL_OVERLAY_GENERATOR_PATH", str(EXTERNAL))
    monkeypatch.setenv("CONFIG_", "")
    kconfig = kconfiglib.Kconfig(str(HERE / "Config.stub.in"), warn_to_stderr=False)
    kconfig.load_config(str(EXTERNAL / "configs/overlay_generator_qemu_x86_64_defconfig"))
    for key in (ON, f"{ON}_AT_BOOT", "BR2_INIT_SYSTEMD_VAR_NONE", "BR2_INIT_SYSTEMD_POPULATE_TMPFILES"):
        assert kconfig.syms[key].str_value == "y", key


# Rules of Buildroot's check-package that a change is likely to break. All of them, with a checkout of Buildroot:
# BUILDROOT/utils/check-package -b $(find packaging/buildroot -type f)


def test_rules_of_the_make_file() -> None:
    lines = (PACKAGE / "overlay-generator.mk").read_text().split("\n")
    assert lines[:6] == ["#" * 80, "#", "# overlay-generator", "#", "#" * 80, ""]
    inside = continued = False
    for line in lines:
        if line.startswith("define "):
            inside = True
        elif line == "endef":
            inside = False
        elif line and not line.startswith(("#", "if", "else", "endif")):
            assert line.startswith("\t") == (inside or continued), line
            assert not re.search(r"(  |\t)\\$", line), line
            assert not re.search(r"[^$]\$\{\w+\}", line), line
            assert "$(HOST_DIR)/usr" not in line, line
        assert not re.match(r"\s*(else\s+)?ifn?def\s", line), line
        name = re.match(r"(?:define )?([A-Z0-9]+_[A-Z0-9_]+)", line)
        assert not name or name[1].startswith("OVERLAY_GENERATOR_"), line
        continued = line.endswith("\\")


@pytest.mark.parametrize("path", [PACKAGE / "Config.in", EXTERNAL / "Config.in"], ids=["package", "tree"])
def test_rules_of_the_menu(path: Path) -> None:
    order = ["bool", "prompt", "string", "default", "depends", "select", "help"]
    last = -1
    helping = continued = False
    text = path.read_text()
    assert not re.search(r"\tdefault n\n|\thelp\n\t  \s", text)
    for line in text.splitlines():
        word = line.split(maxsplit=1)[0] if line.strip() else ""
        if helping and (not word or line.startswith("\t  ")):
            # Two blanks and 62 characters after the tab.
            assert not word or re.fullmatch(r"\t  .{1,62}", line), line
            continue
        helping = False
        if word in order:
            assert line.startswith(f"\t{word}"), line
            place = max(2, order.index(word))
            assert place >= last, f"{line}: type, default, depends on, select, help"
            last, helping = place, word == "help"
        elif word and not word.startswith("#") and not continued:
            assert not line.startswith("\t"), line
            last = -1
        continued = line.endswith("\\")


@pytest.mark.parametrize(
    "path", sorted(path for path in EXTERNAL.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_rules_of_every_file(path: Path) -> None:
    text = path.read_text()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\n\n\n" not in text or path.suffix == ".py"
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert not os.access(path, os.X_OK)
    text.encode("ascii")


def test_rules_of_the_runtime_tests() -> None:
    lines = (EXTERNAL / "support/testing/tests/init/test_overlay_generator.py").read_text().splitlines()
    assert lines[0].startswith("#")
    # One word may be longer: a value can't be broken.
    assert not [line for line in lines if len(line) > 79 and len(line.split()) > 1]


def test_the_hash_file_has_the_license_as_it_is() -> None:
    lines = (PACKAGE / "overlay-generator.hash").read_text().splitlines()
    fields = [line.split("  ") for line in lines if not line.startswith("#")]
    assert fields == [["sha256", hashlib.sha256((REPOSITORY / "LICENSE").read_bytes()).hexdigest(), "LICENSE"]]


def test_every_defconfig_has_its_downloads_checked() -> None:
    for path in (EXTERNAL / "configs").iterdir():
        assert path.name.endswith("_defconfig")
        assert "\nBR2_DOWNLOAD_FORCE_CHECK_HASHES=y\n" in path.read_text()


def test_the_tree_has_a_name_and_says_what_it_is() -> None:
    fields = dict(line.split(": ", 1) for line in (EXTERNAL / "external.desc").read_text().splitlines())
    assert fields.keys() == {"name", "desc"}
    assert fields["name"] == "OVERLAY_GENERATOR"
