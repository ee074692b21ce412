# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Descriptions of an image's files: the same for the same thing, and another for whatever a user can change."""

import os
import posix
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hold import hold
from overlay_prepare import manifest, stamp
from powercut import cut_off
from tree import copy, fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and device nodes need root")
IDENTITY = "IMAGE_VERSION=1\nsquashfs=0:aa\n"


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    (tmp_path / "backing").mkdir()
    stamp.write(hold(tmp_path / "backing"), IDENTITY)
    return tmp_path / "backing"


def write(image: Path, backing: Path, identity: str = IDENTITY) -> None:
    """As prepare's background process does, whose working directory is the image's."""
    before = Path.cwd()
    os.chdir(image)
    try:
        manifest.write(hold(backing), identity)
    finally:
        os.chdir(before)


@pytest.mark.parametrize("entry", ["file", "empty=", "link>to/somewhere", "link>/a\tb\nc", "directory/"])
def test_a_copy_is_the_same(entry: str, tmp_path: Path) -> None:
    fill(tmp_path, entry)
    path = next(tmp_path.iterdir())
    text = manifest.describe(str(path))
    assert manifest.describe(str(copy(path, path.with_name("copy")))) == text
    assert manifest.describe(str(path), text) == text
    assert "\n" not in text
    assert "\t" not in text


def _replace(path: Path, make: "Callable[[], object]") -> None:
    path.unlink()
    make()


CHANGES: "dict[str, Callable[[Path], object]]" = {
    "content": lambda path: path.write_text("FILE"),
    "length": lambda path: path.write_text("file and more"),
    "nothing": lambda path: path.write_text(""),
    "mode": lambda path: path.chmod(0o640),
    "set-user-ID": lambda path: path.chmod(0o4644),
    "owner": lambda path: os.chown(path, 5, 0),
    "group": lambda path: os.chown(path, 0, 5),
    "attribute": lambda path: os.setxattr(path, "user.note", b"x"),
    "capability": lambda path: os.setxattr(path, "security.capability", b"\x01\x00\x00\x02\x00\x04" + bytes(14)),
    "link": lambda path: _replace(path, lambda: path.symlink_to("file2")),
    "directory": lambda path: _replace(path, path.mkdir),
    "whiteout": lambda path: _replace(path, lambda: os.mknod(path, stat.S_IFCHR, 0)),
    "fifo": lambda path: _replace(path, lambda: os.mkfifo(path)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_change_is_seen(change: str, tmp_path: Path) -> None:
    path = fill(tmp_path, "file") / "file"
    before = manifest.describe(str(path))
    CHANGES[change](path)
    assert manifest.describe(str(path)) != before
    assert manifest.describe(str(path), before) != before


def test_times_count_for_empty_files_alone(tmp_path: Path) -> None:
    fill(tmp_path, "file", "empty=")
    texts = [manifest.describe(str(tmp_path / name)) for name in ("file", "empty")]
    for name in ("file", "empty"):
        os.utime(tmp_path / name, ns=(5, 6))
    assert manifest.describe(str(tmp_path / "file")) == texts[0]
    assert manifest.describe(str(tmp_path / "empty")) != texts[1]


def test_two_attributes_are_not_one(tmp_path: Path) -> None:
    """Names and values are told apart, whatever they are."""
    fill(tmp_path, "one", "two=one")
    os.setxattr(tmp_path / "one", "user.a", b"1=user.b")
    os.setxattr(tmp_path / "two", "user.a", b"1")
    os.setxattr(tmp_path / "two", "user.b", b"")
    assert manifest.describe(str(tmp_path / "one")) != manifest.describe(str(tmp_path / "two"))


def test_a_link_has_attributes_of_its_own(tmp_path: Path) -> None:
    fill(tmp_path, "file", "link>file", "dangling>nowhere")
    os.setxattr(tmp_path / "file", "trusted.note", b"of the file")
    for name in ("link", "dangling"):
        before = manifest.describe(str(tmp_path / name))
        os.setxattr(tmp_path / name, "trusted.note", b"1", follow_symlinks=False)
        one = manifest.describe(str(tmp_path / name))
        os.setxattr(tmp_path / name, "trusted.note", b"2", follow_symlinks=False)
        assert len({before, one, manifest.describe(str(tmp_path / name))}) == 3


def test_the_marks_of_overlayfs_do_not_count(tmp_path: Path) -> None:
    path = fill(tmp_path, "file") / "file"
    before = manifest.describe(str(path))
    os.setxattr(path, "trusted.overlay.origin", b"x")
    assert manifest.describe(str(path)) == before


def test_a_file_that_differs_already_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fill(tmp_path, "file=of another length") / "file"
    monkeypatch.setattr(manifest, "_digest", lambda _path: pytest.fail("read"))
    manifest.describe(str(path), "f 644 0 0 - 4 abc")


ODD = ("tab\there", "a\nb", "a\\nb", "a\\", " blank ", "é", os.fsdecode(b"\xff\xfe"))


def test_what_is_written_is_read(tmp_path: Path, backing: Path) -> None:
    image = fill(tmp_path / "image", "file", "lib/app/conf", "lib/link>/etc", "tab")
    for name in ODD:
        fill(image / "odd", name)
        fill(image / f"dir {name}", "x")
    write(image, backing)
    found = manifest.read(hold(backing))
    assert found is not None
    assert set(found) == {path.relative_to(image).as_posix() for path in image.rglob("*")}
    for path, text in found.items():
        assert manifest.describe(str(image / path), text) == text


def test_nothing_but_the_image_s_own_file_system_is_described(tmp_path: Path, backing: Path) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    image = fill(tmp_path / "image", "file", "out>/proc")
    write(image, backing)
    assert set(manifest.read(hold(backing)) or {}) == {"file", "out"}


def test_another_file_system_of_the_image_s_is_not_described(tmp_path: Path, backing: Path) -> None:
    image = fill(tmp_path / "image", "file", "at/", "dir/file")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", image / "at"], check=True)
    try:
        fill(image, "at/inner")
        write(image, backing)
    finally:
        subprocess.run(["umount", image / "at"], check=True)
    assert set(manifest.read(hold(backing)) or {}) == {"file", "at", "dir", "dir/file"}


def test_nothing_stays_open(tmp_path: Path, backing: Path) -> None:
    before = os.listdir("/proc/self/fd")
    write(fill(tmp_path / "image", "a", "b/c"), backing)
    assert manifest.is_current(hold(backing), IDENTITY)
    assert manifest.read(hold(backing))
    assert os.listdir("/proc/self/fd") == before


def test_what_is_no_list_is_put_aside_and_reported(backing: Path) -> None:
    (backing / "contents").touch()
    os.truncate(backing / "contents", 1 << 40)
    told: list[str] = []
    assert manifest.is_current(hold(backing, told), IDENTITY) is False
    reason = f"has {1 << 40} bytes, and at most {64 << 20} are allowed"
    assert told == [f"{backing}/contents {reason}: put aside as contents.refused"]


@pytest.mark.parametrize("identity", ["IMAGE_VERSION=2\n", "", IDENTITY + "more\n", IDENTITY[:-1]])
def test_another_image_s_are_none(identity: str, tmp_path: Path, backing: Path) -> None:
    write(fill(tmp_path / "image", "file"), backing, identity)
    assert manifest.read(hold(backing)) is None
    assert not manifest.is_current(hold(backing), IDENTITY)
    assert manifest.is_current(hold(backing), identity)


def test_while_the_upper_layer_is_changing_they_are_those_of_the_image_before(tmp_path: Path, backing: Path) -> None:
    write(fill(tmp_path / "image", "file"), backing)
    stamp.mark_changing(hold(backing))
    assert set(manifest.read(hold(backing)) or {}) == {"file"}


def test_without_any_there_are_none(backing: Path) -> None:
    assert manifest.read(hold(backing)) is None
    assert not manifest.is_current(hold(backing), IDENTITY)
    (backing / manifest.NAME).touch()
    assert manifest.read(hold(backing)) is None
    assert not manifest.is_current(hold(backing), IDENTITY)


def test_cut_off_at_any_call_they_are_the_old_ones_or_the_new(tmp_path: Path, backing: Path) -> None:
    image = fill(tmp_path / "image", "a", "b", "c/d")
    after = 0
    while True:
        write(fill(tmp_path / "old", "a"), backing, "old\n")
        if cut_off(lambda: write(image, backing), after):
            break
        assert manifest.is_current(hold(backing), "old\n") or manifest.is_current(hold(backing), IDENTITY)
        after += 1
    assert after >= 5
    assert set(manifest.read(hold(backing)) or {}) == {"a", "b", "c", "c/d"}


def test_a_list_has_its_name_when_all_of_it_is_on_the_disk(
    tmp_path: Path, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of one, as a power cut may leave it, has the image's name in its first line and would pass for whole."""
    image = fill(tmp_path / "image", "a", "b")
    done: list[object] = []

    def note(name: str) -> None:
        call = getattr(posix, name)

        def one(*arguments: Any, **options: Any) -> object:
            done.append((name, os.fstat(arguments[0]).st_ino) if name in ("write", "fsync") else name)
            return call(*arguments, **options)

        monkeypatch.setattr(posix, name, one)

    for name in ("write", "fsync", "rename"):
        note(name)
    write(image, backing)
    inode = (backing / "contents").stat().st_ino
    assert done == [*[("write", inode)] * 3, ("fsync", inode), "rename"]


def test_how_many_files_a_list_has() -> None:
    lines = b"".join(b"\n%d\tx" % number for number in range(1 << 19))
    found = manifest.parse(b"# image" + lines, "image")
    assert found is not None
    assert len(found) == 1 << 19
    assert manifest.parse(b"# image" + lines + b"\nmore\tx", "image") is None


def test_a_list_too_long_to_be_read_is_not_written(
    tmp_path: Path, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = fill(tmp_path / "image", "a", "dir/b")
    write(image, backing)
    size = (backing / "contents").stat().st_size
    monkeypatch.setattr(manifest, "MOST", size)
    write(image, backing)
    assert len(manifest.read(hold(backing)) or {}) == 3
    monkeypatch.setattr(manifest, "MOST", size - 1)
    with pytest.raises(OSError, match=f"too large: '{backing}/contents'"):
        write(image, backing)
    assert sorted(os.listdir(backing)) == ["contents", "image"]


def test_a_list_that_could_not_be_read_again_is_not_written(
    tmp_path: Path, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is bounded by its lines: short ones take many times their size in memory."""
    fill(tmp_path / "image", "a", "b", "c")
    monkeypatch.setattr(manifest, "_MOST_LINES", 3)
    write(tmp_path / "image", backing)
    found = manifest.read(hold(backing))
    assert found is not None
    assert set(found) == {"a", "b", "c"}
    monkeypatch.setattr(manifest, "_MOST_LINES", 2)
    assert manifest.read(hold(backing)) is None
    (backing / "contents").unlink()
    with pytest.raises(OSError, match="too large"):
        write(tmp_path / "image", backing)
    assert not (backing / "contents").exists()
