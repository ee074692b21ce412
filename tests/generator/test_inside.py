# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Links in the tree of an image lead within the tree."""

import errno
import os
from pathlib import Path

import pytest

from overlay_generator.inside import resolve

LINKS = {
    "absolute": "/usr", "relative": "usr/lib", "up": "../../../..", "usr/back": "..", "circle": "circle", "one": "two",
    "usr/lib/deep": "../../absolute/lib", "two": "one", "dangling": "/gone/file", "slash": "usr/lib/",
    "dotted": "./usr/./lib",
}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> str:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/file").touch()
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    return str(root)


@pytest.mark.parametrize(("path", "follow", "expected"), [
    ("/usr/lib/file", True, "/usr/lib/file"),
    ("/absolute/lib/file", True, "/usr/lib/file"),
    ("/absolute", True, "/usr"),
    ("/absolute", False, "/absolute"),
    ("/absolute/lib", False, "/usr/lib"),
    ("/relative/file", True, "/usr/lib/file"),
    ("/up", True, "/"),
    ("/up/etc/passwd", True, "/etc/passwd"),
    ("/../../etc/passwd", True, "/etc/passwd"),
    ("/usr/back/usr/back/back", True, "/back"),
    ("/usr/lib/deep/file", True, "/usr/lib/file"),
    ("/dangling", True, "/gone/file"),
    ("/dangling", False, "/dangling"),
    ("/slash/file", False, "/usr/lib/file"),
    ("/slash", True, "/usr/lib"),
    ("/dotted/./file/", True, "/usr/lib/file"),
    ("/nothing/here", True, "/nothing/here"),
    ("/usr/lib/file/below", True, "/usr/lib/file/below"),
    ("", True, "/"),
    ("/", False, "/"),
    ("/a\0b", True, "/a\0b"),
])  # fmt: skip
def test_where_a_path_leads(path: str, follow: bool, expected: str, tree: str) -> None:
    assert resolve(tree, path, follow) == expected


@pytest.mark.parametrize("path", ["/circle", "/one", "/one/more", "/circle/x"])
def test_circles_end(path: str, tree: str) -> None:
    with pytest.raises(OSError, match="too many") as caught:
        resolve(tree, path)
    assert caught.value.errno == errno.ELOOP
    assert resolve(tree, "/circle", False) == "/circle"


def test_it_is_what_the_kernel_does_after_chroot(tree: str) -> None:
    """For all that is there, by its inode."""
    if os.geteuid() != 0:
        pytest.skip("chroot(2) needs root")
    paths = ["/absolute/lib/file", "/usr/lib/deep/file", "/up/usr/lib", "/usr/back/usr", "/slash/file", "/dotted"]
    for path in paths:
        child = os.fork()
        if child == 0:
            try:
                os.chroot(tree)
                os.chdir("/")
                os._exit(os.stat(path).st_ino % 251)
            finally:
                os._exit(255)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == os.lstat(tree + resolve(tree, path)).st_ino % 251
