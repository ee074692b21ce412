"""What the boot path may load and who may touch the machine. Each import is paid at each boot and reload."""

import ast
import os
import subprocess
from pathlib import Path

import pytest

import fakeroot
from conftest import ENVIRON, REPOSITORY, SYSTEM_PYTHON, wait_for
from preparens import run_prepare

PACKAGE = REPOSITORY / "generator/overlay_generator"
PURE = (
    "model", "names", "cmdline", "fstab", "kernel", "decide", "render", "config", "settle", "request", "staged",
)  # fmt: skip
PREPARE = (
    "prepare", "files", "base", "stamp", "normalise", "upper", "reset", "tell", "layers", "persistent", "room", "stage",
    "listing", "reveal", "policy", "contents", "direct",
)  # fmt: skip
BOOT = (*PURE, *PREPARE, "__init__", "boot", "gather", "write", "log")
# For people, never at boot.
OPERATOR = ("dryrun",)
# Never loaded at a boot where nothing has changed, see test_prepare_loads_little_where_nothing_has_changed().
ALLOWED = {"contents": {"hashlib"}, "staged": {"fnmatch"}}


def _own(*names: str) -> "set[str]":
    return {"overlay_generator", *(f"overlay_generator.{name}" for name in names)}


OFF = _own("boot", "gather")
ON = OFF | _own("model", "names", "cmdline", "fstab", "kernel", "decide", "render", "write")
CONFIGURED = ON | _own("config", "settle")
PERSISTENT = _own(
    "prepare", "request", "base", "files", "fstab", "gather", "kernel", "layers", "model", "names", "normalise", "tell",
    "upper", "persistent", "room", "stamp",
)  # fmt: skip


def _names(text: str) -> "set[str]":
    """The modules that -X importtime tells of."""
    return {line.rpartition("|")[2].strip() for line in text.splitlines() if line.startswith("import time:")}


def _bare() -> "set[str]":
    """Those of an interpreter that does nothing."""
    command = [SYSTEM_PYTHON, "-ISB", "-X", "importtime", "-c", "pass"]
    return _names(subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=True).stderr)


def _loaded(executable: Path, cmdline: str, out: Path) -> "set[str]":
    """The modules that a run loads over a bare interpreter."""
    command = [SYSTEM_PYTHON, "-ISB", "-X", "importtime", str(executable), str(out)]
    environ = {**ENVIRON, "SYSTEMD_PROC_CMDLINE": cmdline}
    return _names(subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stderr) - _bare()


@pytest.mark.parametrize(("cmdline", "allowed"), [("quiet", OFF), ("overlayfs.mounts=/var", ON)])
def test_a_boot_loads_nothing_but_our_own_modules(
    cmdline: str, allowed: "set[str]", executable: Path, tmp_path: Path
) -> None:
    assert _loaded(executable, cmdline, tmp_path) == allowed


@pytest.mark.parametrize(("text", "allowed"), [("", ON), ("[/var]\nSize=1M\nPassthrough=/var/lib/x\n", CONFIGURED)])
def test_a_configuration_costs_two_modules_and_none_costs_nothing(
    text: str, allowed: "set[str]", prefix: Path, tmp_path: Path
) -> None:
    fakeroot.build(fakeroot.CASES / "01-default", tmp_path / "root")
    if text:
        (tmp_path / "root/etc/overlay-generator.conf").write_text(text)
    # The dry run has more to load, and the machine itself is not to be configured by a test.
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from overlay_generator.boot import generate
sys.exit(generate(sys.argv[2], {"SYSTEMD_IN_INITRD": "0"}, {"normal": sys.argv[3], "late": sys.argv[3]}))
"""
    (tmp_path / "out").mkdir()
    words = [str(prefix / "lib/overlay-generator"), str(tmp_path / "root"), str(tmp_path / "out")]
    command = [SYSTEM_PYTHON, "-ISB", "-X", "importtime", "-c", code, *words]
    done = subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=True)
    assert _names(done.stderr) - _bare() == allowed
    assert (tmp_path / "out/var.mount").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
@pytest.mark.parametrize("words", [[], ["--policy=prune"], ["--policy=refresh"], ["--policy=reset"]])
def test_prepare_loads_little_where_nothing_has_changed(words: "list[str]", prefix: Path, tmp_path: Path) -> None:
    where, backing = tmp_path / "var", tmp_path / "backing"
    (where / "lib").mkdir(parents=True)
    backing.mkdir()
    done = run_prepare(prefix, where, backing, *words)
    assert (done.returncode, done.stderr) == (0, "")
    if "--policy=refresh" in words:
        wait_for(backing / "contents")
    done = run_prepare(prefix, where, backing, *words, options=("-X", "importtime"))
    assert done.returncode == 0
    more = _own("contents") if "--policy=refresh" in words else set()
    assert _names(done.stderr) - _bare() == PERSISTENT | more


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
    assert _imports(name) - own <= {"posix", "sys", "_signal"} | ALLOWED.get(name, set())
    if name != "boot":
        assert "dryrun" not in str(own)


@pytest.mark.parametrize("name", sorted(set(BOOT) - set(PREPARE)))
def test_the_generator_changes_nothing_that_prepare_does(name: str) -> None:
    assert not {f"overlay_generator.{other}" for other in PREPARE} & _imports(name)


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_can_touch_nothing(name: str) -> None:
    others = {imported for imported in _imports(name) if not imported.startswith("overlay_generator")}
    assert others == ALLOWED.get(name, set())
    calls = {
        node.func.id
        for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}
    assert not {f"overlay_generator.{impure}" for impure in ("gather", "write", "log")} & _imports(name)


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_beyond_is_loaded_inside_functions(name: str) -> None:
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    at_once = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    at_once |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert not at_once & ALLOWED[name]
