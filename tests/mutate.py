# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes random small changes to what prepare does, one at a time, and counts those that the module's tests notice.

    python3 tests/mutate.py [--count 30] [--seed 1] [--jobs 2] [MODULE...]

Each runs on a copy of the tree, in namespaces of its own if root: a changed program may do anything. One that lives is
printed with its line: it needs a test, or a word on why it can't be seen. A module's own tests come first, then those
that try it through others; tests that fail without any change are left out, and named. Not part of `make check`, as
each change costs a run of the module's tests; TMPDIR on a file system in memory that keeps trusted attributes, as ext4
on a tmpfs, makes that much quicker. Status 1 if any lived.

Some can't be seen, and live whenever chance takes them:

    files._CHUNK, manifest._PART                 a file is read in a call more or less
    opaque._find_directories(): follow_symlinks  what a link of the image's leads to adds nothing below its name
    files.is_too_long(): 900                      a shortcut, as no character has more than four bytes
    imagechange._split(): runs[-1][-1]           all characters of a run are alike
    fold.fold(): backing.rmdir("upper")          what takes its place replaces an empty directory as well
    tree._OPEN, _NAMES, _AGAIN, _PART            memory against calls: with one more it is the same
    tree._identify(): << 64                      an inode number has no more bits, or fewer
    folder._CHUNK, fdinfo.find_mount(): 4096    what is read comes in a call more or less
    main._work_behind(): nice(39)                it is the lowest priority already with less
    main._work_behind(): if trash                without any, emptying it does nothing
"""

import argparse
import ast
import contextlib
import copy
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
PACKAGE = "generator/overlay_prepare"
# Besides test_MODULE.py: where a module is tried through others, quick ones first.
ALSO = {
    "adapt": ["test_main"],
    "bootcheck": ["test_events"],
    "commit": ["test_rollback_told", "test_rollback", "test_events"],
    "events": ["test_journal", "../generator/test_events"],
    "files": ["test_machines", "test_folder", "test_manifest", "test_policy"],
    "fitness": ["test_projects", "test_main"],
    "fold": ["test_fold_smaller", "test_rollback"],
    "folder": ["test_folder_calls", "test_files", "test_machines", "test_tree", "test_one_way"],
    "freeze": ["test_freeze_finish", "test_rollback"],
    "frozen": ["test_rollback"],
    "identity": ["test_identity_facts"],
    "imagecopy": ["test_passthrough"],
    "labels": ["test_upper", "test_main"],
    "layers": ["test_main"],
    "main": ["test_main_faults", "test_adapt", "test_events"],
    "manifest": ["test_machines"],
    "normalise": ["test_machines"],
    "overlays": ["test_events", "test_factoryreset"],
    "pairs": ["test_shadow", "test_fold"],
    "passthrough": ["test_passthrough_states"],
    "patience": ["test_main"],
    "persistent": [
        "test_persistent_steps",
        "test_persistent_told",
        "test_persistent_request",
        "test_main",
        "test_persistent_reset",
        "test_full_disk",
    ],
    "policy": ["test_policy_listing"],
    "projects": ["test_fitness"],
    "report": ["test_main"],
    "reserve": ["test_full_disk"],
    "reset": ["test_reset_reach", "test_reset_paths"],
    "rollback": ["test_rollback_settle", "test_rollback_told"],
    "room": ["test_rollback"],
    "stepback": ["test_rollback", "test_rollback_told"],
    "storage": ["test_labels", "test_fitness"],
    "telling": ["../generator/test_events", "test_events"],
    "tree": ["test_normalise", "test_reset"],
}
SWAPPED: "dict[type, type]" = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add,
}  # fmt: skip
APART = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc")


def find_changes(source: str) -> "list[int]":
    """What can be changed in `source`: positions among its nodes, for change()."""
    lines = source.splitlines()
    nodes = enumerate(ast.walk(ast.parse(source)))
    return [
        position
        for position, node in nodes
        if "TYPE_CHECKING" not in lines[getattr(node, "lineno", 1) - 1] and _change(copy.deepcopy(node))
    ]


def change(source: str, position: int) -> "tuple[int, str, str]":
    """The line of the node at `position`, what is done there, and the source with it."""
    tree = ast.parse(source)
    node = list(ast.walk(tree))[position]
    what = _change(node)
    return getattr(node, "lineno", 0), what, ast.unparse(tree)


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


def choose(modules: "list[str]", count: int, seed: int) -> "list[tuple[str, int, str, str]]":
    """`count` different changes by chance: the module, the line, what is done there, and its source with it."""
    chance = random.Random(seed)
    sources = {name: (TOP / PACKAGE / f"{name}.py").read_text() for name in modules}
    left = {name: find_changes(source) for name, source in sources.items()}
    chosen: list[tuple[str, int, str, str]] = []
    while len(chosen) < count and any(left.values()):
        module = chance.choice([name for name in modules if left[name]])
        line, what, changed = change(sources[module], left[module].pop(chance.randrange(len(left[module]))))
        if changed != ast.unparse(ast.parse(sources[module])):
            chosen.append((module, line, what, changed))
    return chosen


def find_tests(module: str) -> "list[str]":
    """The tests of `module`, paths below the top; the first ones are the quickest."""
    names = [f"test_{module}", *ALSO.get(module, [])]
    return [path for name in names if (TOP / (path := f"tests/prepare/{name}.py")).exists()]


class Job:
    """A copy of the tree, and a process that runs tests in it: one with pytest loaded, of which each run is a copy."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        ignored = shutil.ignore_patterns(".git", "__pycache__", "dist", "build")
        shutil.copytree(TOP, tree, ignore=ignored, symlinks=True)
        command = [*(APART if os.geteuid() == 0 else ()), sys.executable, __file__, "--runs-tests-in", str(tree)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, path: str, seconds: float) -> bool:
        """True if the tests at `path` pass; False also if they do not come to an end in time."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{seconds} {path}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == "passed\n"


def run_tests(tree: Path) -> int:
    """Run the tests that standard input names, each with the seconds that it may take; 0."""
    import pytest

    said, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115
    os.chdir("/")
    pytest.main(["--version", "-c", os.devnull])  # which loads its plugins
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for line in sys.stdin:
        seconds, path = line.split()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
            said.write("passed\n" if _run_copy(path, scratch, float(seconds)) else "failed\n")
        said.flush()
    return 0


def _run_copy(path: str, scratch: str, seconds: float) -> bool:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
                os.dup2(os.open(os.devnull, mode), number)
            os.environ["PYTEST_DEBUG_TEMPROOT"] = scratch
            import pytest

            words = ["-x", "-q", "-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=none", path]
            status = int(pytest.main(words) != 0)
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    done, status = 0, 1
    while not done and time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        time.sleep(0.05)
    if os.getpid() == 1:
        # Whatever it has left behind, in this namespace of processes.
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    elif not done:
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, 0):
            continue
    return bool(done) and status == 0


class Search:
    """Tries changes, several at a time."""

    def __init__(self, jobs: "list[Job]") -> None:
        self._free: queue.Queue[Job] = queue.Queue()
        for job in jobs:
            self._free.put(job)
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._seconds: dict[str, float] = {}  # that tests take without any change; 0 if they fail
        self._done = 0

    def notices(self, change: "tuple[str, int, str, str]") -> bool:
        """True if a test notices `change`, which is printed if none does."""
        job = self._free.get()
        try:
            noticed = any(self._notices(job, change, test) for test in find_tests(change[0]))
        finally:
            self._free.put(job)
        self._done += 1
        if self._done % 10 == 0:
            print(f"{self._done} tried", file=sys.stderr, flush=True)
        if not noticed:
            module, line, what, _ = change
            code = (TOP / PACKAGE / f"{module}.py").read_text().splitlines()[line - 1].strip()
            print(f"{module}.py:{line}: {what}: {code}", flush=True)
        return noticed

    def _notices(self, job: Job, change: "tuple[str, int, str, str]", test: str) -> bool:
        with self._locks[test]:
            if test not in self._seconds:
                start = time.monotonic()
                self._seconds[test] = time.monotonic() - start if job.run(test, 1200) else 0
                if not self._seconds[test]:
                    print(f"left out: {test} fails without any change", flush=True)
        path = job.tree / f"{PACKAGE}/{change[0]}.py"
        source = path.read_text()
        path.write_text(change[3])
        try:
            return self._seconds[test] > 0 and not job.run(test, 60 + 10 * self._seconds[test])
        finally:
            path.write_text(source)


def main() -> int:
    """0 if every change was noticed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=30, help="how many changes (30)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (2)")
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--runs-tests-in", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.runs_tests_in:
        return run_tests(asked.runs_tests_in)
    modules = asked.modules or [p.stem for p in sorted((TOP / PACKAGE).glob("*.py")) if p.stem != "__init__"]
    for module in modules:
        if not find_tests(module):
            print(f"{module}.py: no tests, see ALSO in {__file__}", flush=True)
    changes = choose(modules, asked.count, asked.seed)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(asked.jobs) as pool:
        search = Search([Job(Path(name) / f"tree{number}") for number in range(asked.jobs)])
        noticed = sum(pool.map(search.notices, changes))
    print(f"{noticed} of {len(changes)} noticed")
    return 0 if noticed == len(changes) else 1


if __name__ == "__main__":
    sys.exit(main())
