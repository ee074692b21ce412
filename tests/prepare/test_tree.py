# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trees of any depth and width are walked through and removed, with few descriptors and little memory."""

import os
import subprocess
from pathlib import Path

import pytest

from counting import count_entries
from hold import hold
from overlay_prepare import policy, tree
from overlay_prepare.folder import Folder, WrongKind
from overlay_prepare.tree import Level, remove, remove_below, walk
from product import SYSTEM_PYTHON
from tree import dig, fill

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="device nodes and mounts need root"),
    pytest.mark.usefixtures("in_time"),
]


class Seen:
    """What a walk has come across, in its order."""

    def __init__(self, top: Path) -> None:
        self.entries: list[str] = []
        self.directories: list[str] = []
        self.most = 0
        with hold(top) as folder:
            walk(folder, self.look, self.leave)

    def look(self, folder: Folder, entry: "os.DirEntry[str]") -> None:
        assert os.path.lexists(folder.reach(entry.name))
        self.entries.append(entry.name)

    def leave(self, folder: Folder, way: "list[Level]") -> None:
        assert way[-1].folder is folder
        self.directories.append("/".join(level.name for level in way[1:]))
        self.most = max(self.most, len(os.listdir("/proc/self/fd")))


def test_all_is_seen_once_and_directories_before_what_is_in_them(tmp_path: Path) -> None:
    fill(tmp_path, "a/b/c", "a/d/", "e>a", "f", "g/", "h/i/j/k")
    (tmp_path / "out").symlink_to("/etc")
    found = Seen(tmp_path)
    assert sorted(found.entries) == ["c", "e", "f", "k", "out"]
    assert sorted(found.directories) == ["", "a", "a/b", "a/d", "g", "h", "h/i", "h/i/j"]
    for path in found.directories[1:]:
        assert found.directories.index(path.rpartition("/")[0]) < found.directories.index(path)


@pytest.mark.parametrize("width", [63, 64, 65, 200])
def test_many_beside_each_other(width: int, tmp_path: Path) -> None:
    fill(tmp_path, *(f"{number}/x" for number in range(width)))
    found = Seen(tmp_path)
    assert sorted(found.directories[1:]) == sorted(str(number) for number in range(width))
    assert len(found.entries) == width


@pytest.mark.parametrize(("again", "times"), [(8192, 3), (400, 8)])
def test_many_deep_directories_in_one_do_not_take_the_square_of_their_number(
    again: int, times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A level is read again after its descriptor was closed, but not for each name in it."""
    monkeypatch.setattr(tree, "_OPEN", 2)
    monkeypatch.setattr(tree, "_AGAIN", again)
    fill(tmp_path, *(f"x/{number}/a/b/" for number in range(1000)))
    count = count_entries(monkeypatch)
    assert len(Seen(tmp_path).directories) == 3002
    assert 3000 < count() < 3000 * times


@pytest.mark.parametrize("width", [3, 70])
def test_wide_and_deep_at_once(width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels whose descriptors were closed go on where they were."""
    monkeypatch.setattr(tree, "_OPEN", 4)
    for number in range(width):
        (tmp_path / f"x/{number}").mkdir(parents=True)
        dig(tmp_path / f"x/{number}", 10, "d")
        fill(tmp_path / f"x/{number}", "d/d/e/file", "d/d/d/d/f/g/file")
    before = len(os.listdir("/proc/self/fd"))
    expected = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_dir())
    found = Seen(tmp_path)
    assert sorted(found.directories[1:]) == expected
    assert found.entries == ["file"] * 2 * width
    assert found.most < before + 10
    with hold(tmp_path) as top:
        remove_below(top)
    assert os.listdir(tmp_path) == []


def test_deeper_than_any_path(tmp_path: Path) -> None:
    dig(tmp_path, 3000)
    before = len(os.listdir("/proc/self/fd"))
    found = Seen(tmp_path)
    assert len(found.directories) == 3001
    assert found.most < before + 50
    with hold(tmp_path) as top:
        assert remove(top, "d" * 100)
        assert not remove(top, "d" * 100)
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_names_that_are_needed_to_bring_deep_ones_up_may_be_taken(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        dig(tmp_path, 100, "d" * 10)
        os.rename(tmp_path / ("d" * 10), tmp_path / f".deep-{number}")
    (tmp_path / ".deep-4").write_text("a file")
    with hold(tmp_path) as top:
        remove_below(top)
    assert os.listdir(tmp_path) == []


def test_everything_is_removed_and_no_link_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("outside")
    top = fill(tmp_path / "top", "a/b/c", "d!", "e/", "f")
    (top / "link").symlink_to(tmp_path)
    (top / "a/link").symlink_to(tmp_path / "outside")
    os.mkfifo(top / "fifo")
    (top / "e").chmod(0)
    with hold(tmp_path) as folder:
        assert remove(folder, "top")
        (tmp_path / "link").symlink_to("outside")
        assert remove(folder, "link")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_another_mount_is_not_entered_and_keeps_what_it_is_on(tmp_path: Path) -> None:
    fill(tmp_path, "a/b/", "c/d")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "a/b"], check=True)
    try:
        (tmp_path / "a/b/kept").write_text("kept")
        found = Seen(tmp_path)
        assert sorted(found.directories) == ["", "a", "c"]
        assert found.entries == ["d"]
        with hold(tmp_path) as top, pytest.raises(WrongKind, match="another mount"):
            remove_below(top)
        assert (tmp_path / "a/b/kept").read_text() == "kept"
    finally:
        subprocess.run(["umount", tmp_path / "a/b"], check=True)


def test_a_directory_that_is_moved_while_it_is_walked_ends_the_walk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_OPEN", 2)
    dig(tmp_path, 8, "d")

    def leave(_folder: Folder, way: "list[Level]") -> None:
        if len(way) == 9:
            os.rename(tmp_path / "d/d/d/d/d/d", tmp_path / "elsewhere")

    with hold(tmp_path) as top, pytest.raises(WrongKind, match="moved"):
        walk(top, lambda _folder, _entry: None, leave)


_MEASURE = """
import sys
sys.path.insert(0, sys.argv[1])
from overlay_prepare.folder import open_top
from overlay_prepare.tree import remove_below, walk
count = 0
def leave(folder, way):
    global count
    count += 1
def most_memory():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
before = 0
# A small one first: what the interpreter takes for the same code, page by page, differs from run to run.
for path in sys.argv[2:]:
    before, count = most_memory(), 0
    with open_top(path, print) as top:
        walk(top, lambda folder, entry: None, leave)
        remove_below(top)
print(count, before, most_memory())
"""


@pytest.mark.parametrize(
    ("width", "depth", "length"), [(5000, 1, 240), (25, 200, 240), (1, 5000, 3)], ids=["wide", "both", "deep"]
)
def test_many_directories_need_little_memory(width: int, depth: int, length: int, prefix: Path, tmp_path: Path) -> None:
    """5000 of each shape; TIMES=20 in the environment is 100,000."""
    times = int(os.environ.get("TIMES", "1"))
    width, depth = (width, depth * times) if width == 1 else (width * times, depth)
    for number in range(width):
        name = f"{number:0{length}}"
        (tmp_path / name).mkdir()
        dig(tmp_path / name, depth - 1, "d" * length)
    small = tmp_path.parent / f"{tmp_path.name}-small"
    small.mkdir()
    dig(small, 5, "d" * length)
    command = [SYSTEM_PYTHON, "-ISB", "-c", _MEASURE, prefix / "lib/overlay-generator", small, tmp_path]
    count, base, memory = _measure(*command)
    assert count == 1 + width * depth
    # What 5000 long names or paths take is a multiple of it. Each level of a deep one is an object, 180 or 270 bytes as
    # the interpreter's arenas happen to fall (seen on 3.11, either in the same tree); its paths would take 50 MB.
    assert memory - base < (1400 if width == 1 else 1100) * times
    assert times == 1 or memory < 32 << 10
    assert os.listdir(tmp_path) == []


def _measure(*command: object) -> "list[int]":
    """The number of directories, and the most memory that was used before them and with them, in KiB."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=600)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9])
def test_entries_may_be_removed_while_they_are_listed(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_PART", 3)
    for number in range(count):
        (tmp_path / f"{number}").write_text("") if number % 2 else (tmp_path / f"{number}").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    with hold(tmp_path) as top:
        seen = []
        for entry in tree.list_by_parts(top):
            seen.append(entry.name)
            assert top.find_kind(entry.name) == ("d" if int(entry.name) % 2 == 0 else "f")
            tree.remove(top, entry.name)
            assert count > 2 or len(os.listdir("/proc/self/fd")) == before + 1, "no scan is open"
    assert sorted(seen) == [f"{number}" for number in range(count)]
    assert os.listdir(tmp_path) == []


def test_a_policy_takes_a_directory_by_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_PART", 3)
    for number in range(10):
        fill(tmp_path, f"upper/d/{number}", f"upper/e/{number}/f", f"upper/r/{number}", f"upper/mine/{number}")
        fill(tmp_path, f"image/d/{number}", f"image/e/{number}/f", "image/r")
    assert policy.apply("prune", f"{tmp_path}/image", hold(tmp_path), "x") == (30, "", False)
    left = [path for path in (tmp_path / "upper").rglob("*") if path.is_file()]
    assert sorted(left) == [tmp_path / f"upper/mine/{number}" for number in range(10)]
    lines = (tmp_path / "dropped").read_text().splitlines()[1:]
    assert len(lines) == len(set(lines)) == 30


_MANY = """
import sys
sys.path.insert(0, sys.argv[1])
from overlay_prepare import policy
from overlay_prepare.folder import open_top
def most_memory():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
before, count = 0, 0
for path in sys.argv[2:]:
    before = most_memory()
    with open_top(path, print) as backing:
        count += policy.apply("prune", path + "/image", backing, "x")[0]
print(count, before, most_memory())
"""


def test_many_files_in_one_directory_need_little_memory(prefix: Path, tmp_path: Path) -> None:
    """5000 that a policy drops; TIMES=20 in the environment is 100,000."""
    times = int(os.environ.get("TIMES", "1"))
    for name, count in (("small", 5), ("large", 5000 * times)):
        (tmp_path / name / "upper/x").mkdir(parents=True)
        (tmp_path / name / "image").mkdir()
        (tmp_path / name / "image/x").write_text("the directory's place was taken by a file")
        (tmp_path / name / "upper/y").mkdir()
        for number in range(count):
            (tmp_path / name / f"upper/x/{number:0240}").touch()
            (tmp_path / name / f"upper/y/{number:0240}").touch()
    command = [SYSTEM_PYTHON, "-ISB", "-c", _MANY, prefix / "lib/overlay-generator"]
    count, base, memory = _measure(*command, tmp_path / "small", tmp_path / "large")
    assert count == 5 + 5000 * times
    # With all entries of a directory at once it were three and a half.
    assert memory - base < 1500
    assert times == 1 or memory < 32 << 10
    assert len(os.listdir(tmp_path / "large/upper/y")) == 5000 * times
