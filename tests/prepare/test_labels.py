# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Labels and domains, with a kernel that says what SELinux says. Real ones are in the boots selinux-*."""

import errno
import os
from pathlib import Path

import pytest

from hold import hold
from overlay_generator import selinux
from overlay_generator.model import Mounted
from overlay_prepare import labels, storage
from overlay_prepare.report import Refused

VAR, UNLABELLED = b"u:object_r:var_t:s0\0", b"u:object_r:unlabeled_t:s0\0"


class Kernel:
    """posix with labels of its own, by path; those of `fixed` can't be set."""

    def __init__(self) -> None:
        self.known: dict[str, bytes] = {}
        self.fixed: tuple[str, ...] = ()

    def getxattr(self, at: "str | int", name: str) -> bytes:
        path = self._path(at, name)
        if path not in self.known:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA), path)
        return self.known[path]

    def setxattr(self, at: "str | int", name: str, value: bytes) -> None:
        path = self._path(at, name)
        if path in self.fixed:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        self.known[path] = value

    @staticmethod
    def _path(at: "str | int", name: str) -> str:
        assert name == "security.selinux"
        return os.readlink(f"/proc/self/fd/{at}") if isinstance(at, int) else at

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(labels, "posix", made)
    monkeypatch.setattr(labels, "is_on", lambda: True)
    return made


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_what_is_made_follows_the_image(kernel: Kernel, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for before in ({}, {str(work): UNLABELLED}, {str(work): VAR}):
        kernel.known = {"/var": VAR, **before}
        labels.follow("/none", hold(work))
        assert kernel.known == {"/var": VAR, **before}
        labels.follow("/var", hold(work))
        assert kernel.known == {"/var": VAR, str(work): VAR}
    assert capsys.readouterr().err == ""


def test_a_label_that_can_not_be_set_is_said(kernel: Kernel, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kernel.known, kernel.fixed = {"/var": VAR}, (str(work),)
    labels.follow("/var", hold(work))
    text = "can't have the label u:object_r:var_t:s0: Operation not supported"
    assert capsys.readouterr().err == f"<4>{work} {text}\n"


@pytest.mark.parametrize(("options", "said"), [
    ("rw,seclabel", False),
    ("rw,context=u:object_r:var_t:s0", True),
    ('rw,context="u:object_r:var_t:s0:c1,c2"', True),
    ("rw,rootcontext=u:object_r:var_t:s0,seclabel", False),
])  # fmt: skip
def test_one_label_for_all_files_is_warned_of(options: str, said: bool, capsys: pytest.CaptureFixture[str]) -> None:
    labels.warn_of_one_label(Mounted("/b", "ext4", options))
    assert ("write rootcontext= instead" in capsys.readouterr().err) is said


def test_what_is_passed_through_and_new_has_the_label_of_the_nearest_directory_of_the_image(
    kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "_MATCHPATHCON", "/nowhere")
    var, place = tmp_path / "var", tmp_path / "place"
    (var / "lib").mkdir(parents=True)
    place.mkdir()
    lib = b"u:object_r:var_lib_t:s0\0"
    kernel.known = {str(var): VAR, str(var / "lib"): lib, str(place): UNLABELLED}
    storage.look_after(str(var), str(var / "lib/docker"), hold(place))
    assert kernel.known[str(place)] == lib


def test_what_the_image_or_the_user_had_there_keeps_its_label(kernel: Kernel, tmp_path: Path) -> None:
    var, place = tmp_path / "var", tmp_path / "place"
    (var / "engine").mkdir(parents=True)
    (place / "volumes").mkdir(parents=True)
    kernel.known = {str(var): VAR, str(place): b"u:object_r:own_t:s0\0"}
    before = dict(kernel.known)
    storage.look_after(str(var), str(var / "engine"), hold(place))
    storage.look_after(str(var), str(var / "other"), hold(place))
    assert kernel.known == before


@pytest.mark.parametrize(("sign", "told"), [
    ("vfs/dir/1", "docker does not show the images and containers"),
    ("image/vfs/x", "docker does not show the images and containers"),
    ("storage/vfs-images/x", "contains several valid graphdrivers"),
    ("vfs-layers/x", "contains several valid graphdrivers"),
    ("overlay2/x", ""),
    ("storage/overlay/x", ""),
    ("vfs-images", ""),
])  # fmt: skip
def test_storage_that_an_engine_made_on_the_overlay_is_told_with_the_cure(
    sign: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(labels, "is_on", lambda: False)
    (tmp_path / sign).mkdir(parents=True)
    storage.look_after("/var", "/var/lib/engine", hold(tmp_path))
    text = capsys.readouterr().err
    assert told in text
    assert bool(text) is bool(told)
    assert "{" not in text


@pytest.mark.parametrize(("enforcing", "fault", "refused"), [
    (True, "init_t may not write var_t", True), (True, "", False), (False, "init_t may not write var_t", False),
])  # fmt: skip
def test_an_overlay_of_no_use_is_refused_before_it_is_made(
    enforcing: bool, fault: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selinux, "find_fault", lambda *_: fault)
    monkeypatch.setattr(selinux, "is_enforcing", lambda: enforcing)
    monkeypatch.setattr(selinux, "read_label", lambda _: "u:object_r:var_t:s0")
    if refused:
        with pytest.raises(Refused, match=r"^SELinux: init_t may not write var_t; see docs/security-modules\.md$"):
            labels.verify_mounter("u:r:init_t", "/var")
    else:
        labels.verify_mounter("u:r:init_t", "/var")


def test_where_nothing_can_be_asked_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(selinux, "is_enforcing", refuse)
    labels.verify_mounter("u:r:init_t", "/var")


def test_the_domain_for_a_program_is_asked_for_and_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(labels, "is_on", lambda: True)
    monkeypatch.setattr(labels, "_OWN", f"{tmp_path}/")
    monkeypatch.setattr(labels.OwnDomain, "_write", staticmethod(written.append))
    (tmp_path / "current").write_bytes(b"u:r:initrc_t:s0\0")
    with labels.OwnDomain():
        assert written == [b"u:r:initrc_t:s0\0"]
    assert written == [b"u:r:initrc_t:s0\0", b"\n"]
