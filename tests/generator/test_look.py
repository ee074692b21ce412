# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A refusal is not mistaken for a missing file: every call, answered by every error."""

import errno
import os
from collections.abc import Callable

import pytest

from overlay_generator import look as module
from overlay_generator.look import Look

MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EIO)


class Kernel:
    """Answers everything with one error."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getattr__(self, name: str) -> "Callable[..., object]":
        def fail(*_: object) -> object:
            raise OSError(self.number, os.strerror(self.number))

        return fail


def a_look(number: int, monkeypatch: pytest.MonkeyPatch) -> Look:
    kernel = Kernel(number)
    monkeypatch.setattr(module, "posix", kernel)
    return Look("/image", kernel.read_file, lambda root, path, _follow: root + path)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", MISSING)
def test_what_is_missing_is_said_to_nobody(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    look = a_look(number, monkeypatch)
    assert look.read("/a", "doubt") == b""
    assert look.list("/a", "doubt") == []
    assert look.stat("/a", "doubt") is None
    assert look.read_link("/a", "doubt") == ""
    assert not look.exists("/a", True)
    assert look.refused == []


@pytest.mark.parametrize("number", REFUSED)
def test_what_is_refused_is_unknown_and_told(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    look = a_look(number, monkeypatch)
    assert look.read("/a", "doubt") is None
    assert look.stat("/b", "doubt") is None
    assert look.stat("/b", "doubt") is None
    assert look.read_link("/c", "doubt") == ""
    assert look.exists("/d", True)
    assert not look.exists("/e", False)
    why = os.strerror(number)
    assert look.refused == [
        f"/a can't be read ({why}); doubt",
        f"/b can't be looked at ({why}); doubt",
        f"/c can't be read ({why}); doubt",
        f"/d can't be looked at ({why}); it is assumed to exist",
        f"/e can't be looked at ({why}); it is assumed to be missing",
    ]
