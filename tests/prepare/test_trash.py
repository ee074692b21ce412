# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What resets have put aside is deleted, also beside something that nobody can delete."""

import errno
import os
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import reset
from tree import fill

TRASH = ("trash/0/0/user/z", "trash/0/1/secret", "trash/0/2=file", "trash/1/0/secret", "trash/file=of nobody")


def left(top: Path) -> "set[str]":
    return {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir()}


def test_all_of_it_goes(tmp_path: Path) -> None:
    fill(tmp_path, *TRASH)
    reset.empty_trash(hold(tmp_path))
    assert os.listdir(tmp_path) == []
    reset.empty_trash(hold(tmp_path))
    fill(tmp_path, "trash=file")
    reset.empty_trash(hold(tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EPERM])
@pytest.mark.parametrize("name", ["z", "file"])
def test_what_can_not_go_keeps_itself_alone(
    name: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, *TRASH)
    unlink = os.unlink

    def refuse(path: str, *, dir_fd: "int | None" = None) -> None:
        if path == name:
            raise OSError(number, os.strerror(number), path)
        unlink(path, dir_fd=dir_fd)

    with monkeypatch.context() as patched:
        patched.setattr("posix.unlink", refuse)
        with pytest.raises(OSError, match=os.strerror(number)):
            reset.empty_trash(hold(tmp_path))
    assert left(tmp_path) == {"trash/0/0/user/z" if name == "z" else "trash/file"}
    reset.empty_trash(hold(tmp_path))
    assert os.listdir(tmp_path) == []
