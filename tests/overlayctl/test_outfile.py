# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Output files: whole, durable and closed to others, for each verb that writes one."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from handmade import Tree, run_command
from overlayctl import outfile
from overlayctl.errors import Failure
from overlayctl.outfile import whole
from overlayctl.stage import backup
from overlayctl.stage.request import Place


def write(path: Path, text: bytes = b"mine") -> None:
    with whole(str(path)) as out:
        out.write(text)


def test_a_new_file(tmp_path: Path) -> None:
    write(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"mine"
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["x"]


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    with pytest.raises(KeyboardInterrupt), whole(str(tmp_path / "x")) as out:
        out.write(b"new" * 10**6)
        assert (tmp_path / "x").read_text() == "old"
        (scratch,) = set(os.listdir(tmp_path)) - {"x"}
        assert stat.S_IMODE((tmp_path / scratch).stat().st_mode) == 0o600
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_a_link_or_a_file_of_somebody_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("his")
    (tmp_path / "x").symlink_to(victim)
    held = (tmp_path / "y").open("w+")
    for name in ("x", "y"):
        write(tmp_path / name)
        assert not (tmp_path / name).is_symlink()
    assert victim.read_text() == "his"
    assert held.read() == ""
    held.close()


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.replace

    def note_sync(fd: int) -> None:
        done.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else f"file of {os.fstat(fd).st_size}")
        fsync(fd)

    def note_rename(*arguments: str, src_dir_fd: int, dst_dir_fd: int) -> None:
        done.append("rename")
        rename(*arguments, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    write(tmp_path / "x")
    assert done == ["file of 4", "rename", "directory"]


def test_names_differ(tmp_path: Path) -> None:
    names = set()
    for _ in range(20):
        with whole(str(tmp_path / "x")):
            names |= set(os.listdir(tmp_path)) - {"x"}
    assert len(names) == 20
    assert all(len(name) > 24 for name in names)


def test_a_name_as_long_as_can_be(tmp_path: Path) -> None:
    write(tmp_path / ("x" * 255))
    assert os.listdir(tmp_path) == ["x" * 255]


WRONG = [
    ("gone/x", "No such file or directory"),
    ("file/x", "Not a directory"),
    ("/dev/full", "No space left on device"),
    ("/proc/self/x", "No such file or directory"),
    ("directory", "Is a directory"),
]


@pytest.mark.parametrize(("path", "reason"), WRONG)
def test_an_error_names_the_file(path: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with pytest.raises(Failure) as caught:
        write(tmp_path / path)
    assert str(caught.value) == f"{tmp_path / path}: {reason}"
    assert sorted(os.listdir(tmp_path)) == ["directory", "file"]


def test_a_disk_that_is_full_at_the_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "x").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Failure, match="x: No space left on device"):
        write(tmp_path / "x")
    assert (tmp_path / "x").read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes need root")


@needs_root
@pytest.mark.parametrize("verb", ["export", "deletions", "save", "backup"])
def test_each_verb_writes_so(verb: str, tmp_path: Path) -> None:
    """With every name taken in the directory that a user could have guessed."""
    tree = Tree(tmp_path)
    tree.put(tree.upper, "new", "x")
    victim, home = tmp_path / "victim", tmp_path / "home"
    victim.write_text("his")
    home.mkdir()
    target = home / "o.tar"
    for name in ("o.tar.new", ".o.tar.new", "o.tar.tmp", "o.tar~"):
        (home / name).symlink_to(victim)
    layers = ["--upper", str(tree.upper), "--lower", str(tree.lower)]
    words = {
        "export": ["export", *layers, str(target)],
        "deletions": ["export", *layers, "--deletions", str(target), "-"],
        "save": ["save", "--root", str(tree.lower), "--cmdline", "overlayfs.mounts=/var", str(target)],
    }
    if verb == "backup":
        backup.write(str(target), [Place("/var", str(tmp_path))])
    else:
        done = run_command(*words[verb], stdout=subprocess.DEVNULL)
        assert (done.returncode, done.stderr) == (0, "")
    assert victim.read_text() == "his"
    assert target.is_file()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert len(os.listdir(home)) == 5


@needs_root
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_what_this_process_has_open_is_written_to(name: str, tmp_path: Path) -> None:
    """A link to it is not replaced by a file, be it that of /dev for all of the machine."""
    tree = Tree(tmp_path)
    tree.put(tree.upper, "new", "x")
    words = ["export", "--upper", str(tree.upper), "--lower", str(tree.lower), name]
    with open(tmp_path / "out", "ab") as out:
        out.write(b"before\n")
        out.flush()
        assert run_command(*words, stdout=out).returncode == 0
    assert (tmp_path / "out").read_bytes()[:7] == b"before\n"
    assert (tmp_path / "out").stat().st_size > 1024
    assert os.path.islink(name)


@needs_root
@pytest.mark.parametrize("words", [["export", "--upper", "{upper}", "--lower", "{lower}", "/dev/full"]])
def test_a_full_medium_is_one_line(words: "list[str]", tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.put(tree.upper, "new", "x" * 10**6)
    words = [word.format(upper=tree.upper, lower=tree.lower) for word in words]
    done = run_command(*words)
    assert (done.returncode, done.stderr) == (3, "overlayctl: /dev/full: No space left on device\n")


def test_its_parts_come_out_together(tmp_path: Path) -> None:
    """Also output that is longer than the buffer."""
    with whole(str(tmp_path / "x")) as out:
        for number in range(50):
            out.write(b"%d" % (number % 10) * (outfile._BUFFER // 7))
    data = (tmp_path / "x").read_bytes()
    assert data == b"".join(b"%d" % (number % 10) * (outfile._BUFFER // 7) for number in range(50))
    assert out.size == len(data)
