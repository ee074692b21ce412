# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Yocto layer: its shell functions run as BitBake would run them, its names and paths compared with the tree.

BitBake itself is not needed. It puts the values of ${NAME} into shell functions before they run; here the functions
find them in their environment.
"""

import ast
import fnmatch
import hashlib
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import overlay_generator
from product import ENVIRON, REPOSITORY, SYSTEM_PYTHON

LAYER = REPOSITORY / "packaging/yocto/meta-overlay-generator"
RECIPE = LAYER / "recipes-core/overlay-generator/overlay-generator.bb"
COMMON = RECIPE.with_suffix(".inc")
OPERATOR = LAYER / "dynamic-layers/meta-python/recipes-core/overlay-generator/overlayctl.bb"
IMAGE = LAYER / "classes-recipe/overlay-generator-image.bbclass"
LIBRARY = "usr/lib/overlay-generator"
GENERATOR = "usr/lib/systemd/system-generators/overlay-generator"
KICKSTART = LAYER / "files/wic/overlay-generator-efi.wks"
WAITING = "\nConditionKernelCommandLine=overlayfs.mounts\n"
PATHS = {
    "prefix": "/usr",
    "bindir": "/usr/bin",
    "datadir": "/usr/share",
    "mandir": "/usr/share/man",
    "nonarch_libdir": "/usr/lib",
    "systemd_unitdir": "/usr/lib/systemd",
    "systemd_system_unitdir": "/usr/lib/systemd/system",
}


def functions_of(path: Path) -> "dict[str, str]":
    """The shell functions of a recipe or class, by their names with overrides."""
    found = re.findall(r"^([\w:-]+)\(\) \{\n(.*?)^\}$", path.read_text(), re.MULTILINE | re.DOTALL)
    return {name: body for name, body in found if not body.startswith("    import")}


def value_of(path: Path, name: str) -> str:
    """The value of an assignment, its lines joined."""
    match = re.search(rf'^{re.escape(name)} *[?:+.]*= *"(.*?)"$', path.read_text(), re.MULTILINE | re.DOTALL)
    assert match, f"{path.name} has no {name}"
    return match[1].replace("\\\n", " ")


def unpack(source: Path) -> None:
    """What SRC_URI names, and nothing else."""
    for word in value_of(COMMON, "SRC_URI").split():
        match = re.fullmatch(r"file://([\w./-]+);subdir=source", word)
        assert match, word
        (source / match[1]).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-R", REPOSITORY / match[1], source / match[1]], check=True)


def run_shell(body: str, functions: "dict[str, str]", environ: "dict[str, str]") -> "subprocess.CompletedProcess[str]":
    script = 'oe_runmake() { make --no-print-directory "$@"; }\n'
    script += "".join(f"{name}() {{\n{text}}}\n" for name, text in functions.items()) + body
    return subprocess.run(
        ["sh", "-eu", "-c", script], capture_output=True, text=True, check=False, env={**ENVIRON, **environ}
    )


def install(tmp_path: Path, body: str) -> Path:
    """The image directory ${D} after the do_install() with `body`."""
    source, image = tmp_path / "source", tmp_path / "image"
    unpack(source)
    image.mkdir()
    environ = {**PATHS, "S": str(source), "D": str(image), "PYTHON": SYSTEM_PYTHON}
    common = {"install_by_make": functions_of(COMMON)["install_by_make"]}
    done = run_shell(body, common, environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return image


def files_of(tree: Path) -> "set[str]":
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}


def make_install(where: Path, goal: str) -> "set[str]":
    subprocess.run(["make", "-s", "-C", REPOSITORY, goal, f"DESTDIR={where}"], check=True, capture_output=True)
    return files_of(where)


def test_the_recipe_installs_the_generator(tmp_path: Path) -> None:
    image = install(tmp_path, functions_of(RECIPE)["do_install"])
    assert files_of(image) == make_install(tmp_path / "make", "install-generator")
    assert GENERATOR in files_of(image)


def test_the_native_recipe_installs_overlayctl_too(tmp_path: Path) -> None:
    image = install(tmp_path, functions_of(RECIPE)["do_install:class-native"])
    assert {GENERATOR, "usr/bin/overlayctl", f"{LIBRARY}/overlayctl/main.py"} <= files_of(image)


def test_the_recipe_of_the_command_installs_it_alone(tmp_path: Path) -> None:
    image = install(tmp_path, functions_of(OPERATOR)["do_install"])
    assert files_of(image) == make_install(tmp_path / "make", "install-overlayctl")
    assert "usr/bin/overlayctl" in files_of(image)
    assert GENERATOR not in files_of(image)


@pytest.mark.parametrize("recipe", [RECIPE, OPERATOR], ids=lambda path: path.stem)
def test_every_installed_file_is_in_a_package(recipe: Path, tmp_path: Path) -> None:
    """Beside FILES there are OpenEmbedded's own: commands, units are not among them, manuals go to PN-doc."""
    image = install(tmp_path, functions_of(recipe)["do_install"])
    patterns = [re.sub(r"\$\{(\w+)\}", lambda m: PATHS[m[1]], word) for word in value_of(recipe, "FILES:${PN}").split()]
    for name in files_of(image):
        packaged = [
            p for p in (*patterns, "/usr/bin", "/usr/share/man") if f"/{name}" == p or f"/{name}".startswith(p + "/")
        ]
        assert packaged, name


class SkipRecipe(Exception):
    """What tells BitBake's parser that this recipe can't be built here, and why."""


def read_version(source: Path) -> "tuple[str, list[str]]":
    """The version that the recipe reads from the tree `source`, and the files whose change makes it read that anew."""
    text = re.search(r"^def read_overlay_generator_version.*?(?=^PV)", COMMON.read_text(), re.MULTILINE | re.DOTALL)
    assert text
    marked: list[str] = []
    parse = types.SimpleNamespace(mark_dependency=lambda _d, path: marked.append(path), SkipRecipe=SkipRecipe)
    names = {"os": os, "bb": types.SimpleNamespace(parse=parse)}
    exec(compile(text[0], str(COMMON), "exec"), names)
    store = types.SimpleNamespace(getVar={"OVERLAY_GENERATOR_SOURCE": str(source)}.get)
    assert f'PV = "${{@{text[0].split()[1].split("(")[0]}(d)}}"' in COMMON.read_text()
    return names["read_overlay_generator_version"](store), marked  # type: ignore[operator]


def test_the_version_is_the_product_s() -> None:
    version, marked = read_version(REPOSITORY)
    assert version == overlay_generator.__version__
    assert [Path(path).name for path in marked] == ["__init__.py"]


def test_a_layer_without_its_sources_breaks_no_other_build(tmp_path: Path) -> None:
    with pytest.raises(SkipRecipe, match=re.escape(str(tmp_path)) + ".*set OVERLAY_GENERATOR_SOURCE"):
        read_version(tmp_path)


def test_the_license_is_the_one_that_is_checked() -> None:
    digest = hashlib.md5((REPOSITORY / "LICENSE").read_bytes()).hexdigest()
    assert value_of(COMMON, "LIC_FILES_CHKSUM") == f"file://LICENSE;md5={digest}"
    assert f"license = {value_of(COMMON, 'LICENSE')}\n" in (REPOSITORY / "setup.cfg").read_text()


def test_the_source_is_the_tree_around_the_layer() -> None:
    path = value_of(LAYER / "conf/layer.conf", "OVERLAY_GENERATOR_SOURCE")
    assert Path(path.replace("${LAYERDIR}", str(LAYER))).resolve() == REPOSITORY


def test_every_recipe_is_found_by_the_layer() -> None:
    configuration = LAYER / "conf/layer.conf"
    words = (value_of(configuration, "BBFILES") + value_of(configuration, "BBFILES_DYNAMIC")).split()
    patterns = [word.removeprefix("meta-python:").replace("${LAYERDIR}", str(LAYER)) for word in words]
    recipes = [str(path) for path in LAYER.rglob("*.bb*") if path.suffix in (".bb", ".bbappend")]
    assert len(recipes) == 3
    assert [r for r in recipes if not any(fnmatch.fnmatch(r, pattern) for pattern in patterns)] == []
    assert len({pattern for pattern in patterns for r in recipes if fnmatch.fnmatch(r, pattern)}) == len(patterns)


def test_what_is_required_is_there() -> None:
    for path in (RECIPE, OPERATOR):
        for name in re.findall(r"^require (\S+)$", path.read_text(), re.MULTILINE):
            assert (path.parent / name).is_file() or (LAYER / name).is_file()


def test_the_kernel_gets_what_buildroot_s_gets() -> None:
    lines = (LAYER / "recipes-kernel/linux/files/overlay-generator.cfg").read_text().splitlines()
    fragment = [line for line in lines if not line.startswith("#")]
    buildroot = (REPOSITORY / "packaging/buildroot/package/overlay-generator/overlay-generator.mk").read_text()
    assert fragment == [f"{name}=y" for name in re.findall(r"KCONFIG_ENABLE_OPT,(\w+)\)", buildroot)]
    added = (LAYER / "recipes-kernel/linux/overlay-generator-kernel.inc").read_text()
    assert re.findall(r"file://(\S+?)\"", added) == ["overlay-generator.cfg"]


def test_the_layer_alone_changes_no_kernel() -> None:
    """The text of a value is a part of the signature, even if a condition in it evaluates to nothing."""
    lines = (LAYER / "recipes-kernel/linux/linux-yocto%.bbappend").read_text().splitlines()
    (line,) = [line for line in lines if not line.startswith("#")]
    assert re.fullmatch(
        r"require \$\{@bb\.utils\.contains\('DISTRO_FEATURES', 'overlay-generator', '[\w.-]+', '', d\)\}", line
    )


def test_what_needs_systemd_is_not_built_without() -> None:
    """overlayctl depends on the generator, so both require it."""
    assert value_of(COMMON, "REQUIRED_DISTRO_FEATURES:class-target") == "systemd"
    assert "features_check" in re.findall(r"^inherit (.*)$", COMMON.read_text(), re.MULTILINE)[0].split()
    assert {"recipes-core/overlay-generator/overlay-generator.inc", "overlay-generator.inc"} == {
        name for path in (RECIPE, OPERATOR) for name in re.findall(r"^require (\S+)$", path.read_text(), re.MULTILINE)
    }
    assert value_of(IMAGE, "REQUIRED_DISTRO_FEATURES:append") == " systemd"
    assert value_of(IMAGE, "REQUIRED_IMAGE_FEATURES:append") == " read-only-rootfs"
    assert "\ninherit features_check\n" in IMAGE.read_text()


def test_kickstart_files_are_where_every_release_takes_them(tmp_path: Path) -> None:
    """Not in wic/: wrynose and later end the first build in a build directory where a layer has that."""
    assert [path.name for path in LAYER.iterdir() if path.name in ("wic", "scripts")] == []
    value = value_of(IMAGE, "WKS_SEARCH_PATH:append")
    match = re.fullmatch(r":\$\{@(.*?)\}(.*)", value)
    assert match
    store = types.SimpleNamespace(getVar={"BBPATH": f"{tmp_path}:{LAYER}"}.get)
    found = (eval(match[1], {"d": store}) + match[2]).split(":")
    assert found == [f"{tmp_path}/files/wic", str(KICKSTART.parent)]


def test_the_layer_says_whom_to_write_to() -> None:
    """Also if it is looked at without the tree around it: yocto-check-layer wants both files."""
    address = "maintainers@users.noreply.r-seed-7cf0e7b4.example"
    for path in (LAYER / "README.md", LAYER / "SECURITY.md", REPOSITORY / "SECURITY.md", REPOSITORY / "MAINTAINERS"):
        assert address in path.read_text(), path
    text = (LAYER / "README.md").read_text().lower()
    assert "maintainer" in text
    assert "patch" in text


# The image class


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What overlay-generator-native and python3-native put into the native sysroot, as far as it is used."""
    where = tmp_path_factory.mktemp("native") / "usr"
    subprocess.run(["make", "-s", "-C", REPOSITORY, "install", f"PREFIX={where}"], check=True, capture_output=True)
    (where / "bin/python3-native").mkdir(parents=True)
    (where / "bin/python3-native/python3").symlink_to(SYSTEM_PYTHON)
    return where


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """The tree of an image with a /var and the commands that units run."""
    where = tmp_path / "rootfs"
    for path in ("var/lib", "usr/bin", "usr/sbin", "etc"):
        (where / path).mkdir(parents=True)
    (where / "bin").symlink_to("usr/bin")
    (where / "sbin").symlink_to("usr/sbin")
    for command in ("bin/mkdir", "bin/mount", "bin/umount", "sbin/modprobe", "bin/chown", "bin/chmod"):
        (where / "usr" / command).touch(0o755)
    return where


def make_units(native: Path, rootfs: Path, always: str = "0") -> "subprocess.CompletedProcess[str]":
    environ = {
        **PATHS,
        "IMAGE_ROOTFS": str(rootfs),
        "STAGING_LIBDIR_NATIVE": str(native / "lib"),
        "STAGING_BINDIR_NATIVE": str(native / "bin"),
        "OVERLAY_GENERATOR_CMDLINE": "overlayfs.mounts=/var",
        "OVERLAY_GENERATOR_ALWAYS": always,
    }
    functions = {**functions_of(IMAGE), "bbfatal": '    echo "ERROR: $*"; exit 1\n'}
    return run_shell("overlay_generator_make_units", functions, environ)


def test_an_image_without_the_generator_gets_static_units(native: Path, rootfs: Path) -> None:
    done = make_units(native, rootfs)
    assert done.returncode == 0, done.stderr
    unit = rootfs / "usr/lib/systemd/system/var.mount"
    assert WAITING in unit.read_text()
    make_units(native, rootfs, always="1")
    assert WAITING not in unit.read_text()


def test_an_image_with_the_generator_is_only_checked(native: Path, rootfs: Path) -> None:
    (rootfs / GENERATOR).parent.mkdir(parents=True)
    (rootfs / GENERATOR).touch(0o755)
    before = files_of(rootfs)
    done = make_units(native, rootfs)
    assert done.returncode == 0, done.stderr
    assert files_of(rootfs) == before


@pytest.mark.parametrize("with_generator", [True, False])
def test_an_image_that_could_not_be_overlaid_is_not_built(with_generator: bool, native: Path, rootfs: Path) -> None:
    if with_generator:
        (rootfs / GENERATOR).parent.mkdir(parents=True)
        (rootfs / GENERATOR).touch(0o755)
    (rootfs / "var/lib").rmdir()
    (rootfs / "var").rmdir()
    done = make_units(native, rootfs)
    assert done.returncode != 0
    assert "/var does not exist in the image" in done.stderr
    # What somebody sees who reads no log.
    assert re.search(r"^ERROR: .*/var does not exist in the image", done.stdout, re.MULTILINE)


def test_the_word_gets_to_every_kernel_command_line() -> None:
    text = IMAGE.read_text()
    for variable in ("APPEND", "UKI_CMDLINE", "QB_KERNEL_CMDLINE_APPEND"):
        assert f'\n{variable}:append = " ${{OVERLAY_GENERATOR_CMDLINE}}"\n' in text
    # wic adds APPEND to what its kickstart file says: there it would come twice.
    assert "overlayfs.mounts" not in value_of_bootloader()


def value_of_bootloader() -> str:
    """What the kickstart file puts on the kernel command line."""
    match = re.search(r'^bootloader .*--append="(.*)"$', KICKSTART.read_text(), re.MULTILINE)
    assert match
    return match[1]


def test_the_kickstart_file_has_nothing_that_wic_refuses() -> None:
    """A label on erofs or squashfs, as wic of scarthgap reads it; and a root that the shipped kernels can mount."""
    parts = [line.split() for line in KICKSTART.read_text().splitlines() if line.startswith("part ")]
    roots = [words for words in parts if words[1] == "/"]
    assert [word for words in roots for word in words if word.startswith("--fstype=")] == ["--fstype=ext4"]
    assert "rootfstype=ext4 ro" in value_of_bootloader()
    assert [
        words for words in parts if "--label" in words and {"--fstype=erofs", "--fstype=squashfs"} & set(words)
    ] == []


def test_a_line_for_fstab_is_there_before_the_units_are_made(rootfs: Path) -> None:
    line = "LABEL=data /run/buildroot/mounts/var ext4 defaults,nofail,x-systemd.device-timeout=10s 0 2"
    (rootfs / "etc/fstab").write_text("/dev/root / auto defaults 1 1\n")
    environ = {"IMAGE_ROOTFS": str(rootfs), "sysconfdir": "/etc", "OVERLAY_GENERATOR_FSTAB": ""}
    # BitBake puts the value into the text.
    body = functions_of(IMAGE)["overlay_generator_add_to_fstab"]
    for value, expected in (("", 1), (line, 2)):
        done = run_shell(body.replace("${OVERLAY_GENERATOR_FSTAB}", value), {}, environ)
        assert done.returncode == 0, done.stderr
        assert len((rootfs / "etc/fstab").read_text().splitlines()) == expected
    assert (rootfs / "etc/fstab").read_text().splitlines()[1] == line
    commands = value_of(IMAGE, "ROOTFS_POSTPROCESS_COMMAND:append").split()
    assert commands == ["overlay_generator_add_to_fstab", "overlay_generator_make_units"]


@pytest.mark.parametrize("path", [COMMON, RECIPE, OPERATOR, IMAGE], ids=lambda path: path.name)
def test_shell_functions_have_no_fault_of_syntax(path: Path) -> None:
    for name, body in functions_of(path).items():
        done = subprocess.run(["sh", "-n"], input=body, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"


# The runtime test


def test_the_runtime_test_can_be_loaded_and_its_order_is_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    depends: list[str] = []

    def mark(names: "list[str]") -> object:
        depends.extend(names)
        return lambda function: function

    modules: dict[str, dict[str, object]] = {
        "oeqa": {},
        "oeqa.core": {},
        "oeqa.core.decorator": {},
        "oeqa.core.decorator.depends": {"OETestDepends": mark},
        "oeqa.runtime": {},
        "oeqa.runtime.case": {"OERuntimeTestCase": object},
    }
    for name, content in modules.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    path = LAYER / "lib/oeqa/runtime/cases/overlay_generator.py"
    names: dict[str, object] = {"__name__": "overlay_generator_case"}
    exec(compile(path.read_text(), str(path), "exec"), names)
    methods = {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}
    own = [name.rpartition(".")[2] for name in depends if name.startswith("overlay_generator.")]
    assert own
    assert set(own) <= methods
    assert set(depends) - {f"overlay_generator.OverlayGeneratorTest.{name}" for name in own} == {"ssh.SSHTest.test_ssh"}
