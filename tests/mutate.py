# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes random small changes to what prepare does, one at a time, and counts those that the module's tests notice.

    python3 tests/mutate.py [--count 30] [--seed 1] [MODULE...]

Each runs on a copy of the tree. One that lives is printed with its line: it needs a test, or a word on why it can't be
seen. Not part of `make check`, as each change costs a run of the module's tests. Status 1 if any lived.
"""

import argparse
import ast
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
PACKAGE = "generator/overlay_prepare"
# Besides test_MODULE.py: where a module is tried through others.
ALSO = {
    "folder": ["test_matrix"], "tree": ["test_normalise"], "persistent": ["test_persistent_reset", "test_main"],
    "layers": ["test_main"], "reset": ["test_reset_paths", "test_persistent_reset"], "stamp": ["test_faults"],
    "imagecopy": ["test_passthrough"], "reserve": ["test_full_disk", "test_main"], "adapt": ["test_main"],
}  # fmt: skip
SWAPPED: "dict[type, type]" = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add,
}  # fmt: skip


def find_changes(source: str) -> "list[tuple[int, str, str]]":
    """All changes of `source`: the line, what is done there, and the source with it."""
    count = len(list(ast.walk(ast.parse(source))))
    lines = source.splitlines()
    found = []
    for index in range(count):
        tree = ast.parse(source)
        node = list(ast.walk(tree))[index]
        line = getattr(node, "lineno", 0)
        what = _change(node)
        if what and "TYPE_CHECKING" not in lines[line - 1]:
            found.append((line, what, ast.unparse(tree)))
    return found


def _change(node: ast.AST) -> str:
    """Change `node` in its place. Returns what was done, "" if there is nothing to change."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        node.ops[0] = SWAPPED[type(node.ops[0])]()
        return "comparison turned round"
    if isinstance(node, (ast.BoolOp, ast.BinOp)) and type(node.op) in SWAPPED:
        node.op = SWAPPED[type(node.op)]()
        return "operator exchanged"
    if isinstance(node, (ast.If, ast.While)) and ast.unparse(node.test) != "TYPE_CHECKING":
        node.test = ast.Constant(value=isinstance(node, ast.If))
        return "condition always true" if isinstance(node, ast.If) else "loop left out"
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
        return "True/False exchanged"
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        node.value += 1
        return "number one more"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        node.value = ast.Constant(value=None)
        return "call left out"
    return ""


def notices(tree: Path, module: str) -> bool:
    """True if a test of `module` fails in `tree`, or does not come to an end."""
    names = [f"test_{module}", *ALSO.get(module, [])]
    files = [path for name in names if (path := tree / f"tests/prepare/{name}.py").exists()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *map(str, files)]
    try:
        done = subprocess.run(command, cwd=tree, capture_output=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        return True
    if done.returncode not in (0, 1, 2):
        sys.exit(done.stdout.decode(errors="replace"))
    return done.returncode != 0


def main() -> int:
    """0 if every change was noticed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=30, help="how many changes (30)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    asked = parser.parse_args()
    modules = asked.modules or [p.stem for p in sorted((TOP / PACKAGE).glob("*.py")) if p.stem != "__init__"]
    chance = random.Random(asked.seed)
    lived = 0
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name) / "tree"
        shutil.copytree(TOP, tree, ignore=shutil.ignore_patterns(".git", "__pycache__", "dist", "build"))
        for _ in range(asked.count):
            module = chance.choice(modules)
            path = tree / f"{PACKAGE}/{module}.py"
            source = path.read_text()
            changes = find_changes(source)
            if not changes:
                continue
            line, what, changed = chance.choice(changes)
            path.write_text(changed)
            if not notices(tree, module):
                lived += 1
                print(f"{module}.py:{line}: {what}: {source.splitlines()[line - 1].strip()}", flush=True)
            path.write_text(source)
    print(f"{asked.count - lived} of {asked.count} noticed")
    return 1 if lived else 0


if __name__ == "__main__":
    sys.exit(main())
