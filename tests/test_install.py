"""What `make install` puts where, that `make uninstall` takes exactly that away, and that pip can install it too."""

import importlib.util
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ENVIRON, REPOSITORY, SYSTEM_PYTHON

MODULES = sorted(path.stem for path in (REPOSITORY / "generator/overlay_generator").glob("*.py"))
LIBRARY = "usr/lib/overlay-generator"


def _make(*words: str) -> None:
    subprocess.run(["make", "-s", "-C", REPOSITORY, *words], check=True, capture_output=True)


def _list(root: Path) -> "dict[str, int]":
    """Every file below `root` with its mode."""
    return {
        str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*") if path.is_file()
    }


def _tag() -> str:
    command = [SYSTEM_PYTHON, "-c", "import sys; print(sys.implementation.cache_tag)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_every_installed_file_and_its_mode(tmp_path: Path) -> None:
    _make("install", f"DESTDIR={tmp_path}")
    package = f"{LIBRARY}/overlay_generator"
    assert _list(tmp_path) == {
        "usr/lib/systemd/system-generators/overlay-generator": 0o755,
        f"{LIBRARY}/prepare": 0o755,
        "usr/share/man/man8/overlay-generator.8": 0o644,
        **{f"{package}/{name}.py": 0o644 for name in MODULES},
        **{f"{package}/__pycache__/{name}.{_tag()}.pyc": 0o644 for name in MODULES},
    }


def test_the_compiled_files_are_never_compared_with_the_sources(tmp_path: Path) -> None:
    """An image's times mean nothing; an unchecked hash is flag 0b01 of PEP 552."""
    _make("install", f"DESTDIR={tmp_path}")
    compiled = list(tmp_path.rglob("*.pyc"))
    assert len(compiled) == len(MODULES)
    assert {int.from_bytes(path.read_bytes()[4:8], "little") for path in compiled} == {0b01}
    assert all(str(tmp_path).encode() not in path.read_bytes() for path in compiled)


def test_the_trampoline_stays_executable_where_it_must(tmp_path: Path) -> None:
    """Every executable file in the generators' directory is run by PID 1, so there is only the one."""
    _make("install", f"DESTDIR={tmp_path}")
    directory = tmp_path / "usr/lib/systemd/system-generators"
    assert [path.name for path in directory.iterdir()] == ["overlay-generator"]
    assert (directory / "overlay-generator").read_bytes().startswith(b"#!/usr/bin/python3 -ISB\n")


@pytest.mark.parametrize("prefix", ["/usr", "/opt/overlay"])
def test_uninstall_takes_exactly_that_away(prefix: str, tmp_path: Path) -> None:
    other = tmp_path / "usr/lib/systemd/system-generators/somebody-elses"
    other.parent.mkdir(parents=True)
    other.touch()
    before = _list(tmp_path)
    _make("install", f"DESTDIR={tmp_path}", f"PREFIX={prefix}")
    assert _list(tmp_path) != before
    _make("uninstall", f"DESTDIR={tmp_path}", f"PREFIX={prefix}")
    assert _list(tmp_path) == before
    assert not list(tmp_path.rglob("*overlay?generator*"))


def test_prefix_reaches_the_installed_scripts(prefix: Path) -> None:
    for script in ("lib/systemd/system-generators/overlay-generator", "lib/overlay-generator/prepare"):
        assert f'sys.path.insert(0, "{prefix}/lib/overlay-generator")' in (prefix / script).read_text()


@pytest.mark.skipif(not importlib.util.find_spec("setuptools"), reason="setuptools is not installed")
def test_pip_installs_the_command_for_a_build_machine(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index"]
    # From a copy: setuptools leaves build/ and egg-info in the tree that it builds.
    subprocess.run(["git", "-C", REPOSITORY, "checkout-index", "-a", f"--prefix={tmp_path}/source/"], check=True)
    subprocess.run([*pip, "--target", tmp_path / "site", tmp_path / "source"], check=True)
    overlay_generator = [str(tmp_path / "site/bin/overlay-generator"), "--root", str(tmp_path), "--print"]
    (tmp_path / "var").mkdir()
    environ = {**ENVIRON, "PYTHONPATH": str(tmp_path / "site"), "SYSTEMD_PROC_CMDLINE": "overlayfs.mounts=/var"}
    done = subprocess.run(overlay_generator, env=environ, capture_output=True, text=True, check=True)
    assert "==> normal/var.mount <==" in done.stdout


def test_one_version_everywhere() -> None:
    sys.path.insert(0, str(REPOSITORY / "generator"))
    from overlay_generator import __version__

    assert (REPOSITORY / "NEWS").read_text().startswith(f"overlay-generator {__version__} ")
    assert f'"overlay-generator {__version__}"' in (REPOSITORY / "packaging/man/overlay-generator.8").read_text()
