# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl render reads and writes nothing outside of a tree, whatever stands there in the place of a file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rendering import Render, build

LINKS = [
    "usr/lib/overlay-generator/static", "usr/lib/overlay-generator", "usr/lib/systemd/system", "usr/lib/systemd",
    "usr/lib/systemd/system/local-fs.target.wants", "usr/lib/systemd/system/local-fs.target.requires",
    "usr/lib/systemd/system/var.mount.d", "usr/lib/systemd/system/var.mount",
    "usr/lib/systemd/system/prepare-var-overlay.service",
]  # fmt: skip


@pytest.mark.parametrize("how", ["absolute", "relative", "to a file"])
@pytest.mark.parametrize("path", LINKS)
def test_nothing_outside_of_the_tree_is_written_or_deleted(path: str, how: str, render: Render, tmp_path: Path) -> None:
    """Whatever links the tree has, at the first rendering and at the next."""
    root, home, out = tmp_path / "root", tmp_path / "home", tmp_path / "out"
    build("05", root)
    for name in ("system", "static", "mine.json", "local-fs.target.wants", "var.mount.d"):
        (home / name).mkdir(parents=True)
        (home / name / "var.json").write_text("mine\n")
    out.mkdir()
    # Also what looks like ours.
    assert render("--root", root, "--output", out).returncode == 0
    for name in ("var.mount", "prepare-var-overlay.service"):
        for place in ("", "system", "systemd/system"):
            (home / place).mkdir(parents=True, exist_ok=True)
            (home / place / name).write_text((out / "usr/lib/systemd/system" / name).read_text())
    before = show_all(home)
    link = root / path
    if link.is_dir():
        shutil.rmtree(link)
    link.parent.mkdir(parents=True, exist_ok=True)
    target = str(home / "system/var.mount" if how == "to a file" else home)
    link.symlink_to("../" * 30 + target.lstrip("/") if how == "relative" else target)
    for _ in range(2):
        result = render("--root", root, "--output", root)
        assert "Traceback" not in result.stderr
        assert "a bug" not in result.stderr
        assert show_all(home) == before
    if path.endswith(".d"):  # others' directory: nothing is rendered there
        assert result.returncode == 0
    else:
        assert (result.returncode, result.stderr.count("\n")) == (3, 1)


def show_all(top: Path) -> "dict[str, tuple[int, bytes]]":
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in top.rglob("*")
    }


def test_links_within_the_tree_are_followed(render: Render, tmp_path: Path) -> None:
    """/usr/lib/systemd as an absolute link of the image, and /lib as a link to usr/lib."""
    root, plain = tmp_path / "root", tmp_path / "plain"
    build("05", root)
    build("05", plain)
    (root / "opt/systemd").mkdir(parents=True)
    (root / "usr/lib").mkdir(parents=True, exist_ok=True)
    (root / "usr/lib/systemd").symlink_to("/opt/systemd")
    for tree in (root, root, plain):
        assert render("--root", tree, "--output", tree).returncode == 0
    texts = [
        {str(file.relative_to(top)): file.read_bytes() for file in top.rglob("*") if file.is_file()}
        for top in (root / "opt/systemd/system", plain / "usr/lib/systemd/system")
    ]
    assert texts[0] == texts[1]
    assert "var.mount" in texts[0]


def test_notes_of_others_stay(render: Render, tmp_path: Path) -> None:
    root = tmp_path / "root"
    build("05", root)
    notes = root / "usr/lib/overlay-generator/static"
    notes.mkdir(parents=True)
    (notes / "mine.json").write_text("mine\n")
    for _ in range(2):
        assert render("--root", root, "--output", root).returncode == 0
    assert {"mine.json", "var.json"} <= set(os.listdir(notes))
    (notes / "mine.json").rename(notes / "var.json")
    (root / "usr/lib/systemd/system/prepare-var-overlay.service").unlink()
    result = render("--root", root, "--output", root)
    assert (result.returncode, "exists already, not made by overlayctl render" in result.stderr) == (3, True)
    assert (notes / "var.json").read_text() == "mine\n"


@pytest.mark.parametrize(("what", "text"), [
    ("fifo", ""), ("device", "it is a device"), ("directory", "Is a directory"), ("huge", ""),
])  # fmt: skip
def test_what_stands_for_a_file_in_a_tree_is_not_waited_for(
    what: str, text: str, render: Render, tmp_path: Path
) -> None:
    if what == "device" and os.geteuid() != 0:
        pytest.skip("device nodes need root")
    root = tmp_path / "root"
    build("05", root)
    path = root / "etc/selinux/config"
    path.parent.mkdir(parents=True, exist_ok=True)
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "device": lambda: os.mknod(path, 0o020600, os.makedev(1, 5)),
        "directory": path.mkdir,
        "huge": lambda: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40),
    }
    make[what]()
    result = render("--root", root)
    assert result.returncode == (3 if text else 0)
    assert text in result.stderr
    assert "Traceback" not in result.stderr + result.stdout
