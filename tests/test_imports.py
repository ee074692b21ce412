# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may import whom, what the boot path may load, and who may touch the machine.

Each import of the boot path costs time at each boot and reload. The floors of the house are in docs/how-it-works.md.
"""

import ast
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

import fakeroot
from preparens import run_prepare
from product import ENVIRON, REPOSITORY, SYSTEM_PYTHON, wait_for

GENERATOR = REPOSITORY / "generator"
# The generator's own, without I/O; the two of prepare that read and spell words alone.
PURE = (
    "overlay_generator.model", "overlay_generator.names", "overlay_generator.cmdline", "overlay_generator.fstab",
    "overlay_generator.decide", "overlay_generator.render", "overlay_generator.config", "overlay_generator.settings",
    "overlay_generator.ordering", "overlay_generator.crypttab", "overlay_generator.unittext",
    "overlay_generator.untangle", "overlay_generator.unusable", "overlay_generator.requirers",
    "overlay_generator.endless", "overlay_generator.dropins", "overlay_generator.direct", "overlay_generator.found",
    "overlay_generator.failure", "overlay_generator.events", "overlay_prepare.request",
    "overlay_prepare.resetrequest", "overlay_prepare.events",
)  # fmt: skip
# For people, never at boot.
OPERATOR = ("overlay_generator.dryrun",)
# The package, or the folder of a package, and the others that it may import: every import runs down.
FRAME = ("overlay_generator", "overlay_prepare")
MACHINE = (*FRAME, "overlayctl", "overlayctl.status")
LAYERS = (*MACHINE, "overlayctl.layers")
IMAGES = (*LAYERS, "overlayctl.image")
FLOORS = {
    "overlay_generator": (),
    "overlay_prepare": ("overlay_generator",),
    "overlayctl": FRAME,
    "overlayctl.layers": (*FRAME, "overlayctl"),
    "overlayctl.status": (*FRAME, "overlayctl", "overlayctl.layers"),
    "overlayctl.check": LAYERS,
    "overlayctl.image": (*FRAME, "overlayctl"),
    "overlayctl.diff": IMAGES,
    "overlayctl.export": (*LAYERS, "overlayctl.stage"),
    "overlayctl.metrics": LAYERS,
    "overlayctl.preview": IMAGES,
    "overlayctl.render": LAYERS,
    "overlayctl.save": LAYERS,
    "overlayctl.stage": LAYERS,
}
# Never loaded at a boot where nothing has changed, see test_prepare_loads_little_where_nothing_has_changed().
ALLOWED = {
    "overlay_prepare.frozen": {"time"},
    "overlay_prepare.journal": {"_socket"},
    "overlay_prepare.rollback": {"time"},
    "overlay_prepare.manifest": {"hashlib"},
    "overlay_prepare.projectid": {"fcntl"},
    "overlay_prepare.resetrequest": {"fnmatch"},
}


def _own(package: str, *names: str) -> "set[str]":
    return {package, *(f"{package}.{name}" for name in names)}


OFF = _own("overlay_generator", "boot", "gather")
ON = OFF | _own("overlay_generator", "model", "names", "cmdline", "fstab", "look", "decide", "render", "write")
CONFIGURED = ON | _own("overlay_generator", "config", "settings")
PASSED = CONFIGURED | _own("overlay_generator", "direct")
PERSISTENT = _own("overlay_generator", "fstab", "gather", "look", "model", "names") | _own(
    "overlay_prepare", "main", "request", "fitness", "files", "folder", "identity", "labels", "layers", "report",
    "patience", "tree", "upper", "persistent", "reserve", "stamp",
)  # fmt: skip


def _names(text: str) -> "set[str]":
    """The modules that -X importtime lists."""
    return {line.rpartition("|")[2].strip() for line in text.splitlines() if line.startswith("import time:")}


def _bare() -> "set[str]":
    """Those of an interpreter that does nothing."""
    command = [SYSTEM_PYTHON, "-ISB", "-X", "importtime", "-c", "pass"]
    return _names(subprocess.run(command, env=ENVIRON, capture_output=True, text=True, check=True).stderr)


def _loaded(executable: Path, cmdline: str, out: Path, **more: str) -> "set[str]":
    """The modules that a run loads over a bare interpreter."""
    command = [SYSTEM_PYTHON, "-ISB", "-X", "importtime", str(executable), str(out)]
    environ = {**ENVIRON, "SYSTEMD_PROC_CMDLINE": cmdline, **more}
    return _names(subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stderr) - _bare()


@pytest.mark.parametrize(("cmdline", "allowed"), [("quiet", OFF), ("overlayfs.mounts=/var", ON)])
def test_a_boot_loads_nothing_but_our_own_modules(
    cmdline: str, allowed: "set[str]", executable: Path, tmp_path: Path
) -> None:
    assert _loaded(executable, cmdline, tmp_path) == allowed


def test_a_plain_disk_does_not_load_what_looks_for_cycles(executable: Path, tmp_path: Path) -> None:
    """Such as the lines that README.md and the manual have."""
    fstab = tmp_path / "fstab"
    options = "defaults,nofail,x-systemd.device-timeout=30s"
    fstab.write_text(f"LABEL=data /run/buildroot/mounts/var ext4 {options} 0 2\n")
    (tmp_path / "out").mkdir()
    loaded = _loaded(executable, "overlayfs.mounts=/var", tmp_path / "out", SYSTEMD_FSTAB=str(fstab))
    assert loaded - ON == _own("overlay_generator", "entries", "gather", "dropins", "failure") - ON


@pytest.mark.parametrize(
    ("text", "allowed"), [("", ON), ("[/var]\nSize=1M\n", CONFIGURED), ("[/var]\nPassthrough=/var/lib/x\n", PASSED)]
)
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
    # Links in a tree are relative to it; no boot resolves one.
    assert _names(done.stderr) - _bare() == allowed | {"overlay_generator.inside", "errno"}
    assert (tmp_path / "out/var.mount").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
@pytest.mark.parametrize(
    "words", [[], ["--policy=prune"], ["--policy=refresh"], ["--policy=reset"], ["--rollback=yes", "--commit=good"]]
)
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
    more = _own("overlay_prepare", "manifest") if "--policy=refresh" in words else set()
    more |= _own("overlay_prepare", "rollback", "frozen") if "--rollback=yes" in words else set()
    # Built in, so no file of it is looked for.
    assert _names(done.stderr) - _bare() - {"errno"} == PERSISTENT | more


def _modules(top: Path) -> "dict[str, Path]":
    """Every module below `top` by its dotted name; a package's own is the name of the package."""
    found = {}
    for path in sorted(top.rglob("*.py")):
        parts = path.relative_to(top).with_suffix("").parts
        if len(parts) > 1:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules(GENERATOR)
BOOT = [name for name in MODULES if not name.startswith("overlayctl") and name not in OPERATOR]


def _imports(path: Path, known: "Iterable[str]" = MODULES, types_too: bool = False) -> "set[str]":
    """All modules that a file imports, at its top or inside functions, and with `types_too` for type checkers alone.

    Of `from package import name` it is the module package.name, where there is one among those `known`.
    """
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    skipped = {
        inner
        for node in ast.walk(tree)
        if not types_too and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}:{node.lineno}: absolute imports tell where a thing lies"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & set(known)
            if inner - set(known):
                found.add(node.module)
    return found


def _floor(module: str, floors: "Mapping[str, tuple[str, ...]]" = FLOORS) -> str:
    """The package, or the folder of one, that `module` is in; "" for one that is not ours."""
    parts = module.split(".")
    return next((name for name in (".".join(parts[:2]), parts[0]) if name in floors), "")


def find_climbing(top: Path) -> "list[str]":
    """The imports below `top` that the table of floors forbids, also those inside functions and for type checkers."""
    modules = _modules(top)
    found = []
    for name, path in modules.items():
        mine = _floor(name)
        for imported in sorted(_imports(path, modules, types_too=True)):
            theirs = _floor(imported)
            if theirs and theirs != mine and theirs not in FLOORS[mine]:
                found.append(f"{name} imports {imported}")
    return found


def find_circle(top: Path) -> "list[str]":
    """Modules below `top` of which each imports the next, and the last the first; none where all imports run down."""
    modules = _modules(top)
    done: set[str] = set()

    def follow(name: str, way: "list[str]") -> "list[str]":
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        for imported in sorted(_imports(modules[name], modules) & set(modules)):
            if circle := follow(imported, [*way, name]):
                return circle
        done.add(name)
        return []

    return next((circle for name in modules if (circle := follow(name, []))), [])


def test_every_import_runs_down() -> None:
    assert {_floor(name) for name in MODULES} == set(FLOORS)
    assert find_climbing(GENERATOR) == []
    assert find_circle(GENERATOR) == []


@pytest.mark.parametrize(
    ("name", "line", "told"),
    [
        ("overlay_generator/boot.py", "from overlay_prepare.main import run", "boot imports overlay_prepare.main"),
        ("overlay_generator/boot.py", "def f():\n    import overlayctl", "boot imports overlayctl"),
        ("overlay_prepare/main.py", "from overlayctl import errors", "main imports overlayctl.errors"),
        (
            "overlayctl/errors.py",
            "def f():\n    from overlayctl.diff import verb",
            "errors imports overlayctl.diff.verb",
        ),
        (
            "overlayctl/layers/walk.py",
            "from overlayctl.status.machine import x",
            "walk imports overlayctl.status.machine",
        ),
        ("overlayctl/diff/verb.py", "from overlayctl.export import verb", "verb imports overlayctl.export.verb"),
    ],
)
def test_an_import_that_climbs_is_found(name: str, line: str, told: str, tmp_path: Path) -> None:
    shutil.copytree(GENERATOR, tmp_path / "tree")
    path = tmp_path / "tree" / name
    path.write_text(f"{path.read_text()}\n{line}\n")
    assert len(found := find_climbing(tmp_path / "tree")) == 1
    assert found[0].endswith(told)


def test_a_circle_is_found_also_inside_a_function(tmp_path: Path) -> None:
    shutil.copytree(GENERATOR, tmp_path / "tree")
    path = tmp_path / "tree/overlay_prepare/files.py"
    path.write_text(f"{path.read_text()}\ndef f():\n    from overlay_prepare import report\n")
    assert find_circle(tmp_path / "tree") == ["overlay_prepare.files", "overlay_prepare.report"]


@pytest.mark.parametrize("name", BOOT)
def test_the_boot_path_imports_only_builtins_and_itself(name: str) -> None:
    own = {imported for imported in _imports(MODULES[name]) if imported.startswith("overlay_")}
    assert _imports(MODULES[name]) - own <= {"posix", "sys", "errno", "_signal"} | ALLOWED.get(name, set())
    assert not own & set(OPERATOR)


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_can_touch_nothing(name: str) -> None:
    others = {imported for imported in _imports(MODULES[name]) if not imported.startswith("overlay_")}
    assert others == ALLOWED.get(name, set())
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(MODULES[name].read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}
    own = {imported for imported in _imports(MODULES[name]) if imported.startswith("overlay_")}
    assert own <= set(PURE)


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_allowed_beyond_is_loaded_inside_functions(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    at_once = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    at_once |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert not at_once & ALLOWED[name]


def _find_numbers(tree: ast.AST) -> "set[str]":
    """The names that a module gives to numbers, or to tuples of them."""
    named = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            parts = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            if all(isinstance(part, ast.Constant) and isinstance(part.value, int) for part in parts):
                named |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return named


def test_no_number_of_an_error_is_that_of_one_architecture() -> None:
    """On MIPS ENOTEMPTY is 93, and 122 is EOPNOTSUPP: there `errno` has the right ones (errno(3))."""
    trees = {path: ast.parse(path.read_text()) for path in REPOSITORY.glob("generator/*/**/*.py")}
    numbers = set().union(*(_find_numbers(tree) for tree in trees.values()))
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and any(
                isinstance(side, ast.Attribute) and side.attr == "errno" for side in (node.left, *node.comparators)
            ):
                for side in (node.left, *node.comparators):
                    for part in ast.walk(side):
                        assert not isinstance(part, ast.Constant), f"{path}:{node.lineno}"
                        assert not (isinstance(part, ast.Name) and part.id in numbers), (
                            f"{path}:{node.lineno}: {part.id}"
                        )
