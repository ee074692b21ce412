"""What the boot path may load and who may touch the machine. Each import is paid at each boot and reload."""

import ast
import subprocess
from pathlib import Path

import pytest

from conftest import ENVIRON, REPOSITORY, SYSTEM_PYTHON

PACKAGE = REPOSITORY / "generator/overlay_generator"
PURE = ("model", "names", "cmdline", "fstab", "kernel", "decide", "render")
PREPARE = ("prepare", "files", "base", "stamp", "normalise", "upper", "reset")
BOOT = (*PURE, *PREPARE, "__init__", "boot", "gather", "write", "log")
# For people, never at boot.
OPERATOR = ("dryrun",)

OFF = {"overlay_generator", "overlay_generator.boot", "overlay_generator.gather"}
ON = OFF | {f"overlay_generator.{name}" for name in (*PURE, "write")}


def _loaded(executable: Path, cmdline: str, out: Path) -> "set[str]":
    """The modules that a run loads over a bare interpreter."""
    command = [SYSTEM_PYTHON, "-ISB", "-X", "importtime"]
    environ = {**ENVIRON, "SYSTEMD_PROC_CMDLINE": cmdline}
    bare = subprocess.run([*command, "-c", "pass"], env=environ, capture_output=True, text=True, check=True)
    full = subprocess.run([*command, executable, out], env=environ, capture_output=True, text=True, check=True)

    def names(text: str) -> "set[str]":
        return {line.rpartition("|")[2].strip() for line in text.splitlines() if line.startswith("import time:")}

    return names(full.stderr) - names(bare.stderr)


@pytest.mark.parametrize(("cmdline", "allowed"), [("quiet", OFF), ("overlayfs.mounts=/var", ON)])
def test_a_boot_loads_nothing_but_our_own_modules(
    cmdline: str, allowed: "set[str]", executable: Path, tmp_path: Path
) -> None:
    assert _loaded(executable, cmdline, tmp_path) == allowed


def test_every_module_has_its_side() -> None:
    assert sorted(path.stem for path in PACKAGE.glob("*.py")) == sorted((*BOOT, *OPERATOR))


def _imports(name: str) -> "set[str]":
    """All modules that a module imports anywhere, but for type checkers."""
    found: set[str] = set()
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level
            found.add(node.module)
    return found


@pytest.mark.parametrize("name", BOOT)
def test_the_boot_path_imports_only_builtins_and_itself(name: str) -> None:
    own = {imported for imported in _imports(name) if imported.partition(".")[0] == "overlay_generator"}
    assert _imports(name) - own <= {"posix", "sys", "_signal"}
    if name != "boot":
        assert "dryrun" not in str(own)


@pytest.mark.parametrize("name", sorted(set(BOOT) - set(PREPARE)))
def test_the_generator_changes_nothing_that_prepare_does(name: str) -> None:
    assert not {f"overlay_generator.{other}" for other in PREPARE} & _imports(name)


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_can_touch_nothing(name: str) -> None:
    assert all(imported.startswith("overlay_generator") for imported in _imports(name))
    calls = {
        node.func.id
        for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}
    assert not {f"overlay_generator.{impure}" for impure in ("gather", "write", "log")} & _imports(name)
