# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the device's Python has to have: every import of what runs there, compared with what the packages depend on.

Image builders split Python into parts. An import that fails in the background process is seen by nobody, so no import
is too late or too rare to count: those inside functions are included.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import OECORE, tree

from product import REPOSITORY

GENERATOR = REPOSITORY / "generator"
LAYER = REPOSITORY / "packaging/yocto/meta-overlay-generator"
RECIPES = {
    "overlay-generator": LAYER / "recipes-core/overlay-generator/overlay-generator.bb",
    "overlayctl": LAYER / "dynamic-layers/meta-python/recipes-core/overlay-generator/overlayctl.bb",
}
MENU = REPOSITORY / "packaging/buildroot/package/overlay-generator/Config.in"

# In the interpreter itself, in every build of CPython.
BUILT_IN = {"_signal", "builtins", "errno", "gc", "itertools", "marshal", "posix", "sys", "time"}
# Where OpenEmbedded has the other modules, by python3-manifest.json of scarthgap and wrynose. Checked against the file
# itself where there is a tree.
OPENEMBEDDED = {
    "python3-core": {
        "argparse", "ast", "collections", "contextlib", "copy", "dataclasses", "fnmatch", "functools", "importlib",
        "io", "os", "pathlib", "re", "shutil", "signal", "stat", "struct", "subprocess", "traceback", "types", "typing",
        "weakref", "zlib",
    },
    "python3-compression": {"gzip", "tarfile"},
    "python3-crypt": {"hashlib"},
    "python3-ctypes": {"ctypes"},
    "python3-difflib": {"difflib"},
    "python3-fcntl": {"fcntl"},
    "python3-io": {"_socket", "tempfile"},
    "python3-json": {"json"},
    "python3-psutil": {"psutil"},
    "python3-pyudev": {"pyudev"},
}  # fmt: skip
# Buildroot has most of it in python3; these modules only where the symbol is set.
BUILDROOT = {
    "BZIP2": {"bz2"}, "CURSES": {"curses"}, "PYEXPAT": {"xml"}, "READLINE": {"readline"}, "SQLITE": {"sqlite3"},
    "SSL": {"ssl"}, "UNICODEDATA": {"unicodedata"}, "XZ": {"lzma"}, "ZLIB": {"gzip", "zlib"},
}  # fmt: skip


def own_packages() -> "set[str]":
    """The names of the packages in the tree, whichever there are."""
    return {path.parent.name for path in GENERATOR.glob("*/__init__.py")}


def programs(recipe: str) -> "list[Path]":
    """Every Python file that the package of that name puts on the device: modules, and scripts by their first line."""
    if recipe == "overlayctl":
        return [*sorted((GENERATOR / "overlayctl").rglob("*.py")), GENERATOR / "bin/overlayctl"]
    modules = [path for name in own_packages() - {"overlayctl"} for path in sorted((GENERATOR / name).rglob("*.py"))]
    scripts = [path for path in (*GENERATOR.iterdir(), *(REPOSITORY / "lib/systemd").rglob("*")) if is_script(path)]
    return [*modules, *scripts]


def is_script(path: Path) -> bool:
    return path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/python3")


def imports(paths: "list[Path]") -> "set[str]":
    """The modules that they import anywhere in their text, by their first names, without our own."""
    found = set()
    for path in paths:
        found |= set(names_in(ast.parse(path.read_text())))
    return found - own_packages()


def names_in(program: ast.Module) -> "Iterator[str]":
    for node in ast.walk(program):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def depends(recipe: str) -> "set[str]":
    """The packages of Python in a recipe's RDEPENDS; overlayctl's also by the generator, which it depends on."""
    found = set()
    for value in re.findall(r'^RDEPENDS:\$\{PN\}\S* = "(.*?)"$', RECIPES[recipe].read_text(), re.MULTILINE | re.DOTALL):
        found |= set(value.replace("\\\n", " ").split())
    if "overlay-generator" in found:
        found |= depends("overlay-generator")
    return {name for name in found if name.startswith("python3-")}


def unmet(modules: "set[str]", where: "dict[str, str]", have: "set[str]") -> "dict[str, str]":
    """The modules whose package is not among `have`, with the package."""
    return {name: where[name] for name in sorted(modules - BUILT_IN) if where[name] not in have}


def test_lazy_imports_and_those_of_scripts_are_seen() -> None:
    assert set(
        names_in(ast.parse("def f():\n    try:\n        from a.b import c\n    finally:\n        import d.e\n"))
    ) == {"a", "d"}
    found = {path.name for path in programs("overlay-generator")}
    assert {"boot.py", "prepare", "overlay-generator"} <= found
    assert "hashlib" in imports(programs("overlay-generator"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_openembedded_s_packages_have_every_module(recipe: str) -> None:
    where = {module: package for package, modules in OPENEMBEDDED.items() for module in modules}
    modules = imports(programs(recipe))
    assert modules - BUILT_IN - where.keys() == set(), "say in OPENEMBEDDED which package has it"
    assert unmet(modules, where, depends(recipe)) == {}, "RDEPENDS of the recipe lacks the package"


def test_a_package_that_is_missing_is_found() -> None:
    where = {module: package for package, modules in OPENEMBEDDED.items() for module in modules}
    assert unmet({"hashlib", "os"}, where, {"python3-core"}) == {"hashlib": "python3-crypt"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_package_is_asked_for_in_vain(recipe: str) -> None:
    used = {package for package, modules in OPENEMBEDDED.items() if modules & imports(programs(recipe))}
    if recipe == "overlayctl":
        used |= depends("overlay-generator")
    assert depends(recipe) - used == set()


def test_buildroot_s_optional_modules_are_selected() -> None:
    text = MENU.read_text()
    for recipe in RECIPES:
        needed = {symbol for symbol, modules in BUILDROOT.items() if modules & imports(programs(recipe))}
        at = text.index("config BR2_PACKAGE_OVERLAY_GENERATOR_" + {"overlayctl": "OVERLAYCTL"}.get(recipe, "AT_BOOT"))
        entry = re.split(r"^(?:config|endchoice|endif)", text[at:], maxsplit=2, flags=re.MULTILINE)[1]
        assert set(re.findall(r"select BR2_PACKAGE_PYTHON3_(\w+)", entry)) == needed, recipe


# With a tree of OpenEmbedded-Core


def read_manifest(oecore: Path) -> "dict[str, dict[str, list[str]]]":
    """The packages that OpenEmbedded makes of Python: files, and what they depend on. The comment goes before."""
    text = (oecore / "meta/recipes-devtools/python/python3/python3-manifest.json").read_text()
    manifest: dict[str, dict[str, list[str]]] = json.loads(text[text.index("\n{") :])
    return manifest


def packages_of(module: str, manifest: "dict[str, dict[str, list[str]]]") -> "set[str]":
    """The packages that claim `module`; what the manifest does not name is in python3-misc."""
    library = r"\$\{libdir\}/python\$\{PYTHON_MAJMIN\}"
    wanted = re.compile(rf"{library}/(?:{module}(?:\.py)?|lib-dynload/{module}\..*\.so)")
    names = [name for name, entry in manifest.items() if any(wanted.fullmatch(path) for path in entry["files"])]
    return {f"python3-{name}" for name in names or ["misc"]}


def closure(packages: "set[str]", manifest: "dict[str, dict[str, list[str]]]") -> "set[str]":
    """These packages and all that they depend on, by the manifest."""
    found: set[str] = set()
    todo = set(packages)
    while todo:
        found |= todo
        todo = {
            f"python3-{name}"
            for package in todo
            for name in manifest.get(package.removeprefix("python3-"), {"rdepends": []})["rdepends"]
        } - found
    return found


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_manifest_of_a_tree_says_the_same(recipe: str) -> None:
    manifest = read_manifest(tree(OECORE))
    modules = imports(programs(recipe)) & set(sys.stdlib_module_names) - BUILT_IN
    have = closure(depends(recipe), manifest)
    assert {
        module: packages_of(module, manifest) for module in modules if not packages_of(module, manifest) & have
    } == {}
    for package, names in OPENEMBEDDED.items():
        for module in names & modules:
            assert package in packages_of(module, manifest), "OPENEMBEDDED says otherwise"
