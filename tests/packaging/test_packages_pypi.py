# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make dist` and `make pypi`: what is packed, twice the same, and that the commands run from an installed wheel."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from sources import commit, copy_sources, ran, run

from overlay_generator import __version__
from product import ENVIRON, REPOSITORY

NAME = f"overlay-generator-{__version__}"
PYPI_NAME = f"overlay_generator-{__version__}"
NEEDED = ("build", "cyclonedx", "setuptools", "wheel")
PACKER = f"PACKER={sys.executable}"
FILES = ["SHA256SUMS", f"{NAME}.cdx.json", f"{NAME}.tar.gz", f"{PYPI_NAME}.tar.gz", f"{PYPI_NAME}-py3-none-any.whl"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def packed(tree: Path) -> Path:
    """The directory with both archives, the wheel, the bill of materials and the checksums."""
    missing = [name for name in NEEDED if not importlib.util.find_spec(name)]
    if missing:
        assert not os.environ.get("CI"), f"not installed: {missing}"
        pytest.skip(f"not installed: {missing}")
    ran("make", "-s", "dist", "pypi", PACKER, cwd=tree)
    return tree / "dist"


@pytest.fixture(scope="module")
def installed(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """bin/ of a fresh environment that has the wheel and nothing else."""
    environment = tmp_path_factory.mktemp("environment")
    ran(sys.executable, "-m", "venv", "--without-pip", environment, cwd=packed)
    wheel = packed / f"{PYPI_NAME}-py3-none-any.whl"
    ran(sys.executable, "-m", "pip", "--python", environment, "install", "--quiet", "--no-index", wheel, cwd=packed)
    return environment / "bin"


def test_dist_has_the_commit_and_nothing_else(tree: Path) -> None:
    (tree / "left-behind").touch()
    (tree / "NEWS").write_text("changed\n")
    ran("make", "-s", "archive", cwd=tree)
    with tarfile.open(tree / f"dist/{NAME}.tar.gz") as archive:
        files = {member.name for member in archive.getmembers() if not member.isdir()}
        modes = {member.mode for member in archive.getmembers()}
        times = {member.mtime for member in archive.getmembers()}
    assert files == {f"{NAME}/{name}" for name in ran("git", "ls-files", "-z", cwd=tree).split("\0") if name}
    assert modes <= {0o644, 0o755, 0o777}  # the last is that of every symbolic link
    assert times == {int(ran("git", "log", "-1", "--format=%ct", cwd=tree))}
    (tree / "left-behind").unlink()
    ran("git", "checkout", "-q", "NEWS", cwd=tree)


@pytest.mark.parametrize("above", ["nothing", "another repository"])
def test_dist_says_what_it_needs(above: str, tmp_path: Path) -> None:
    """A tree without git; a repository around it is somebody else's."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("Makefile", "packaging", "generator"):
        (tree / name).symlink_to(REPOSITORY / name)
    if above != "nothing":
        commit(tmp_path)
    done = run("make", "dist", cwd=tree, GIT_CEILING_DIRECTORIES=str(tmp_path.parent))
    assert done.returncode != 0
    assert "make dist: this is not a git checkout" in done.stderr
    assert not (tree / "dist").exists()


def test_packing_twice_gives_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    """In another place, with other times of the files, another umask, by another name."""
    first = {path.name: path.read_bytes() for path in packed.iterdir()}
    other = copy_sources(tmp_path / "another" / "place")
    done = subprocess.run(
        ["make", "-s", "dist", "pypi", PACKER],
        cwd=other, env={**os.environ, "TZ": "Asia/Tokyo"}, umask=0o077, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    second = {path.name: path.read_bytes() for path in (other / "dist").iterdir()}
    assert sorted(first) == sorted(FILES)
    assert {name for name in first if first[name] != second.get(name)} == set()


def test_the_checksums_are_those_of_all_files(packed: Path) -> None:
    ran("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=packed)
    lines = (packed / "SHA256SUMS").read_text().splitlines()
    assert {line.split()[1] for line in lines} == {*FILES} - {"SHA256SUMS"}


def test_the_bill_of_materials(packed: Path) -> None:
    """It is what its schema wants, and of this archive."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (packed / f"{NAME}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    # And the validator finds what is wrong.
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace("SHA-256", "SHA-257")) is not None
    bill = json.loads(text)
    component = bill["metadata"]["component"]
    assert (component["name"], component["version"]) == ("overlay-generator", __version__)
    assert component["licenses"] == [{"license": {"id": "LGPL-2.1-or-later"}}]
    digest = hashlib.sha256((packed / f"{NAME}.tar.gz").read_bytes()).hexdigest()
    assert component["hashes"] == [{"alg": "SHA-256", "content": digest}]
    names = {component["name"]: component.get("scope") for component in bill["components"]}
    assert {name for name, scope in names.items() if scope == "optional"} == {"psutil", "pyudev"}
    assert {name for name, scope in names.items() if scope == "required"} == {
        "python", "systemd", "util-linux", "linux",
    }  # fmt: skip


def test_without_the_library_for_it_nothing_is_half_done(tree: Path) -> None:
    done = run("make", "-s", "dist", "PACKER=/usr/bin/python3 -I", cwd=tree)
    if not done.returncode:
        pytest.skip("this machine's own Python has cyclonedx-python-lib")
    assert "make dist: /usr/bin/python3 -I has no cyclonedx-python-lib; give another one as PACKER=" in done.stderr


def test_the_sources_on_pypi_are_all_sources(tree: Path, packed: Path) -> None:
    """Whoever packs for a distribution from there gets the tests, too."""
    with tarfile.open(packed / f"{PYPI_NAME}.tar.gz") as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in ran("git", "ls-files", "-z", cwd=tree).split("\0") if name and not name.startswith(".")}
    assert wanted - found == set()


def test_the_wheel_has_the_packages_whole(tree: Path, packed: Path) -> None:
    with zipfile.ZipFile(packed / f"{PYPI_NAME}-py3-none-any.whl") as wheel:
        found = {name for name in wheel.namelist() if name.endswith(".py")}
    wanted = {
        str(path.relative_to(tree / "generator"))
        for package in ("overlay_generator", "overlay_prepare", "overlayctl")
        for path in (tree / "generator" / package).rglob("*.py")
    }
    assert found == wanted


def command(installed: Path, *words: "str | Path") -> "subprocess.CompletedProcess[str]":
    environ = {**ENVIRON, "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [installed / words[0], *words[1:]], env=environ, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of an image with the little that both commands look at."""
    for name in ("var", "usr/bin", "etc"):
        (tmp_path / "root" / name).mkdir(parents=True)
    return tmp_path / "root"


def test_the_installed_generator_shows_units(installed: Path, root: Path) -> None:
    done = command(installed, "overlay-generator", "--root", root, "--cmdline", "overlayfs.mounts=/var", "--print")
    assert (done.returncode, done.stderr) == (0, "")
    assert "==> normal/var.mount <==" in done.stdout


@pytest.mark.parametrize("name", ["overlay-generator", "overlayctl"])
def test_the_installed_commands_know_their_version(name: str, installed: Path) -> None:
    done = command(installed, name, "--version")
    assert (done.returncode, done.stdout) == (0, f"{name} {__version__}\n")


@pytest.mark.parametrize("verb", ["check", "render"])
def test_what_build_machines_need_works_without_extras(verb: str, installed: Path, root: Path, tmp_path: Path) -> None:
    """Neither psutil nor pyudev is there. What check finds in this tree is the business of its own tests."""
    (tmp_path / "out").mkdir()
    output = ["--output", str(tmp_path / "out")] if verb == "render" else []
    done = command(installed, "overlayctl", verb, "--root", root, *output)
    assert done.returncode in (0, 1), done.stderr
    assert not [word for word in ("Traceback", "psutil", "pyudev") if word in done.stderr]
