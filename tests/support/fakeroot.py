# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds the machine of a case: tests/cases/common, the case's root over it, and what git can't keep from `layout`.

The lines of `layout` are those of overlayctl/save/layout.py. A case may be a stranger's bug report: nothing is done
outside of the tree.
"""

import shutil
from contextlib import closing
from pathlib import Path

from overlayctl.save import layout

CASES = Path(__file__).resolve().parent.parent / "cases"


def build(case: Path, root: Path) -> None:
    """Make the tree of `case` at `root`. Raises OSError, ValueError for a line that is not understood."""
    shutil.copytree(CASES / "common", root, symlinks=True)
    if (case / "root").is_dir():
        shutil.copytree(case / "root", root, symlinks=True, dirs_exist_ok=True)
    for path in (root, *root.rglob("*")):
        # Independent of the umask that the checkout was made with.
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    if (case / "layout").exists():
        with closing(layout.Builder(str(root))) as builder:
            for line in layout.parse((case / "layout").read_text()):
                builder.make(line)
