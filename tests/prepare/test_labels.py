# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Labels and domains, with a kernel that says what SELinux says. Real ones are in the boots selinux-*."""

import errno
import os
from pathlib import Path

import pytest

from children import list_children
from hold import hold
from overlay_generator import selinux
from overlay_generator.model import Mounted
from overlay_prepare import labels, storage
from overlay_prepare.report import Refused

VAR, UNLABELLED = b"u:object_r:var_t:s0\0", b"u:object_r:unlabeled_t:s0\0"
LIB = b"u:object_r:var_lib_t:s0"


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
    (tmp_path / "empty").mkdir()
    kernel.known = {str(var): VAR, str(place): b"u:object_r:own_t:s0\0", str(tmp_path / "empty"): LIB}
    before = dict(kernel.known)
    storage.look_after(str(var), str(var / "engine"), hold(tmp_path / "empty"))
    storage.look_after(str(var), str(var / "engine"), hold(place))
    storage.look_after(str(var), str(var / "other"), hold(place))
    assert kernel.known == before


@pytest.mark.parametrize(("label", "given"), [
    (b"u:object_r:unlabeled_t:s0\0", True), (b"u:object_r:file_t:s0\0", True), (b"u:object_r:unlabeled_t\0", True),
    (b"", True), (b"u:object_r", True), (b"u:object_r:own_t:s0\0", False), (b"u:object_r:own_t\0", False),
    (b"u:object_r:own_t:unlabeled_t:s0", False),
])  # fmt: skip
def test_what_has_no_label_of_its_own_gets_one_though_there_is_something_in_it(
    label: bytes, given: bool, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut between what was written and its label; also of a policy without levels."""
    monkeypatch.setattr(labels, "find_for", lambda _path, _where: VAR)
    (tmp_path / "place/volumes").mkdir(parents=True)
    kernel.known = {str(tmp_path / "place"): label} if label else {}
    storage.look_after("/var", str(tmp_path / "none"), hold(tmp_path / "place"))
    assert kernel.known.get(str(tmp_path / "place")) == (VAR if given else label)


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


@pytest.mark.parametrize(("printed", "expected"), [
    (f"echo {LIB.decode()}", LIB), ("echo '<<none>>'", VAR), ("exit 1", VAR), ("printf 'no context'", VAR),
])  # fmt: skip
def test_the_policy_tells_the_label_where_its_tool_is_there(
    printed: str, expected: bytes, kernel: Kernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "matchpathcon"
    tool.write_text(f'#!/bin/sh\ntest "$1 $2" = "-n /var/lib/x" || exit 2\n{printed}\n')
    tool.chmod(0o755)
    monkeypatch.setattr(labels, "_MATCHPATHCON", str(tool))
    kernel.known = {"/var": VAR}
    monkeypatch.setattr(labels, "find_kind", lambda path: "d" if path == "/var" else "f" if path == str(tool) else "")
    assert labels.find_for("/var/lib/x", "/var") == expected


@pytest.mark.parametrize(("path", "expected"), [
    ("/var/lib/x", b"lib"), ("/var/lib/deep/er/x", b"lib"), ("/var/other/x", b"var"), ("/var/file/x", b"var"),
])  # fmt: skip
def test_else_the_nearest_directory_of_the_image_does(
    path: str, expected: bytes, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.known = {"/": b"root", "/var": b"var", "/var/lib": b"lib", "/var/file": b"file"}
    kinds = {"/": "d", "/var": "d", "/var/lib": "d", "/var/file": "f"}
    monkeypatch.setattr(labels, "find_kind", lambda path: kinds.get(path, ""))
    assert labels.find_for(path, "/var") == expected


def test_without_selinux_there_is_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "is_on", lambda: False)
    assert labels.find_for("/var/lib/x", "/var") == b""


def test_a_label_that_can_not_be_read(
    kernel: Kernel, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(labels, "find_kind", lambda _path: "")
    assert labels.find_for("/var/lib/x", "/var") == b"", "it has none"

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(kernel, "getxattr", fail, raising=False)
    with pytest.raises(OSError, match="Input/output error"):
        labels.find_for("/var/lib/x", "/var")
    labels.follow("/var", hold(work))
    assert capsys.readouterr().err == "<4>the label of /var can't be read (Input/output error)\n"
    assert labels.read(hold(work)) == b""


def test_an_empty_label_is_given_to_nothing_and_the_same_one_not_again(
    kernel: Kernel, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel.fixed = (str(work),)
    labels.give(hold(work), b"")
    kernel.known = {str(work): VAR}
    labels.give(hold(work), VAR)
    assert capsys.readouterr().err == ""
    labels.give(hold(work), LIB)
    assert capsys.readouterr().err != ""


def test_what_a_program_prints_is_read_and_nothing_stays_open() -> None:
    children = list_children()
    before = set(os.listdir("/proc/self/fd"))
    assert labels._read_output("/bin/sh", "-c", "echo one; echo two >&2") == b"one\n"
    # More than a pipe holds: nobody reads the rest, and it is not waited for.
    assert labels._read_output("/bin/sh", "-c", "head -c 500000 /dev/zero") == b"\0" * 4096
    with pytest.raises(FileNotFoundError):
        labels._read_output("/nowhere/at/all")
    assert set(os.listdir("/proc/self/fd")) == before
    assert list_children() == children


def test_the_domain_is_written_to_the_kernel_s_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "_OWN", f"{tmp_path}/")
    (tmp_path / "exec").write_text("")
    before = set(os.listdir("/proc/self/fd"))
    labels.OwnDomain._write(b"u:r:initrc_t:s0\0")
    assert (tmp_path / "exec").read_bytes() == b"u:r:initrc_t:s0\0"
    (tmp_path / "exec").unlink()
    with pytest.raises(FileNotFoundError):
        labels.OwnDomain._write(b"x")
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_domain_that_is_refused_is_told_once_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(labels, "is_on", lambda: True)
    monkeypatch.setattr(labels, "_OWN", f"{tmp_path}/none/")
    with labels.OwnDomain():
        text = "the overlay is tried in another SELinux domain than this one"
        assert text in capsys.readouterr().err
    assert capsys.readouterr().err == ""


def test_without_selinux_no_domain_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(labels, "is_on", lambda: False)
    monkeypatch.setattr(labels, "_OWN", f"{tmp_path}/")
    monkeypatch.setattr(labels.OwnDomain, "_write", staticmethod(written.append))
    (tmp_path / "current").write_bytes(b"u:r:initrc_t:s0\0")
    with labels.OwnDomain():
        pass
    assert written == []


def test_what_is_no_context_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As AppArmor has it in the same file."""
    written: list[bytes] = []
    monkeypatch.setattr(labels, "is_on", lambda: True)
    monkeypatch.setattr(labels, "_OWN", f"{tmp_path}/")
    monkeypatch.setattr(labels.OwnDomain, "_write", staticmethod(written.append))
    (tmp_path / "current").write_bytes(b"unconfined\n")
    with labels.OwnDomain():
        assert written == []
    assert written == [b"\n"]


def test_selinux_is_on_where_its_file_system_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "_TOP", str(tmp_path / "none"))
    assert labels.is_on() is False
    monkeypatch.setattr(labels, "_TOP", str(tmp_path))
    assert labels.is_on() is True
