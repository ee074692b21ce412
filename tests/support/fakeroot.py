"""Builds the machine of a case: tests/cases/common, the case's root over it, and what git can't keep from `layout`.

A line of `layout` is a type, a path and arguments, after tmpfiles.d(5):

    d PATH [MODE [UID GID]]   a directory
    f PATH TEXT               a file; TEXT with Python's escapes, as bytes
    L PATH TARGET             a symbolic link, also in the place of a file of common
    p PATH                    a FIFO
    r PATH                    remove what common has there
    x PATH NAME VALUE         set an extended attribute
    * PATH COUNT TEXT         COUNT times TEXT at the end of a file, %d in it is the number
"""

import os
import shutil
from pathlib import Path

CASES = Path(__file__).resolve().parent.parent / "cases"


def build(case: Path, root: Path) -> None:
    """Make the tree of `case` at `root`. Raises OSError, ValueError for a line that is not understood."""
    shutil.copytree(CASES / "common", root, symlinks=True)
    if (case / "root").is_dir():
        shutil.copytree(case / "root", root, symlinks=True, dirs_exist_ok=True)
    layout = case / "layout"
    for path in (root, *root.rglob("*")):
        # Whatever umask the checkout was made with.
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    if layout.exists():
        for line in layout.read_text().splitlines():
            if line and not line.startswith("#"):
                _make(root, *line.split(None, 2))


def _make(root: Path, kind: str, name: str, rest: str = "") -> None:
    path = os.fsencode(root) + _unescape(name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if kind == "d":
        mode, *owner = (rest or "0755").split()
        os.makedirs(path, exist_ok=True)
        if owner:
            os.chown(path, int(owner[0]), int(owner[1]))
        os.chmod(path, int(mode, 8))
    elif kind == "f":
        Path(os.fsdecode(path)).write_bytes(_unescape(rest))
    elif kind == "L":
        if os.path.isfile(path):
            os.unlink(path)
        os.symlink(rest, path)
    elif kind == "p":
        os.mkfifo(path)
    elif kind == "r":
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    elif kind == "x":
        attribute, value = rest.split(None, 1)
        os.setxattr(path, attribute, value.encode())
    elif kind == "*":
        count, text = rest.split(None, 1)
        lines = (_unescape(text.replace("%d", str(number))) for number in range(int(count)))
        with open(path, "ab") as stream:
            stream.writelines(lines)
    else:
        raise ValueError(f"layout: unknown type {kind!r}")


def _unescape(text: str) -> bytes:
    return text.encode("utf-8").decode("unicode_escape").encode("latin-1")
