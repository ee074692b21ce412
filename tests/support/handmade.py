# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Layers made by hand, and overlayctl of the checkout run on them."""

import os
import subprocess
import sys
from pathlib import Path

from product import REPOSITORY


class Tree:
    """Layers made by hand, and overlayctl run on them."""

    def __init__(self, top: Path) -> None:
        self.upper, self.lower = top / "upper", top / "lower"
        for path in (self.upper, self.lower):
            path.mkdir()

    def run(self, *words: str, **options: object) -> "subprocess.CompletedProcess[str]":
        layers = ["--upper", str(self.upper), "--lower", str(self.lower), "--where", "/var"]
        return run_command("diff", *layers, *words, **options)

    def put(self, layer: Path, name: str, text: str, mode: int = 0o644) -> Path:
        """A file as old as all others."""
        path = layer / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        path.chmod(mode)
        os.utime(path, ns=(0, 10**18))
        return path


def run_command(*words: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """overlayctl of the checkout, in a clean environment."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60, **options}
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY / "generator"), "LC_ALL": "C"}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "overlayctl", *words],
        env=environ, text=True, errors="surrogateescape", check=False, **options,
    )  # fmt: skip
