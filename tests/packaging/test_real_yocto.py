# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The layer in trees of OpenEmbedded-Core and BitBake themselves: OECORE=PATH BITBAKE=PATH make builders-check.

Nothing is downloaded or compiled: recipes are parsed, tasks are run that need no other. BitBake does not run as root.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import BITBAKE, METAOE, OECORE, tree
from sources import copy_sources

from product import REPOSITORY

WITHIN = "packaging/yocto/meta-overlay-generator"
NOBODY = 65534
PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
# No network, no server that stays, and no more processors than a machine that has other work can give.
SETTINGS = {
    "CONF_VERSION": "2", "DISTRO": "nodistro", "MACHINE": "qemux86-64", "BB_NO_NETWORK": "1", "BB_SERVER_TIMEOUT": "0",
    "BB_HASHSERVE": "", "CONNECTIVITY_CHECK_URIS": "", "SANITY_TESTED_DISTROS": "", "BB_NUMBER_PARSE_THREADS": "2",
    "BB_SIGNATURE_HANDLER": "OEBasicHash",
}  # fmt: skip
SYSTEMD = {"INIT_MANAGER": "systemd", "DISTRO_FEATURES:append": " overlay-generator"}
TEST_LAYER = """
BBPATH .= ":${LAYERDIR}"
BBFILES += "${LAYERDIR}/recipes-*/*/*.bb"
BBFILE_COLLECTIONS += "overlay-generator-test"
BBFILE_PATTERN_overlay-generator-test = "^${LAYERDIR}/"
LAYERSERIES_COMPAT_overlay-generator-test = "RELEASES"
"""
IMAGE = """
LICENSE = "MIT"
inherit core-image overlay-generator-image
IMAGE_FSTYPES = "wic"
WKS_FILE = "overlay-generator-efi.wks"
EFI_PROVIDER = "systemd-boot"
"""
READ_ONLY = 'IMAGE_FEATURES += "read-only-rootfs"\n'
# The class's function in a task that depends on nothing, over a tree that the test has made.
UNITS = """
LICENSE = "MIT"
INHIBIT_DEFAULT_DEPS = "1"
inherit overlay-generator-image
IMAGE_FEATURES = "read-only-rootfs"
IMAGE_ROOTFS = "{image}"
STAGING_LIBDIR_NATIVE = "{native}/lib"
STAGING_BINDIR_NATIVE = "{native}/bin"
do_units() {{
    overlay_generator_make_units
}}
addtask units
"""


class Build:
    """A build directory of BitBake's, with the sources as they are in a place that anybody can read."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self.oecore, self.bitbake = tree(OECORE), tree(BITBAKE)
        self.sources = copy_sources(where / "sources")
        self.layer = self.sources / WITHIN
        self.test_layer = where / "test-layer"
        (self.test_layer / "conf").mkdir(parents=True)
        (self.test_layer / "conf/layer.conf").write_text(
            TEST_LAYER.replace("RELEASES", " ".join(releases(self.oecore)))
        )

    def add(self, name: str, text: str) -> Path:
        path = self.test_layer / f"recipes-test/test/{name}.bb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *words: str, settings: "dict[str, str]", layers: "list[Path] | None" = None) -> str:
        """What the command said in a new build directory with these layers, beside the core, and settings."""
        directory = Path(tempfile.mkdtemp(dir=self.where, prefix="build"))
        (directory / "conf").mkdir()
        names = [self.oecore / "meta", *([self.layer, self.test_layer] if layers is None else layers)]
        bblayers = (
            ["LCONF_VERSION", "7"],
            ["BBPATH", "${TOPDIR}"],
            ["BBFILES", ""],
            ["BBLAYERS", " ".join(map(str, names))],
        )
        for name, lines in (("bblayers", bblayers), ("local", {**SETTINGS, **settings}.items())):
            (directory / f"conf/{name}.conf").write_text("".join(f'{key} = "{value}"\n' for key, value in lines))
        user: list[str] = []
        if os.getuid() == 0:
            subprocess.run(["chown", "-R", str(NOBODY), directory], check=True)
            user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        environ = {
            "PATH": f"{self.bitbake}/bin:{self.oecore}/scripts:{PATH}", "HOME": str(directory), "LC_ALL": "C.UTF-8",
            "BUILDDIR": str(directory), "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }  # fmt: skip
        done = subprocess.run([*user, *words], cwd=directory, env=environ, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False, timeout=7200)  # fmt: skip
        return f"{done.stdout}\nexit status {done.returncode}\n"


@pytest.fixture(scope="module")
def build() -> "Iterator[Build]":
    # Not below pytest's own directory, which nobody else can enter.
    where = Path(tempfile.mkdtemp(prefix="overlay-generator-"))
    where.chmod(0o755)
    try:
        yield Build(where)
    finally:
        shutil.rmtree(where)


def releases(oecore: Path) -> "list[str]":
    """The names of the release that the tree is."""
    text = (oecore / "meta/conf/layer.conf").read_text()
    (names,) = re.findall(r'^LAYERSERIES_CORENAMES = "(.*)"$', text, re.MULTILINE)
    return list(names.split())


def succeeded(said: str) -> bool:
    return said.endswith("\nexit status 0\n")


def test_the_release_is_one_that_the_layer_names() -> None:
    names = releases(tree(OECORE))
    layer = (REPOSITORY / WITHIN / "conf/layer.conf").read_text()
    (ours,) = re.findall(r'^LAYERSERIES_COMPAT_overlay-generator = "(.*)"$', layer, re.MULTILINE)
    assert set(names) & set(ours.split()), f"not checked with {names} so far: check it, then name it there"


def test_a_new_build_directory_takes_the_layer(build: Build) -> None:
    """With OpenEmbedded's check of the build directory, which is done once in each."""
    said = build.run("bitbake", "-p", settings=SYSTEMD)
    assert succeeded(said), said
    assert "misconfiguration" not in said


@pytest.mark.parametrize(
    ("text", "settings", "reason"),
    [
        (READ_ONLY, {"INIT_MANAGER": "sysvinit"}, "missing required distro feature 'systemd'|required .*: 'systemd'"),
        ("", SYSTEMD, "missing required image feature 'read-only-rootfs'"),
        (READ_ONLY, SYSTEMD, ""),
    ],
)  # fmt: skip
def test_an_image_that_the_class_is_not_for_is_skipped(
    text: str, settings: "dict[str, str]", reason: str, build: Build
) -> None:
    path = build.add("image-of-test", IMAGE + text)
    said = build.run("bitbake", "-b", str(path), "-c", "listtasks", settings=settings)
    if reason:
        assert re.search(rf"image-of-test\.bb was skipped: .*({reason})", said), said
        assert not succeeded(said)
    else:
        assert succeeded(said), said


def test_the_kickstart_file_is_found(build: Build) -> None:
    path = build.add("image-of-test", IMAGE + READ_ONLY)
    said = build.run("bitbake", "-e", "-b", str(path), settings=SYSTEMD)
    assert f'\nWKS_FULL_PATH="{build.layer}/files/wic/overlay-generator-efi.wks"\n' in said
    (append,) = re.findall(r'^APPEND="(.*)"$', said, re.MULTILINE)
    assert append.split().count("overlayfs.mounts=/var") == 1


@pytest.mark.parametrize("feature", ["overlay-generator", ""])
def test_the_kernel_gets_the_fragment_where_asked_for(feature: str, build: Build) -> None:
    """By what is appended to linux-yocto, in a recipe of the test's: to one alone, BitBake appends nothing."""
    recipes = build.test_layer / f"recipes-{feature}/linux"
    shutil.copytree(build.layer / "recipes-kernel/linux", recipes)
    (recipes / "linux-yocto%.bbappend").rename(recipes / "appended.inc")
    recipe = recipes / "linux-of-test.bb"
    recipe.write_text('LICENSE = "MIT"\nSRC_URI = "file://first"\nrequire appended.inc\n')
    said = build.run("bitbake", "-e", "-b", str(recipe), settings={**SYSTEMD, "DISTRO_FEATURES:append": f" {feature}"})
    (value,) = re.findall(r'^SRC_URI="(.*)"$', said, re.MULTILINE)
    assert value.split() == ["file://first", *(["file://overlay-generator.cfg"] if feature else [])]
    (path,) = re.findall(r'^FILESEXTRAPATHS="(.*)"$', said, re.MULTILINE)
    assert (f"{recipes}/files" in path.split(":")) == bool(feature)


def test_the_reason_is_the_error_of_the_build(build: Build) -> None:
    native, image = build.where / "native", build.where / "image"
    subprocess.run(["make", "-s", "-C", REPOSITORY, "install", f"PREFIX={native}", "COMPILE=no"], check=True)
    (native / "bin/python3-native").mkdir()
    (native / "bin/python3-native/python3").symlink_to("/usr/bin/python3")
    (image / "usr/bin").mkdir(parents=True)
    path = build.add("units-of-test", UNITS.format(native=native, image=image))
    said = build.run("bitbake", "-b", str(path), "-c", "units", settings=SYSTEMD)
    assert not succeeded(said)
    assert re.search(r"^ERROR: .*/var does not exist in the image", said, re.MULTILINE), said
    for name in ("mkdir", "mount", "umount", "modprobe", "chown", "chmod"):
        (image / "usr/bin" / name).touch(0o755)
    (image / "var").mkdir()
    for name in ("bin", "sbin", "usr/sbin"):
        (image / name).symlink_to("/usr/bin")
    (image / "usr/lib/systemd/system").mkdir(parents=True)
    subprocess.run(["chmod", "-R", "a+rwX", image], check=True)
    said = build.run("bitbake", "-b", str(path), "-c", "units", settings=SYSTEMD)
    assert succeeded(said), said
    assert (image / "usr/lib/systemd/system/var.mount").is_file()


def test_a_layer_without_its_sources_skips_its_recipe_alone(build: Build) -> None:
    alone = build.where / "alone/layers/meta-overlay-generator"
    shutil.copytree(build.layer, alone)
    recipe = alone / "recipes-core/overlay-generator/overlay-generator.bb"
    said = build.run("bitbake", "-b", str(recipe), "-c", "listtasks", layers=[alone], settings=SYSTEMD)
    assert "was skipped: there are no sources of overlay-generator in" in said, said
    assert "set OVERLAY_GENERATOR_SOURCE" in said
    assert "ExpansionError" not in said
    given = {**SYSTEMD, "OVERLAY_GENERATOR_SOURCE": str(build.sources)}
    assert succeeded(build.run("bitbake", "-b", str(recipe), "-c", "listtasks", layers=[alone], settings=given))


def test_the_recipe_s_own_tasks_run(build: Build) -> None:
    """Fetched, unpacked, checked for its license: no more can be done without a Python built by BitBake."""
    recipe = build.layer / "recipes-core/overlay-generator/overlay-generator.bb"
    said = build.run("bitbake", "-b", str(recipe), "-c", "unpack", settings=SYSTEMD)
    assert succeeded(said), said
    assert not re.search("^(WARNING|ERROR): overlay-generator", said, re.MULTILINE), said


def needs_metaoe() -> "list[str]":
    metaoe = tree(METAOE)
    return ["--dependency", f"{metaoe}/meta-oe", f"{metaoe}/meta-python"]


@pytest.mark.parametrize("with_python", [False, True], ids=["alone", "meta-python"])
def test_yocto_check_layer_passes(with_python: bool, build: Build) -> None:
    """Takes as long as some full parses: up to half an hour on two processors, and more where they are not idle."""
    dependencies = needs_metaoe() if with_python else []
    words = ["yocto-check-layer", str(build.layer), *dependencies, "-n"]
    said = build.run(*words, settings={}, layers=[])
    assert succeeded(said), said
    assert re.search(r"meta-overlay-generator \.\.\. PASS", said), said


def test_wic_takes_the_kickstart_file(build: Build) -> None:
    """Where OpenEmbedded-Core has wic: since wrynose it is a project of its own."""
    if not (build.oecore / "scripts/wic").exists():
        pytest.skip(f"{OECORE} has no scripts/wic")
    for command in ("mkdosfs", "mcopy", "parted", "sgdisk", "mkfs.ext4"):
        if not shutil.which(command, path=PATH):
            pytest.skip(f"wic needs {command}")
    work = build.where / "wic"
    for name in ("rootfs/etc", "rootfs/var", "kernel", "out", "native/usr/bin"):
        (work / name).mkdir(parents=True)
    (work / "rootfs/etc/fstab").write_text("/dev/root / auto defaults 1 1\n")
    (work / "kernel/bzImage").write_bytes(b"kernel")
    (work / "kernel/systemd-bootx64.efi").write_bytes(b"loader")
    kickstart = build.layer / "files/wic/overlay-generator-efi.wks"
    variables = work / "vars"
    variables.mkdir()
    (variables / "image.env").write_text(
        f'DEPLOY_DIR_IMAGE="{work}/kernel"\nKERNEL_IMAGETYPE="bzImage"\nAPPEND="overlayfs.mounts=/var"\n'
        f'IMAGE_ROOTFS="{work}/rootfs"\nSTAGING_DATADIR="{work}"\nRECIPE_SYSROOT_NATIVE="/"\nPSEUDO_IGNORE_PATHS=""\nIMAGE_EFI_BOOT_FILES=""\n'
    )
    wic: list[str | Path] = [build.oecore / "scripts/wic", "create", kickstart, "-n", "/", "-o", work / "out"]
    wic += ["-v", variables, "-e", "image"]
    environ = {"PATH": f"{build.bitbake}/bin:{build.oecore}/scripts:{PATH}", "HOME": str(work), "LC_ALL": "C.UTF-8",
               "BUILDDIR": str(work)}  # fmt: skip
    done = subprocess.run(wic, env=environ, cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (image,) = (work / "out").glob("*.direct")
    table = subprocess.run(["parted", "-sm", image, "print"], capture_output=True, text=True, check=True).stdout
    assert [line.split(":")[4] for line in table.splitlines()[2:]] == ["fat16", "ext4", "ext4"]
    loader = subprocess.run(
        ["grep", "-a", "-o", "options .*", image], capture_output=True, text=True, check=True
    ).stdout
    assert loader.split().count("overlayfs.mounts=/var") == 1


# What oelint-adv says of the layer and we know better, by rule: why it stays as it is.
KNOWN = {
    "oelint.bbclass.underscores": "OpenEmbedded-Core's own classes have hyphens",
    "oelint.file.underscores": "the version is the product's own, and not in a file name",
    "oelint.var.mandatoryvar.HOMEPAGE": "the project has no home page so far",
    "oelint.vars.fileextrapaths": "the sources are what lies around the layer",
    "oelint.vars.layerconf": "the place of the sources is the layer's, and only layer.conf knows that",
    "oelint.vars.mispell": "variables that the tool's own list lacks",
    "oelint.vars.mispell.unknown": "variables that the tool's own list lacks",
    "oelint.vars.inconspaces": "the paths of a search path have colons between them",
    "oelint.vars.outofcontext": "the sources are what lies around the layer",
    "oelint.vars.pathhardcode.localstatedir": "/var is the name of what is overlaid, wherever else state is kept",
    "oelint.vars.noncoreoverride": "included only with the feature in DISTRO_FEATURES",
}


def test_oelint_has_nothing_new_to_say() -> None:
    tool = shutil.which("oelint-adv")
    if not tool:
        pytest.skip("oelint-adv is not in PATH")
    layer = REPOSITORY / WITHIN
    files = [path for suffix in ("bb", "bbappend", "bbclass") for path in layer.rglob(f"*.{suffix}")]
    done = subprocess.run(
        [tool, "--quiet", *files, layer / "conf/layer.conf"], capture_output=True, text=True, check=False
    )
    found = re.findall(r"^(\S+?):(\d+):(error|warning):([\w.-]+):(.*)$", done.stdout + done.stderr, re.MULTILINE)
    assert [place for place in found if place[3] not in KNOWN] == []
    assert KNOWN.keys() - {place[3] for place in found} == set(), "no longer said: take it out"
