# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The list of an image's names: written whole or not at all, and read back for the directories asked for."""

import os
import posix
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import imagenames
from powercut import cut_off
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="device nodes need root")
ODD = ("a\nb", "a\\nb", "a\\", "tab\there", " blank ", "é", os.fsdecode(b"\xff\xfe"))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return fill(tmp_path / "var", "file", "lib/", "lib/app/conf", "lib/link>app", "lib/out>/etc", "empty/")


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    (tmp_path / "backing").mkdir()
    return tmp_path / "backing"


def read(backing: Path, *directories: str) -> "dict[str, set[str]]":
    found: dict[str, set[str]] = {path: set() for path in directories}
    assert imagenames.read(hold(backing), found)
    return found


def test_the_names_of_a_directory_come_back(image: Path, backing: Path) -> None:
    assert imagenames.write(str(image), hold(backing))
    found = read(backing, "", "lib", "lib/app", "empty", "nowhere")
    assert found[""] == {"file", "lib/", "empty/"}
    assert found["lib"] == {"app/", "link", "out"}, "links are not followed"
    assert found["lib/app"] == {"conf"}
    assert (found["empty"], found["nowhere"]) == (set(), set())


def test_the_list_is_read_from_a_directory_on_or_whole(image: Path, backing: Path) -> None:
    assert imagenames.read_below(hold(backing), {""}) is None
    assert imagenames.read_all(hold(backing)) is None
    assert imagenames.read_directories(hold(backing)) == set()
    fill(image, "library/file")
    assert imagenames.write(str(image), hold(backing))
    lib = {"lib": {"app/", "link", "out"}, "lib/app": {"conf"}}
    others = {"": {"file", "lib/", "empty/", "library/"}, "library": {"file"}}
    assert imagenames.read_below(hold(backing), {"lib"}) == lib
    assert imagenames.read_below(hold(backing), {"lib/app", "empty", "none"}) == {"lib/app": {"conf"}}
    assert imagenames.read_below(hold(backing), {""}) == lib | others
    assert imagenames.read_below(hold(backing), set()) == {}
    assert imagenames.read_directories(hold(backing)) == {"", "lib", "lib/app", "library"}
    names = ["empty/", "file", "lib/", "lib/app/", "lib/app/conf", "lib/link", "lib/out", "library/", "library/file"]
    assert sorted(imagenames.read_all(hold(backing)) or []) == names


def test_any_name_comes_back(image: Path, backing: Path) -> None:
    for name in ODD:
        fill(image / "odd", name.replace("=", ""))
        fill(image / "dirs" / name, "x")
    assert imagenames.write(str(image), hold(backing))
    found = read(backing, "odd", "dirs", *(f"dirs/{name}" for name in ODD))
    assert found["odd"] == set(ODD)
    assert found["dirs"] == {f"{name}/" for name in ODD}
    assert all(found[f"dirs/{name}"] == {"x"} for name in ODD)


@pytest.mark.parametrize("line", [b"..", b"../x", b"lib/../x", b"/etc/x", b".", b"", b"lib//x", b"a\0b", b"lib/x//"])
def test_a_list_with_what_is_no_name_is_nobodys(line: bytes, image: Path, backing: Path) -> None:
    """Whiteouts are made under the names that it has, and the disk may be anybody's."""
    assert imagenames.write(str(image), hold(backing))
    with (backing / "names").open("ab") as stream:
        stream.write(line + b"\n")
    assert not imagenames.read(hold(backing), {"": set()})
    assert imagenames.read_below(hold(backing), {""}) is None


def test_a_list_is_bounded_by_its_lines_too(image: Path, backing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short ones take forty times their size in memory."""
    monkeypatch.setattr(imagenames, "MOST_NAMES", 7)
    assert imagenames.write(str(image), hold(backing))
    assert imagenames.read(hold(backing), {"": set()})
    with (backing / "names").open("a") as stream:
        stream.write("x\n")
    assert not imagenames.read(hold(backing), {"": set()})
    monkeypatch.setattr(imagenames, "MOST_NAMES", 6)
    assert not imagenames.write(str(image), hold(backing))
    assert not (backing / "names").exists()


@pytest.mark.parametrize(("content", "known"), [
    (b"x\n" * (1 << 19), True), (b"x\n" * ((1 << 19) + 1), False),
    # Nothing that was written here has an unfinished line, nor one that long.
    (b"x\n" + b"y" * (16 << 10), True), (b"x\n" + b"y" * ((16 << 10) + 1), False),
])  # fmt: skip
def test_how_much_is_read_of_a_list(content: bytes, known: bool, backing: Path) -> None:
    (backing / "names").write_bytes(content)
    found: dict[str, set[str]] = {"": set()}
    assert imagenames.read(hold(backing), found) is known
    assert not known or found == {"": {"x"}}


def test_a_list_that_is_nobody_s_is_put_aside_and_reported(backing: Path) -> None:
    (backing / "names").touch()
    os.truncate(backing / "names", 1 << 40)
    told: list[str] = []
    assert imagenames.read(hold(backing, told), {"": set()}) is False
    reason = f"has {1 << 40} bytes, and at most {64 << 20} are allowed"
    assert told == [f"{backing}/names {reason}: put aside as names.refused"]


def test_a_list_that_is_too_long_to_be_read_is_not_written(
    image: Path, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert imagenames.write(str(image), hold(backing))
    size = (backing / "names").stat().st_size
    monkeypatch.setattr(imagenames, "MOST", size)
    assert imagenames.write(str(image), hold(backing))
    assert imagenames.read(hold(backing), {})
    monkeypatch.setattr(imagenames, "MOST", size - 1)
    assert not imagenames.write(str(image), hold(backing))
    assert not (backing / "names").exists()


def test_another_file_system_of_the_image_s_is_not_listed(image: Path, backing: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", image / "empty"], check=True)
    try:
        fill(image, "empty/inner")
        assert imagenames.write(str(image), hold(backing))
    finally:
        subprocess.run(["umount", image / "empty"], check=True)
    assert read(backing, "", "empty") == {"": {"file", "lib/", "empty/"}, "empty": set()}


def test_nothing_stays_open(image: Path, backing: Path) -> None:
    before = os.listdir("/proc/self/fd")
    assert imagenames.write(str(image), hold(backing))
    assert imagenames.read_all(hold(backing))
    assert os.listdir("/proc/self/fd") == before


def test_what_earlier_images_had_is_listed_too(image: Path, backing: Path) -> None:
    assert imagenames.write(str(image), hold(backing), ["lib/gone", "lib/app/", "lib/new\nline"])
    assert read(backing, "lib")["lib"] == {"app/", "link", "out", "gone", "new\nline"}


def test_without_a_list_nothing_is_known(backing: Path) -> None:
    known: dict[str, set[str]] = {"": set()}
    assert imagenames.read(hold(backing), known) is False
    assert known == {"": set()}


def test_a_list_longer_than_a_read_is_read_whole(image: Path, backing: Path) -> None:
    more = [f"lib/{number:06d}-{'x' * 40}" for number in range(12000)]
    imagenames.write(str(image), hold(backing), more)
    assert (backing / imagenames.NAME).stat().st_size > 2 << 18
    assert len(read(backing, "lib")["lib"]) == len(more) + 3


def test_on_a_full_disk_none_is_better_than_another_image_s(
    image: Path, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagenames.write(str(image), hold(backing))

    def refuse(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(posix, "write", refuse)
        assert imagenames.write(str(image), hold(backing)) is False
    assert not imagenames.read(hold(backing), {})


def test_any_other_error_is_told(image: Path, backing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(5, "Input/output error")

    assert imagenames.write(str(image), hold(backing))
    monkeypatch.setattr(posix, "write", refuse)
    with pytest.raises(OSError, match="Input/output"):
        imagenames.write(str(image), hold(backing))
    assert not (backing / "names").exists(), "it may be another image's"


def test_cut_off_at_any_call_it_is_the_old_list_or_the_new(tmp_path: Path, backing: Path) -> None:
    """With a mixture of both, what a user has deleted would count as new, and come back."""
    old, new = fill(tmp_path / "old", "z", "y", "x"), fill(tmp_path / "new", "a", "b", "c", "d")

    def prepare() -> "Callable[[], object]":
        (backing / imagenames.NAME).unlink(missing_ok=True)
        imagenames.write(str(old), hold(backing))
        return lambda: imagenames.write(str(new), hold(backing))

    after = 0
    while not cut_off(prepare(), after):
        known: dict[str, set[str]] = {"": set()}
        if imagenames.read(hold(backing), known):
            assert known[""] in ({"x", "y", "z"}, {"a", "b", "c", "d"}), f"cut off at call {after}"
        after += 1
    assert after >= 3
