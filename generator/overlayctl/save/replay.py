# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the generator in the tree of a case that was just saved: what comes out is its `expected`.

Owners, modes and attributes of directories are passed to it and not set: setting them takes root, and a case made from
the tree of a stranger must not change anything here.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from overlay_generator import dryrun, gather
from overlay_generator.look import Look
from overlay_generator.model import Directory
from overlayctl.save import layout

# Mode, owner, group, and whether there are extended attributes, of each directory by its path.
Noted = dict[str, tuple[int, int, int, bool]]


def build(top: str, tree: str) -> Noted:
    """Make the tree of the case in `top` at `tree`. Returns what the tree does not show. Raises OSError, ValueError."""
    shutil.copytree(f"{top}/root", tree, symlinks=True)
    noted: Noted = {}
    path = Path(top, "layout")
    lines = layout.parse(path.read_text(encoding="utf-8")) if path.exists() else []
    with closing(layout.Builder(tree)) as builder:
        for line in lines:
            where = os.fsdecode(layout.unescape(line.path))
            if line.kind == "d":
                mode, *owner = line.rest.split()
                uid, gid = map(int, owner or (0, 0))
                noted[where] = (int(mode, 8), uid, gid, False)
                builder.make(layout.Line("d", line.path, ""))
            elif line.kind == "x":
                noted[where] = (*noted[where][:3], True)
            elif line.kind != "r":  # which removes what only the tests' common tree has
                builder.make(line)
    return noted


def run_generator(tree: str, environ: "dict[str, str]", noted: Noted) -> str:
    """What the generator does with `tree`, as `expected` has it: status, log, every file. Raises OSError."""
    library = str(Path(__file__).resolve().parents[2])
    program = f"import sys; sys.path.insert(0, {library!r}); from overlayctl.save.replay import run; run(sys.argv)"
    clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "0", **environ}
    with tempfile.TemporaryDirectory(prefix="overlayctl-") as out:
        places = [f"{out}/{name}" for name in ("normal", "early", "late")]
        for place in places:
            os.mkdir(place)
        command = [sys.executable, "-ISB", "-c", program, json.dumps(noted), "--root", tree, *places]
        done = subprocess.run(command, env=clean, capture_output=True, check=False, timeout=60)
        text = f"status {done.returncode}\n{done.stderr.decode('utf-8', 'surrogateescape')}"
        for path in sorted(Path(out).rglob("*")):
            name = path.relative_to(out)
            if path.is_symlink():
                text += f"\n==> {name} -> {os.readlink(path)}\n"
            elif path.is_file():
                text += f"\n==> {name} <==\n{path.read_text(encoding='utf-8', errors='surrogateescape')}"
    return text


def run(argv: "Sequence[str]") -> None:
    """The generator's dry run, as the whole life of a process; the first word is what build() noted."""
    noted = {where: tuple(known) for where, known in json.loads(argv[1]).items()}
    read_directory = gather._read_directory

    def read(look: Look, where: str, elsewhere: "set[str]") -> Directory:
        found = read_directory(look, where, elsewhere)
        return Directory("directory", "", *noted[where]) if found.state == "directory" and where in noted else found

    vars(gather)["_read_directory"] = read
    dryrun.run([argv[0], *argv[2:]])
