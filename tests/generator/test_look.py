# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A refusal is not mistaken for a missing file: every call, answered by every error."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from overlay_generator import look as module
from overlay_generator.look import Look, read_units
from tree import fill

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


@pytest.mark.parametrize(("number", "place"), [
    (errno.ENOENT, None), (errno.ENOTDIR, None), (errno.EACCES, (0, 0)), (errno.EIO, (0, 0)), (errno.ELOOP, (0, 0)),
])  # fmt: skip
def test_a_place_that_may_not_be_looked_at_may_be_there(
    number: int, place: "tuple[int, int] | None", monkeypatch: pytest.MonkeyPatch
) -> None:
    look = a_look(number, monkeypatch)
    assert look.identify("/a") == place
    assert look.refused == [], "whoever looks for something in it tells"


def test_units_are_looked_for_where_they_may_be_and_once(tmp_path: Path) -> None:
    fill(tmp_path, "etc/systemd/system/x.service=[Unit]", "usr/lib/systemd/system/y.service=[Unit]", "lib>usr/lib")
    asked: list[str] = []

    def place(root: str, path: str, follow: bool) -> str:
        if not follow:
            asked.append(path)
        return root + path

    found = read_units(Look(str(tmp_path), lambda _root, _path: b"", place), ["x.service", "y.service", "z.service"])
    assert {name: (unit.kind, unit.path) for name, unit in found.items()} == {
        "x.service": ("provided", "/etc/systemd/system/x.service"),
        "y.service": ("vendor", "/usr/lib/systemd/system/y.service"),
    }
    assert asked == [
        "/etc/systemd/system/x.service",
        *(f"{top}/{name}.service" for name in "yz" for top in ("/etc/systemd/system", "/usr/lib/systemd/system")),
    ]


def test_a_directory_of_units_that_may_not_be_looked_at_is_no_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Search may be allowed where looking at the directory is not, as with SELinux."""
    fill(tmp_path, "etc/systemd/system.control/x.service=[Unit]")
    stat = os.stat

    def refuse(path: str) -> os.stat_result:
        if path.endswith("system.control"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return stat(path)

    monkeypatch.setattr("posix.stat", refuse)
    look = Look(str(tmp_path), lambda _root, _path: b"", lambda root, path, _follow: root + path)
    assert read_units(look, ["x.service"])["x.service"].path == "/etc/systemd/system.control/x.service"
