# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The Debian packages: built without a network, then installed, upgraded, used, removed and purged in small trees.

`make packages-check` runs this: it needs root, the network for the trees, and some minutes.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sources import commit, copy_sources, ran, run
from trees import enter, listing, make_tree

from overlay_generator import __version__
from product import REPOSITORY

pytestmark = pytest.mark.skipif(not os.environ.get("PACKAGES"), reason="takes minutes: make packages-check")

SUITES = ("bullseye", "bookworm", "trixie", "sid")
MINIMAL = ("mount", "python3-minimal")
OPERATOR = ("mount", "python3", "python3-psutil", "python3-pyudev")
RUNNING = ("mount", "python3-minimal", "systemd", "systemd-sysv")
OLDER = "0.0.9"
LIBRARY = "usr/lib/overlay-generator"
COMPILED = """
import sys
from importlib.util import MAGIC_NUMBER as magic
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        head = file.read(8)
    assert head[:4] == magic, f"{name}: of another Python"
    assert head[4] == 0b11, f"{name}: not compared by hash"
"""


def build(tree: Path, options: str = "") -> Path:
    """dist/ of the sources in `tree` after `make deb`, which had no network."""
    ran("unshare", "--net", "make", "-s", "deb", cwd=tree, DEB_BUILD_OPTIONS=options)
    return tree / "dist"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_sources(tmp_path_factory.mktemp("debian"))


@pytest.fixture(scope="module")
def dist(sources: Path) -> Path:
    """With the tests that a build runs."""
    return build(sources, os.environ.get("DEB_BUILD_OPTIONS", ""))


@pytest.fixture(scope="module")
def older(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dist/ of an earlier version, with a module that the next one no longer has."""
    tree = tmp_path_factory.mktemp("older")
    ran("git", "clone", "-q", sources, tree, cwd=tree)
    for name in ("generator/overlay_generator/__init__.py", "packaging/debian/changelog"):
        path = tree / name
        path.write_text(path.read_text().replace(__version__, OLDER))
    (tree / "generator/overlay_generator/gone.py").write_text("")
    commit(tree)
    return build(tree, "nocheck")


@pytest.fixture
def place(tmp_path: Path) -> "Iterator[Path]":
    """A place for a tree, which is big, and so is not kept as other files of tests are."""
    yield tmp_path / "tree"
    shutil.rmtree(tmp_path / "tree", ignore_errors=True)


def tree_with(packages: "tuple[str, ...]", suite: str, where: Path, *debs: Path) -> Path:
    """A tree of Debian that has our packages in /debs, not installed."""
    where.mkdir()
    make_tree(suite, packages, where)
    # No power cut is expected here, and on a busy disk each sync takes seconds.
    (where / "etc/dpkg/dpkg.cfg.d/test").write_text("force-unsafe-io\n")
    (where / "debs").mkdir()
    for deb in debs:
        shutil.copy2(deb, where / "debs")
    return where


def find_modules(tree: Path, *packages: str) -> "tuple[list[str], dict[str, Path]]":
    """The modules of `packages` that are installed in `tree`, sorted, and the compiled file of each that has one."""
    library = tree / LIBRARY
    sources = [path for package in packages for path in (library / package).rglob("*.py")]
    caches = [path for package in packages for path in (library / package).rglob("*.pyc")]
    compiled = {str((path.parents[1] / path.name.partition(".")[0]).relative_to(library)): path for path in caches}
    return sorted(str(path.relative_to(library).with_suffix("")) for path in sources), compiled


def package(dist: Path, name: str) -> Path:
    (deb,) = dist.glob(f"{name}_*.deb")
    return deb


def test_lintian(dist: Path) -> None:
    """Every tag but information and pedantry is an error; overrides have their reasons beside them."""
    (changes,) = dist.glob("*.changes")
    words = ["--allow-root", "-EvI", "--pedantic", "--fail-on", "error,warning"]
    done = run("lintian", *words, changes, cwd=dist)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.findall(r"^[EW]: .*", done.stdout, re.MULTILINE)


def test_building_twice_gives_the_same_bytes(sources: Path, dist: Path, tmp_path: Path) -> None:
    other = tmp_path / "another" / "place"
    ran("git", "clone", "-q", sources, other, cwd=tmp_path)
    command = ["make", "-s", "deb"]
    environ = {"PATH": os.environ["PATH"], "TZ": "Asia/Tokyo", "LC_ALL": "C", "DEB_BUILD_OPTIONS": "nocheck"}
    subprocess.run(command, cwd=other, env=environ, umask=0o027, check=True, capture_output=True, timeout=300)
    for first in (*dist.glob("*.deb"), *dist.glob("*.tar.*"), *dist.glob("*.dsc")):
        assert (other / "dist" / first.name).read_bytes() == first.read_bytes(), first.name


def test_the_packages_part_what_make_install_puts(sources: Path, dist: Path, tmp_path: Path) -> None:
    """No file is left out and none is in both; compiled ones are made on installation. Debian's zsh looks for what a
    package brings in a directory of its own.
    """
    image = tmp_path / "image"
    ran("make", "-s", "install", f"DESTDIR={image}", "COMPILE=no", cwd=sources)
    wanted = {str(path.relative_to(image)) for path in image.rglob("*") if not path.is_dir()}
    found = []
    for name in ("overlay-generator", "overlayctl"):
        ran("dpkg-deb", "-x", package(dist, name), tmp_path / name, cwd=tmp_path)
        found += [str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*") if not path.is_dir()]
    added = ("usr/share/doc/", "usr/share/lintian/", "usr/share/python3/runtime.d/")
    ours = [path.removesuffix(".gz") for path in found if not path.startswith(added)]
    assert sorted(ours) == sorted(path.replace("/site-functions/", "/vendor-completions/") for path in wanted)


@pytest.mark.parametrize("suite", SUITES)
def test_install_upgrade_remove_purge(suite: str, dist: Path, older: Path, place: Path) -> None:
    """With python3-minimal and nothing more of Python; nothing is left behind."""
    old, new = package(older, "overlay-generator"), package(dist, "overlay-generator")
    tree = tree_with(MINIMAL, suite, place, old, new)
    shutil.copytree(REPOSITORY / "packaging/debian/tests", tree / "tests")
    before = listing(tree)
    for version, deb in ((OLDER, old), (__version__, new)):
        enter(tree, f"dpkg -i /debs/{deb.name}")
        assert enter(tree, "dpkg-query -W -f '${Version}' overlay-generator").stdout.startswith(version)
        python = enter(tree, "dpkg-query -W -f '${Package} ${Status}\n' '*python3*'").stdout
        installed = [line.split()[0] for line in python.splitlines() if line.endswith(" installed")]
        assert [name for name in installed if not name.endswith("-minimal")] == []
        modules, compiled = find_modules(tree, "overlay_generator", "overlay_prepare")
        assert ("overlay_generator/gone" in modules) == (version == OLDER)
        assert sorted(compiled) == modules
        names = " ".join(f"/{path.relative_to(tree)}" for path in compiled.values())
        enter(tree, f"python3 -ISB -c '{COMPILED}' {names}")
        enter(tree, "export AUTOPKGTEST_TMP=$(mktemp -d) && sh -eu /tests/minimal")
    enter(tree, "dpkg -r overlay-generator")
    assert listing(tree) == before
    enter(tree, f"dpkg -i /debs/{new.name} && dpkg -P overlay-generator")
    assert listing(tree) == before
    assert enter(tree, "dpkg-query -W overlay-generator", check=False).returncode == 1


@pytest.mark.parametrize("suite", SUITES)
def test_overlayctl_comes_and_goes(suite: str, dist: Path, place: Path) -> None:
    debs = [package(dist, name) for name in ("overlay-generator", "overlayctl")]
    tree = tree_with(OPERATOR, suite, place, *debs)
    shutil.copytree(REPOSITORY / "packaging/debian/tests", tree / "tests")
    before = listing(tree)
    enter(tree, "dpkg -i /debs/*.deb && sh -eu /tests/overlayctl")
    modules, compiled = find_modules(tree, "overlayctl")
    assert sorted(compiled) == modules != []
    enter(tree, "dpkg -r overlayctl")
    assert not (tree / LIBRARY / "overlayctl").exists()
    assert (tree / LIBRARY / "overlay_generator/boot.py").exists()
    enter(tree, "dpkg -r overlay-generator")
    assert listing(tree) == before


def test_overlayctl_is_not_installed_without_what_it_needs(dist: Path, place: Path) -> None:
    debs = [package(dist, name) for name in ("overlay-generator", "overlayctl")]
    tree = tree_with(MINIMAL, SUITES[-2], place, *debs)
    done = enter(tree, "dpkg -i /debs/*.deb", check=False)
    assert done.returncode != 0
    assert "overlayctl depends on python3-psutil" in done.stderr


def test_autopkgtest(sources: Path, dist: Path, place: Path, tmp_path: Path) -> None:
    """As Debian runs them, in a chroot: so without running-system, which is in the container below."""
    tree = tree_with((*OPERATOR, "python3-pytest", "apt-utils"), "bookworm", place)
    built = sources / f"build/packages/deb/overlay-generator-{__version__}"
    inside = 'mount -t proc proc "$0/proc"; mkdir -p "$0/dev/pts"; mount --bind /dev/pts "$0/dev/pts"; exec "$@"'
    command = ["autopkgtest", "-o", str(tmp_path / "out"), *map(str, dist.glob("*.deb")), f"{built}/"]
    words = ["unshare", "--mount", "sh", "-c", inside, str(tree), *command, "--", "chroot", str(tree)]
    done = run(*words, cwd=tmp_path)
    results = dict(re.findall(r"^(\S+) +(PASS|FAIL|SKIP)\b", (tmp_path / "out/summary").read_text(), re.MULTILINE))
    wanted = {"cases": "PASS", "minimal": "PASS", "overlayctl": "PASS", "running-system": "SKIP"}
    assert results == wanted, done.stdout[-3000:]


MEASURE = """\
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -eu /measure
ExecStopPost=/usr/bin/systemctl --no-block exit
StandardOutput=file:/result
StandardError=inherit
"""
# What systemd has from us before the package is installed, and after that and a reload; and what else a reload changes.
# A getty may start meanwhile, and each service with credentials has a mount of its own (systemd 257).
SCRIPT = """\
look() {
    systemctl list-units --all --plain --no-legend | grep -E 'overlay|buildroot|^var\\.mount' || :
    find /run/systemd/generator* ! -type d | sort
    grep -v ' /run/credentials/' /proc/self/mountinfo
}
look >/before
dpkg -i /debs/*.deb >/dev/null
systemctl daemon-reload
look >/after
diff /before /after && echo nothing changed
systemctl is-system-running || :
sh -eu /tests/running-system
"""


@pytest.mark.parametrize(("words", "changed"), [("quiet", False), ("overlayfs.mounts=/var", True)])
def test_a_running_system_is_left_alone_until_it_is_asked(words: str, changed: bool, dist: Path, place: Path) -> None:
    """Installed in a booted container, by the autopkgtest's script too. The second case shows that this can be seen."""
    tree = tree_with(RUNNING, SUITES[-2], place, package(dist, "overlay-generator"))
    shutil.copytree(REPOSITORY / "packaging/debian/tests", tree / "tests")
    unit = tree / "etc/systemd/system/measure.service"
    unit.write_text(MEASURE)
    wants = tree / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit.name).symlink_to(f"../{unit.name}")
    (tree / "measure").write_text(SCRIPT)
    command = ["systemd-nspawn", "-q", "--register=no", "--keep-unit", "--private-network", "--boot"]
    subprocess.run(
        [*command, "-D", tree, words], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=300
    )
    result = (tree / "result").read_text()
    assert ("nothing changed" in result, "without being asked" in result) == (not changed, changed), result
    assert ("var.mount" in (tree / "after").read_text()) == changed
