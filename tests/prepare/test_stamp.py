# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The note of the image that an upper layer belongs to: it survives being written."""

import os
import posix
from collections.abc import Callable
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import stamp
from powercut import cut_off


def test_the_stamp_is_current_only_for_its_image(tmp_path: Path) -> None:
    backing = hold(tmp_path)
    assert not stamp.is_current(backing, "one\n")
    stamp.write(backing, "one\n")
    assert stamp.is_current(backing, "one\n")
    assert not stamp.is_current(backing, "two\n")
    stamp.mark_changing(backing)
    assert not stamp.is_current(backing, "one\n")
    assert os.listdir(tmp_path) == ["image"]


def test_a_stamp_that_is_cut_off_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    def prepare() -> "Callable[[], object]":
        (tmp_path / stamp.NAME).write_text("old\n")
        return lambda: stamp.write(hold(tmp_path), "new\n")

    after, found = 0, []
    while not cut_off(prepare(), after):
        found.append((tmp_path / stamp.NAME).read_text())
        after += 1
    assert set(found) == {"old\n", "new\n"}


def refuse_new_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a full disk does; what is there may still be overwritten."""
    open_ = posix.open

    def refuse(path: str, flags: int, *more: int, **options: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(28, "No space left on device")
        return open_(path, flags, *more, **options)

    monkeypatch.setattr(posix, "open", refuse)


def test_on_a_full_disk_the_notes_are_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp.write(hold(tmp_path), "one\n")
    stamp.write_uuids(hold(tmp_path), ["aa"])
    refuse_new_files(monkeypatch)
    stamp.write(hold(tmp_path), "two\n")
    stamp.write_uuids(hold(tmp_path), ["aa", "bb"])
    assert stamp.read_previous(hold(tmp_path)) == "two\n"
    assert stamp.read_uuids(hold(tmp_path)) == ["aa", "bb"]


def test_a_note_is_on_the_disk_where_it_has_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backing = hold(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr(posix, "fsync", synced.append)
    stamp.write(backing, "one\n")
    stamp.write_uuids(backing, ["aa"])
    assert len(synced) == 4, "each file and its name"
    assert synced[1] == synced[3] == backing.fd
    synced.clear()
    stamp.write_uuids(backing, ["aa"], durable=False)
    assert synced == []


def test_on_a_full_disk_a_stamp_cut_off_in_mid_write_is_no_image_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written in place: the old one, the new one, or torn; never that of another image."""
    refuse_new_files(monkeypatch)
    old, new = "IMAGE_VERSION=1\nsquashfs=0:aa\n", "IMAGE_VERSION=22\nsquashfs=0:bb\n"

    def prepare() -> "Callable[[], object]":
        (tmp_path / stamp.NAME).write_text(old)
        return lambda: stamp.write(hold(tmp_path), new)

    after = 0
    while not cut_off(prepare(), after):
        text = (tmp_path / stamp.NAME).read_text()
        assert text in (old, new) or not stamp.is_current(hold(tmp_path), old)
        assert text == new or not stamp.is_current(hold(tmp_path), new)
        after += 1
    assert after >= 4
    assert stamp.is_current(hold(tmp_path), new)


def test_who_it_was_is_known_while_it_changes(tmp_path: Path) -> None:
    backing = hold(tmp_path)
    assert stamp.read_previous(backing) == ""
    stamp.write(backing, "one\n")
    for _ in range(3):
        stamp.mark_changing(backing)
        assert stamp.read_previous(backing) == "one\n"
        assert not stamp.is_current(backing, "one\n")


def test_the_uuids_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert stamp.read_uuids(hold(tmp_path)) is None
    for uuids in (["aa", "bb"], [], ["00"]):
        stamp.write_uuids(hold(tmp_path), uuids)
        assert stamp.read_uuids(hold(tmp_path)) == uuids
    (tmp_path / "uuids").write_bytes(b"\xff\xfe torn")
    assert stamp.read_uuids(hold(tmp_path)) != ["torn"]


def test_on_a_full_disk_no_uuids_are_better_than_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp.write_uuids(hold(tmp_path), ["aa"])

    def refuse(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(posix, "write", refuse)
    stamp.write_uuids(hold(tmp_path), ["aa", "bb"])
    assert stamp.read_uuids(hold(tmp_path)) is None
    stamp.write(hold(tmp_path), "one\n")


@pytest.mark.parametrize("number", [28, 122, 5, 30])
def test_whatever_fails_no_old_uuids_stay(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp.write_uuids(hold(tmp_path), ["aa"])
    synced: list[int] = []

    def refuse(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(posix, "write", refuse)
        patched.setattr(posix, "fsync", synced.append)
        stamp.write_uuids(hold(tmp_path), ["aa", "bb"])
    assert not (tmp_path / "uuids").exists()
    assert synced, "nor after a power cut"


def test_only_a_full_disk_is_no_fault_for_the_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(posix, "write", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        stamp.write(hold(tmp_path), "one\n")


def test_uuids_that_can_not_be_read_are_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp.write_uuids(hold(tmp_path), ["aa"])
    stamp.write(hold(tmp_path), "one\n")

    def refuse(*_arguments: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(posix, "read", refuse)
    assert stamp.read_uuids(hold(tmp_path)) is None
    assert not stamp.is_current(hold(tmp_path), "one\n")
    with pytest.raises(OSError, match="Input/output error"):
        stamp.read_previous(hold(tmp_path))


def test_notes_are_of_their_owner_alone_and_of_a_limited_size(tmp_path: Path) -> None:
    stamp.write(hold(tmp_path), "one\n")
    stamp.write_uuids(hold(tmp_path), ["aa"])
    for name in ("image", "uuids"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
        (tmp_path / name).write_text("x" * 65536)
    assert len(stamp.read_previous(hold(tmp_path))) == 65536
    assert stamp.read_uuids(hold(tmp_path)) == ["x" * 65536]
    for name in ("image", "uuids"):
        (tmp_path / name).write_text("x" * 65537)
    assert stamp.read_previous(hold(tmp_path)) == ""
    assert stamp.read_uuids(hold(tmp_path)) is None


def test_who_it_was_may_be_told(tmp_path: Path) -> None:
    stamp.write(hold(tmp_path), "one\n")
    stamp.mark_changing(hold(tmp_path), "two\n")
    assert stamp.read_previous(hold(tmp_path)) == "two\n"
    assert (tmp_path / "image").read_text() == "changing\ntwo\n"
