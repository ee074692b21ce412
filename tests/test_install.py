# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `make install` puts where, what it refuses, and that `make uninstall` removes exactly that."""

import fnmatch
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from product import ENVIRON, REPOSITORY, SYSTEM_PYTHON

# Mode and path of every file; TAG is the interpreter's, and * stands for each module of the package and its folders.
GENERATOR = """\
755 usr/lib/systemd/system-generators/overlay-generator
755 usr/lib/overlay-generator/prepare
644 usr/lib/overlay-generator/overlay_generator/*.py
644 usr/lib/overlay-generator/overlay_generator/__pycache__/*.TAG.pyc
644 usr/lib/overlay-generator/overlay_prepare/*.py
644 usr/lib/overlay-generator/overlay_prepare/__pycache__/*.TAG.pyc
644 usr/lib/systemd/system/overlay-boot-check.service
644 usr/lib/systemd/system/overlay-commit.service
644 usr/lib/systemd/system/overlay-generator-factory-reset.service
644 usr/lib/systemd/system/overlay-not-persistent@.service
777 usr/lib/systemd/system/factory-reset.target.wants/overlay-generator-factory-reset.service
644 usr/lib/systemd/catalog/overlay-generator.catalog
644 usr/share/man/man5/overlay-generator.conf.5
644 usr/share/man/man8/overlay-generator.8
"""
OVERLAYCTL = """\
755 usr/bin/overlayctl
644 usr/lib/overlay-generator/overlayctl/*.py
644 usr/lib/overlay-generator/overlayctl/__pycache__/*.TAG.pyc
755 usr/lib/overlay-generator/updaters/ArtifactInstall_Leave_50_overlay-preview
755 usr/lib/overlay-generator/updaters/rauc
755 usr/lib/overlay-generator/updaters/swupdate
755 usr/lib/overlay-generator/updaters/sysupdate
644 usr/lib/overlay-generator/updaters/sysupdate.conf
644 usr/lib/systemd/system/overlay-metrics.service
644 usr/lib/systemd/system/overlay-metrics.timer
644 usr/share/man/man1/overlayctl.1
644 usr/share/bash-completion/completions/overlayctl
644 usr/share/fish/vendor_completions.d/overlayctl.fish
644 usr/share/zsh/site-functions/_overlayctl
644 usr/share/overlay-generator/schemas/check.json
644 usr/share/overlay-generator/schemas/diff.json
644 usr/share/overlay-generator/schemas/preview.json
644 usr/share/overlay-generator/schemas/status.json
"""
LIBRARY = "usr/lib/overlay-generator"
PARTS = {"install": GENERATOR + OVERLAYCTL, "install-generator": GENERATOR, "install-overlayctl": OVERLAYCTL}
NOBODY = 65534


def make(*words: str, umask: int = 0o022, user: "int | None" = None) -> "subprocess.CompletedProcess[str]":
    """`make` with these words in the tree. Raises nothing."""
    command = ["make", "-s", "-C", str(REPOSITORY), *words]
    environ = {**ENVIRON, "LC_ALL": "C"}
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, umask=umask, user=user, timeout=60
    )


def made(*words: str) -> None:
    done = make(*words)
    assert (done.returncode, done.stderr) == (0, "")


def modes(root: Path) -> "dict[str, int]":
    """Every file below `root` with its mode."""
    return {
        str(path.relative_to(root)): stat.S_IMODE(path.lstat().st_mode) for path in root.rglob("*") if not path.is_dir()
    }


def contents(root: Path) -> "dict[str, bytes]":
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def expand(listed: str) -> "dict[str, int]":
    """The list with a line for each module that the tree has."""
    command = [SYSTEM_PYTHON, "-c", "import sys; print(sys.implementation.cache_tag, end='')"]
    tag = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {}
    for line in listed.replace("TAG", tag).splitlines():
        mode, path = line.split()
        if "*" not in path:
            found[path] = int(mode, 8)
            continue
        name, _, rest = path.partition(LIBRARY)[2].lstrip("/").partition("/")
        modules = list((REPOSITORY / "generator" / name).rglob("*.py"))
        assert modules, f"no module for {line}"
        for module in modules:
            folder = module.parent.relative_to(REPOSITORY / "generator")
            found[f"{LIBRARY}/{folder}/{rest.replace('*', module.stem)}"] = int(mode, 8)
    return found


@pytest.fixture
def public() -> "Iterator[Path]":
    """A directory that every user can write to: pytest's own are the caller's alone."""
    where = Path(tempfile.mkdtemp(prefix="overlay-generator-install-"))
    where.chmod(0o777)
    yield where
    shutil.rmtree(where)


@pytest.mark.parametrize("target", PARTS)
def test_every_installed_file_and_its_mode(target: str, tmp_path: Path) -> None:
    made(target, f"DESTDIR={tmp_path}")
    assert modes(tmp_path) == expand(PARTS[target])


def test_an_ordinary_user_gets_the_same_whatever_the_umask(public: Path) -> None:
    for name, umask in (("a", 0o022), ("another/place", 0o077)):
        user = NOBODY if os.geteuid() == 0 else None
        done = make("install", f"DESTDIR={public}/{name}", umask=umask, user=user)
        assert (done.returncode, done.stderr) == (0, "")
    first, second = public / "a", public / "another/place"
    assert modes(first) == modes(second) == expand(PARTS["install"])
    assert contents(first) == contents(second)
    for path in (path for path in second.rglob("*") if path.is_dir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755, path


def test_the_compiled_files_are_never_compared_with_the_sources(tmp_path: Path) -> None:
    """An image's times mean nothing; an unchecked hash is flag 0b01 of PEP 552."""
    made("install", f"DESTDIR={tmp_path}")
    compiled = [path.read_bytes() for path in tmp_path.rglob("*.pyc")]
    assert compiled
    assert {int.from_bytes(data[4:8], "little") for data in compiled} == {0b01}
    assert not [data for data in compiled if os.fsencode(tmp_path) in data]


def test_compiling_can_be_left_to_others(tmp_path: Path) -> None:
    made("install", f"DESTDIR={tmp_path}", "COMPILE=no", "PYTHON=/nowhere/python3")
    assert modes(tmp_path) == {path: mode for path, mode in expand(PARTS["install"]).items() if ".pyc" not in path}


@pytest.mark.parametrize("prefix", ["/usr", "/opt/overlay"])
def test_uninstall_takes_exactly_that_away(prefix: str, tmp_path: Path) -> None:
    """What others have in the same places stays; directories of ours alone go."""
    others = [f"{prefix}/lib/systemd/system-generators/another", f"{prefix}/share/man/man8/another.8"]
    for other in others:
        (tmp_path / other[1:]).parent.mkdir(parents=True)
        (tmp_path / other[1:]).touch()
    before = modes(tmp_path)
    made("install", f"DESTDIR={tmp_path}", f"PREFIX={prefix}")
    assert modes(tmp_path) != before
    made("uninstall", f"DESTDIR={tmp_path}", f"PREFIX={prefix}")
    assert modes(tmp_path) == before
    assert not list(tmp_path.rglob("*overlay?generator*"))


@pytest.mark.parametrize(
    ("variable", "moved"),
    [
        ("bindir", "usr/bin/*"),
        ("librarydir", "usr/lib/overlay-generator/*"),
        ("generatordir", "usr/lib/systemd/system-generators/*"),
        ("unitdir", "usr/lib/systemd/system/*"),
        ("mandir", "usr/share/man/*"),
        ("completionsdir", "usr/share/bash-completion/completions/*"),
        ("fishcompletionsdir", "usr/share/fish/vendor_completions.d/*"),
        ("zshcompletionsdir", "usr/share/zsh/site-functions/*"),
        ("schemadir", "usr/share/overlay-generator/schemas/*"),
    ],
)
def test_every_path_can_be_set(variable: str, moved: str, tmp_path: Path) -> None:
    made("install", f"DESTDIR={tmp_path}", f"{variable}=/else/where")
    before = moved.rpartition("/")[0]
    assert any(fnmatch.fnmatch(path, moved) for path in expand(PARTS["install"]))
    assert modes(tmp_path) == {
        path.replace(before, "else/where") if fnmatch.fnmatch(path, moved) else path: mode
        for path, mode in expand(PARTS["install"]).items()
    }


def test_the_library_is_found_where_it_was_put(tmp_path: Path) -> None:
    made("install", f"PREFIX={tmp_path}/usr", f"librarydir={tmp_path}/library")
    for script in ("lib/systemd/system-generators/overlay-generator", "bin/overlayctl"):
        command = [str(tmp_path / "usr" / script), "--version"]
        done = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_interpreter_can_be_set(tmp_path: Path) -> None:
    """For an image that has it elsewhere: in the first lines, and in the units that call prepare."""
    made("install", f"DESTDIR={tmp_path}", "interpreter=/opt/python/bin/python3", "librarydir=/opt/library")
    listed = [path.replace(LIBRARY, "opt/library") for path in expand(PARTS["install"])]
    scripts = [path for path in listed if modes(tmp_path)[path] == 0o755]
    first = {path: (tmp_path / path).read_text().split()[0] for path in scripts}
    hooks = {path for path in first if path.startswith("opt/library/updaters/")}
    assert {first.pop(path) for path in hooks} == {"#!/bin/sh"}
    assert set(first.values()) == {"#!/opt/python/bin/python3"}
    dropin = tmp_path / "opt/library/updaters/sysupdate.conf"
    assert "\nExecStartPre=/opt/library/updaters/sysupdate\n" in dropin.read_text()
    unit = tmp_path / "usr/lib/systemd/system/overlay-generator-factory-reset.service"
    assert "\nExecStart=/opt/python/bin/python3 -ISB /opt/library/prepare " in unit.read_text()
    assert "=/usr/bin/overlayctl metrics " in (unit.with_name("overlay-metrics.service")).read_text()
    module = tmp_path / "opt/library/overlay_generator/render.py"
    assert '"/opt/python/bin/python3 -ISB"' in module.read_text()


@pytest.fixture
def old_python(tmp_path: Path) -> Path:
    """An interpreter that says it is 3.8."""
    python = tmp_path / "python3.8"
    code = "import sys; words = sys.argv[1:]; sys.version_info = (3, 8, 20); exec(words[words.index('-c') + 1])"
    python.write_text(f'#!/bin/sh\nexec {SYSTEM_PYTHON} -c "{code}" "$@"\n')
    python.chmod(0o755)
    return python


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("PYTHON=/nowhere/python3", "PYTHON='/nowhere/python3' can't be run (exit status 127)"),
        ("PYTHON=", "PYTHON='' can't be run"),
        ("PYTHON=false", "PYTHON='false' can't be run (exit status 1)"),
        ("PYTHON=chroot /nowhere python3", "PYTHON='chroot /nowhere python3' can't be run"),
        ("PYTHON={old_python}", "python3.8' is older than 3.9"),
        ("COMPILE=maybe", "COMPILE='maybe': yes or no"),
        ("librarydir=lib", "librarydir='lib': give an absolute path"),
        ("bindir=", "bindir='': give an absolute path"),
        ("PREFIX=/opt/two words", "bindir='/opt/two words/bin': only letters"),
        ("interpreter=/usr/bin/env python3", "interpreter='/usr/bin/env python3': only letters"),
        ("unitdir=/a|b", "unitdir='/a|b': only letters"),
    ],
)
def test_refused_with_a_sentence_and_nothing_installed(
    setting: str, sentence: str, old_python: Path, tmp_path: Path
) -> None:
    done = make("install", f"DESTDIR={tmp_path}/image", setting.format(old_python=old_python))
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "image").exists()


def test_a_missing_source_is_said(tmp_path: Path) -> None:
    names = [str(REPOSITORY / name) for name in ("Makefile", "packaging", "lib", "generator")]
    subprocess.run(["cp", "-R", *names, str(tmp_path)], check=True)
    (tmp_path / "generator/prepare").unlink()
    done = make("-C", str(tmp_path), "install", f"DESTDIR={tmp_path}/image")
    assert done.returncode != 0
    assert "generator/prepare: missing in this tree" in done.stderr
    assert not (tmp_path / "image").exists()


def test_only_ours_is_run_by_systemd(tmp_path: Path) -> None:
    """PID 1 runs every executable file in the generators' directory, so there is only the one."""
    made("install", f"DESTDIR={tmp_path}")
    directory = tmp_path / "usr/lib/systemd/system-generators"
    assert [path.name for path in directory.iterdir()] == ["overlay-generator"]
    assert (directory / "overlay-generator").read_bytes().startswith(b"#!/usr/bin/python3 -ISB\n")
