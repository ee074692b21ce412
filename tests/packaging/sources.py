# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The sources as a commit, as the packages are made from them, with what is not committed yet."""

import os
import shutil
import subprocess
from pathlib import Path

from product import REPOSITORY

# By nobody, and always at the same time: the same sources are the same commit.
ENVIRON = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C.UTF-8",
    **{f"GIT_{who}_NAME": "nobody" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "nobody@example.org" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_DATE": "2026-01-02T03:04:05+00:00" for who in ("AUTHOR", "COMMITTER")},
}
GENERATED = shutil.ignore_patterns(
    "__pycache__", "*.egg-info", "build", "dist", ".*_cache", ".git", ".hypothesis", ".venv"
)


def run(*command: "str | Path", cwd: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """The result of `command` in `cwd`. Raises nothing."""
    words = [str(word) for word in command]
    return subprocess.run(
        words, cwd=cwd, env={**ENVIRON, **environ}, capture_output=True, text=True, check=False, timeout=600
    )


def ran(*command: "str | Path", cwd: Path, **environ: str) -> str:
    """What `command` printed. Fails the test, with all its output, if that has another exit status than 0."""
    done = run(*command, cwd=cwd, **environ)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commit(tree: Path) -> None:
    """Make everything in `tree` a commit."""
    if not (tree / ".git").exists():
        ran("git", "init", "-q", "-b", "main", cwd=tree)
    ran("git", "add", "-A", cwd=tree)
    ran("git", "commit", "-q", "-m", "test", cwd=tree)


def copy_sources(tree: Path) -> Path:
    """`tree`, filled with the working tree as it is and committed there."""
    shutil.copytree(REPOSITORY, tree, symlinks=True, ignore=GENERATED, dirs_exist_ok=True)
    commit(tree)
    return tree
