"""A reset: the upper layer is put aside at once, deleted later, and a power cut in between leaves nothing half done."""

import os
import posix
from pathlib import Path

import pytest

from overlay_generator import stamp
from overlay_generator.reset import empty_trash, reset

IMAGE = "IMAGE_VERSION=1\n"


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    for name in ("upper/lib", "work/work", "lower"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "upper/lib/file").write_text("the user's")
    stamp.write(str(tmp_path), IMAGE)
    return tmp_path


def test_upper_and_work_are_put_aside_together(backing: Path) -> None:
    assert reset(str(backing))
    assert not (backing / "upper").exists()
    assert not (backing / "work").exists()
    assert (backing / "trash/0/upper/lib/file").read_text() == "the user's"
    assert (backing / "trash/0/work/work").is_dir()
    assert not stamp.is_current(str(backing), IMAGE)


def test_each_reset_has_a_place_of_its_own(backing: Path) -> None:
    reset(str(backing))
    (backing / "upper").mkdir()
    assert reset(str(backing))
    assert sorted(os.listdir(backing / "trash")) == ["0", "1"]
    assert not reset(str(backing)), "there was nothing left"


def test_the_trash_is_emptied_and_nothing_else(backing: Path) -> None:
    reset(str(backing))
    (backing / "trash/0/upper/out").symlink_to(backing / "lower")
    (backing / "upper").mkdir()
    (backing / "lower/file").touch()
    empty_trash(str(backing))
    assert sorted(os.listdir(backing)) == ["image", "lower", "upper"]
    assert (backing / "lower/file").exists()


@pytest.mark.parametrize("after", range(6))
def test_cut_off_at_any_call_it_leaves_an_old_layer_or_none(
    after: int, backing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def cut(call: object) -> object:
        assert callable(call)

        def counted(*arguments: object) -> object:
            nonlocal calls
            calls += 1
            if calls > after:
                raise KeyboardInterrupt
            return call(*arguments)

        return counted

    with monkeypatch.context() as patch:
        for name in ("mkdir", "rename", "fsync"):
            patch.setattr(f"posix.{name}", cut(getattr(posix, name)))
        with pytest.raises(KeyboardInterrupt):
            reset(str(backing))
    upper = backing / "upper"
    assert not upper.exists() or (upper / "lib/file").read_text() == "the user's"
    # A layer that is gone is never taken for one that fits the image.
    assert upper.exists() or not stamp.is_current(str(backing), IMAGE)
