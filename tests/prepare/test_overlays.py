# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The persistent overlays of a boot, one after the other."""

from pathlib import Path

import pytest

from overlay_prepare import overlays
from overlay_prepare.folder import Folder
from overlay_prepare.overlays import do_for_each
from tree import fill


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(tmp_path / "state", "var.json", "srv.json", "home.json", "var.failed", "other.txt")
    fill(tmp_path / "mounts", "var/", "srv/", "other/", "other.txt/")
    monkeypatch.setattr(overlays, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr(overlays, "BACKING_ROOT", str(tmp_path / "mounts"))
    return tmp_path


def test_each_that_has_a_disk_has_its_turn(machine: Path) -> None:
    """home has its backing in memory, at another place."""
    seen: list[str] = []
    failed: list[str] = []
    assert do_for_each(lambda backing: seen.append(backing.path), lambda path, _error: failed.append(path)) == 0
    assert sorted(seen) == [f"{machine}/mounts/srv", f"{machine}/mounts/var"]
    assert failed == []


def test_one_that_fails_hinders_no_other(machine: Path) -> None:
    seen: list[str] = []
    failed: list[tuple[str, str]] = []

    def act(backing: Folder) -> None:
        seen.append(backing.path)
        raise PermissionError(13, "Permission denied")

    assert do_for_each(act, lambda path, error: failed.append((path, str(error.strerror)))) == 1
    assert len(seen) == 2
    assert sorted(failed) == [(f"{machine}/mounts/{name}", "Permission denied") for name in ("srv", "var")]


def test_a_backing_directory_that_is_none_is_told(machine: Path) -> None:
    (machine / "mounts/var").rmdir()
    (machine / "mounts/var").symlink_to(machine / "mounts/srv")
    seen: list[str] = []
    failed: list[str] = []
    assert do_for_each(lambda backing: seen.append(backing.path), lambda path, _error: failed.append(path)) == 1
    assert (seen, failed) == ([f"{machine}/mounts/srv"], [f"{machine}/mounts/var"])
