# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The directories of tests/cases, and what a run of the generator in such a machine's tree gives."""

import stat
from pathlib import Path

import fakeroot
from product import Run

CASES = sorted(path for path in fakeroot.CASES.iterdir() if path.name[0].isdigit())


def read(path: Path) -> str:
    """The text of a file that a case may have, "" if it does not have it."""
    return path.read_text() if path.exists() else ""


def run_in(run: Run, root: Path, out: Path, environ: "dict[str, str]") -> str:
    """All that a run did as one text: exit status, log, and every file in the three directories."""
    for name in ("normal", "early", "late"):
        (out / name).mkdir(parents=True)
    result = run("--root", root, out / "normal", out / "early", out / "late", environ=environ)
    assert result.stdout == ""
    text = f"status {result.returncode}\n{result.stderr}"
    for path in sorted(out.rglob("*")):
        place = path.relative_to(out)
        if path.is_symlink():
            text += f"\n==> {place} -> {path.readlink()}\n"
        elif path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o644
            text += f"\n==> {place} <==\n{path.read_text(encoding='utf-8')}"
    return text
