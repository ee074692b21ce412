# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The walk over two layers: random histories in real overlays, and marks made by hand.

HISTORIES in the environment says how many random histories there are.
"""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from overlayctl.layers.change import KINDS, Change, Layers
from overlayctl.layers.walk import NotFound, walk
from product import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes need root")

HISTORIES = os.environ.get("HISTORIES", "60")
FUZZ = REPOSITORY / "tests/support/diff_fuzz.py"


def fuzz(*words: str) -> "tuple[list[str], str]":
    """What diff_fuzz.py prints, and what it says of histories that differ."""
    command = ["unshare", "-m", "--propagation", "private", sys.executable, str(FUZZ), *words]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("overlayctl: ")]
    return done.stdout.split(), "\n".join(said)


def test_changes_are_those_of_the_mounted_view() -> None:
    (count, differing, *kinds), said = fuzz(HISTORIES, "1")
    assert (count, differing) == (HISTORIES, "0"), said
    # Each kind has been seen, or the histories show little.
    assert {kind.partition("=")[0] for kind in kinds} == set(KINDS)


def test_a_walk_that_misses_something_is_noticed() -> None:
    """The control: without the index, changes of hard links of the image are not seen."""
    (_, differing, *_), said = fuzz("100", "1", "without-index")
    assert int(differing) > 0
    assert "found None" in said


def test_changes_are_those_of_the_mounted_view_with_something_frozen() -> None:
    """Two layers over the image, against the image and against what there was when the second one came."""
    (count, differing, *kinds), said = fuzz(HISTORIES, "1", "frozen")
    assert (count, differing) == (HISTORIES, "0"), said
    assert {kind.partition("=")[0] for kind in kinds} == set(KINDS)


def test_a_merge_that_misses_what_ends_the_lower_layer_is_noticed() -> None:
    """The control: without the marks that directories have, what they hide of the frozen layer shows."""
    (_, differing, *_), said = fuzz("40", "1", "frozen", "blind")
    assert int(differing) > 0
    assert "found" in said


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    for path in (upper, lower, upper / "d", lower / "d", lower / "d/inner"):
        path.mkdir()
    for name in ("a", "d/f", "d/inner/g"):
        (lower / name).write_text(name)
        os.utime(lower / name, ns=(0, 10**18))
    return Layers(os.fsencode(upper), os.fsencode(lower))


def mark(layers: Layers, path: str, name: str, value: bytes = b"y") -> None:
    try:
        os.setxattr(os.fsdecode(layers.upper) + "/" + path, f"trusted.overlay.{name}", value)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            pytest.skip(f"trusted attributes can't be set here: {error.strerror}")
        raise


def make(layers: Layers, *words: str) -> None:
    """Make what `words` say in the upper layer: a name with / at its end is a directory, one with ! a whiteout.

    `name:mark=value` sets a mark, `name` alone is a file with its own name in it, `name=` an empty one.
    """
    top = Path(os.fsdecode(layers.upper))
    for word in words:
        name, colon, marked = word.partition(":")
        if colon:
            key, _, value = marked.partition("=")
            mark(layers, name, key, value.encode())
        elif name.endswith("/"):
            (top / name).mkdir()
        elif name.endswith("!"):
            os.mknod(top / name[:-1], stat.S_IFCHR, os.makedev(0, 0))
        else:
            name, equals, _ = name.partition("=")
            (top / name).write_text("" if equals else name)
            os.utime(top / name, ns=(0, 10**18))


def spell(change: Change) -> str:
    parts = [change.kind, change.path.decode(), *change.what]
    return " ".join(parts) + (f" < {change.source.decode()}" if change.source else "")


def found(layers: Layers, start: str = "", follow: bool = True) -> "list[str]":
    return [spell(change) for change in walk(layers, start.encode(), follow) if change.path]


CASES = {
    "nothing": ([], []),
    "whiteout": (["a!"], ["deleted a"]),
    "whiteout of nothing": (["b!"], []),
    "whiteout as an attribute": (["a=", "a:whiteout="], ["deleted a"]),
    "whiteout as an attribute in a marked directory": (
        ["d:opaque=x", "d/f=", "d/f:whiteout="],
        ["deleted d/f"],
    ),
    "a file that is not empty is no whiteout": (["a", "a:whiteout="], ["equal a"]),
    "an empty file is no whiteout": (["a="], ["changed a content"]),
    "opaque": (["d:opaque=y"], ["opaque d", "deleted d/f", "deleted d/inner"]),
    "opaque, and the same again": (
        ["d:opaque=y", "d/f", "d/new"],
        ["opaque d", "equal d/f", "deleted d/inner", "added d/new"],
    ),
    "opaque without a directory in the image": (["new/", "new:opaque=y"], ["added new"]),
    "x is not opaque": (["d:opaque=x"], []),
    "redirect to a path": (
        ["new/", "new:redirect=/d/inner", "new/h"],
        ["moved new < d/inner", "added new/h"],
    ),
    "redirect to a neighbour": (
        ["d/new/", "d/new:redirect=inner", "d/new/g!"],
        ["moved d/new < d/inner", "deleted d/new/g"],
    ),
    "redirect within a redirect": (
        ["new/", "new:redirect=/d", "new/deep/", "new/deep:redirect=inner", "new/inner!", "new/deep/g"],
        ["moved new < d", "moved new/deep < d/inner", "changed new/deep/g content", "deleted new/inner"],
    ),
    "redirect over a directory": (
        ["d/inner/", "d/inner:redirect=/d"],
        ["deleted d/inner", "moved d/inner < d"],
    ),
    "redirect to itself": (["d:redirect=/d", "d/f!"], ["deleted d/f"]),
    "redirect to nothing": (["new/", "new:redirect=/gone"], ["added new"]),
    "redirect to nothing over a directory": (["d:redirect=/gone"], ["opaque d", "deleted d/f", "deleted d/inner"]),
    "redirect to a file": (["new/", "new:redirect=/a"], ["added new"]),
    "redirect out of the image": (["new/", "new:redirect=/d/../../upper"], ["added new"]),
    "opaque wins over redirect": (["new/", "new:redirect=/d", "new:opaque=y"], ["added new"]),
    "a directory over a file": (["a/", "a/b"], ["replaced a", "added a/b"]),
    "a file over a directory": (["d/inner"], ["replaced d/inner"]),
    "metacopy": (["a=", "a:metacopy="], ["equal a"]),
    "metacopy of another file": (["a=", "a:metacopy=", "a:redirect=/d/f"], ["changed a content"]),
    "metacopy of nothing": (["new=", "new:metacopy=", "new:redirect=/a"], ["added new"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_marks(name: str, layers: Layers) -> None:
    words, expected = CASES[name]
    make(layers, *words)
    assert found(layers) == expected


def test_metacopy_reads_the_image(layers: Layers) -> None:
    """As the kernel makes one: of the same size, without data."""
    make(layers, "a=", "a:metacopy=")
    path = os.fsdecode(layers.upper) + "/a"
    os.truncate(path, 1)
    os.chmod(path, 0o600)
    assert found(layers) == ["metadata a mode times"]


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


METADATA: "dict[str, tuple[Callable[[str], None], str]]" = {
    "mode": (lambda path: os.chmod(path, 0o4755), "metadata a mode"),
    "owner": (lambda path: os.chown(path, 12, -1), "metadata a owner"),
    "group": (lambda path: os.chown(path, -1, 12), "metadata a owner"),
    "times": (lambda path: os.utime(path, ns=(5, 5)), "metadata a times"),
    "access time": (lambda path: os.utime(path, ns=(5, 10**18)), "equal a"),
    "attribute": (lambda path: os.setxattr(path, "trusted.x", b""), "metadata a xattrs"),
    "overlayfs's attribute": (lambda path: os.setxattr(path, "trusted.overlay.origin", b""), "equal a"),
    "overlayfs's attribute of an inner one": (
        lambda path: os.setxattr(path, "trusted.overlay.overlay.origin", b""),
        "metadata a xattrs",
    ),
    "content of the same size": (lambda path: write(path, "b"), "changed a content"),
}


@pytest.mark.parametrize("name", METADATA)
def test_what_differs(name: str, layers: Layers) -> None:
    change, expected = METADATA[name]
    make(layers, "a")
    try:
        change(os.fsdecode(layers.upper) + "/a")
    except OSError as error:
        pytest.skip(f"{name} can't be changed here: {error.strerror}")
    assert found(layers) == [expected]


def test_the_top_itself(layers: Layers) -> None:
    assert list(walk(layers)) == []
    os.chmod(layers.upper, 0o700)
    (change,) = walk(layers)
    assert (change.path, change.kind, change.what) == (b"", "metadata", ("mode",))


def test_order_and_names_that_are_not_text(layers: Layers) -> None:
    names = [b"\xff", b"b.c", b"b", b"b c", b"\n", "ä".encode()]
    for name in names:
        os.mkdir(layers.upper + b"/" + name)
        Path(os.fsdecode(layers.upper + b"/" + name + b"/x")).touch()
    expected = [path for name in sorted(names) for path in (name, name + b"/x")]
    assert [change.path for change in walk(layers) if change.path] == expected


STARTS = {
    "d": ["opaque d", "deleted d/f", "deleted d/inner"],
    "/d/": ["opaque d", "deleted d/f", "deleted d/inner"],
    "d/f": ["deleted d/f"],
    "d/inner/g": ["deleted d/inner"],
    "a": [],
    "moved": ["moved moved < d", "deleted moved/f"],
    "moved/f": ["moved moved < d", "deleted moved/f"],
    "moved/inner": ["moved moved < d"],
    "new": ["added new"],
}


@pytest.mark.parametrize("start", STARTS)
def test_start(start: str, layers: Layers) -> None:
    make(layers, "d:opaque=y", "moved/", "moved:redirect=/d", "moved/f!", "new")
    assert found(layers, start) == STARTS[start]


def test_start_in_what_only_the_image_has(layers: Layers) -> None:
    (Path(os.fsdecode(layers.upper)) / "d").rmdir()
    make(layers, "new")
    assert found(layers, "d") == found(layers, "d/inner/g") == []


@pytest.mark.parametrize("start", ["gone", "d/gone", "a/gone", "gone/gone", "d/inner/gone"])
def test_start_that_is_nowhere(start: str, layers: Layers) -> None:
    with pytest.raises(NotFound):
        found(layers, start)


def test_moved_without_following(layers: Layers) -> None:
    make(layers, "new/", "new:redirect=/d", "new/f!", "d/inner!")
    assert found(layers, follow=False) == ["deleted d/inner", "added new", "added new/inner", "added new/inner/g"]


def test_lost_content_is_told(layers: Layers) -> None:
    make(layers, "a=", "a:metacopy=", "a:redirect=/gone")
    told: list[tuple[bytes, str]] = []
    make(layers, "z")
    changes = list(walk(layers, report=lambda path, error: told.append((path, str(error.strerror)))))
    assert [spell(change) for change in changes if change.path] == ["added z"]
    assert [(path, "no longer" in text) for path, text in told] == [(b"a", True)]
    with pytest.raises(OSError, match="no longer"):
        found(layers)


def test_deep(layers: Layers) -> None:
    """Directories nested deeper than Python can recurse."""
    fd = os.open(layers.upper, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d1", dir_fd=fd)
        inner = os.open("d1", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    try:
        changes = [change for change in walk(layers, report=lambda *_: None) if change.path]
    finally:
        # For pytest's own cleaning up it is too deep.
        subprocess.run(["rm", "-rf", layers.upper], check=True)
    # As deep as a path can be.
    assert len(changes) > 1200
    assert {change.kind for change in changes} == {"added"}
