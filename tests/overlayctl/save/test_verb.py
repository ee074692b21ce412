# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl save: it packs a case as in tests/cases, for which the generator does what it did on the machine."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import fakeroot
from device import Device, needs_mounts
from overlayctl import main
from overlayctl.save import casedir, layout, replay
from overlayctl.save import verb as save
from product import SYSTEM_PYTHON, Run
from runcase import CASES, read, run_in


class Collected:
    """Stands in for the output."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def save_to(path: Path, *words: str) -> str:
    """What `overlayctl save` prints."""
    options = main.build_parser("save").parse_args([*words, str(path)])
    collected = Collected()
    options.output = collected
    assert save.run(options) == 0
    return collected.text


def unpack(path: Path, where: Path) -> Path:
    with tarfile.open(path) as archive:
        archive.extractall(where, filter="data") if hasattr(tarfile, "data_filter") else archive.extractall(where)
    return where / "saved"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_comes_back(case: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0 and any(word in case.name for word in ("owner",)):
        pytest.skip("needs root")
    root = tmp_path / "machine"
    fakeroot.build(case, root)
    for key in [key for key in os.environ if key.startswith("SYSTEMD_")]:
        monkeypatch.delenv(key)
    for line in read(case / "env").splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    monkeypatch.setenv("SYSTEMD_SCOPE", os.environ.get("SYSTEMD_SCOPE", "system"))
    if "SYSTEMD_IN_INITRD" not in os.environ:
        monkeypatch.setenv("SYSTEMD_IN_INITRD", "0")
    printed = save_to(tmp_path / "report.tar", f"--root={root}")
    assert "warning" not in printed

    saved = unpack(tmp_path / "report.tar", tmp_path)
    given = dict(line.split("=", 1) for line in read(case / "env").splitlines())
    expected = run_in(run, root, tmp_path / "first", given)
    assert (saved / "expected").read_text(encoding="utf-8", errors="surrogateescape") == expected
    assert (saved / "README").read_text().count("\n") == 1
    # And as the tests of this project will build it, with their common files below.
    again = tmp_path / "again"
    fakeroot.build(saved, again)
    environ = dict(line.split("=", 1) for line in read(saved / "env").splitlines())
    assert run_in(run, again, tmp_path / "out", environ) == expected


@needs_mounts
def test_a_running_machine(run: Run, image: Path, tmp_path: Path) -> None:
    device = Device(run, image, tmp_path)
    device.add_disk()
    with (device.root / "etc/fstab").open("a") as stream:
        stream.write("//server/share /mnt cifs username=me,password=hunter2 0 0\n")
    listed = device.boot("overlayctl save --note 'it is odd' /tmp/report.tar.gz")
    assert "saved/root/etc/fstab (secrets in it were made unreadable)\n" in listed
    assert "warning" not in listed
    packed = (device.root / "tmp/report.tar.gz").read_bytes()
    assert packed[:2] == b"\x1f\x8b"
    saved = unpack(device.root / "tmp/report.tar.gz", tmp_path)
    assert (saved / "README").read_text() == "it is odd\n"
    for path in saved.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes()
    again = tmp_path / "again"
    fakeroot.build(saved, again)
    environ = dict(line.split("=", 1) for line in read(saved / "env").splitlines())
    output = run_in(run, again, tmp_path / "out", environ)
    assert output == (saved / "expected").read_text()
    assert "==> normal/var.mount <==" in output


SECRETS = [
    (b"password=hunter2", b"password=XXXX"),
    (b"a,password2=x,b", b"a,password2=XXXX,b"),
    (b"pass=x,ro", b"pass=XXXX,ro"),
    (b"PASSWD = x", b"PASSWD = XXXX"),
    (b"wifi.psk=abc def", b"wifi.psk=XXXX def"),
    (b"systemd.set_credential=name:value", b"systemd.set_credential=name:XXXX"),
    (b"systemd.set-credential-binary=name:YQ==", b"systemd.set-credential-binary=name:XXXX"),
    (b"nbd://me:secret@host", b"nbd://me:XXXX@host"),
    (b'API_TOKEN="abc"', b"API_TOKEN=XXXX"),
    (b"wifi.psk='abc def'", b"wifi.psk=XXXX"),
    (b'a "iscsi_password=hun ter2" b', b'a "iscsi_password=XXXX" b'),
    (b'"systemd.set_credential=wifi:a hunter2" b', b'"systemd.set_credential=XXXX" b'),
    (b'systemd.set_credential=wifi:"a hunter2" b', b"systemd.set_credential=wifi:XXXX b"),
    (b"passphrase=hun;ter2 b", b"passphrase=XXXX b"),
    (b"cifs user=joe%hun;ter2,nofail 0", b"cifs user=joe%XXXX,nofail 0"),
    (b"netroot=iscsi:joe:hunter2@srv::3260::", b"netroot=iscsi:joe:XXXX@srv::3260::"),
    (b"//me:hun@ter2@host/share", b"//me:XXXX@host/share"),
    (b"API_TOKEN=abc", b"API_TOKEN=XXXX"),
    (b"credentials=/etc/cifs", b"credentials=/etc/cifs"),
    (b"compass=north", b"compass=XXXX"),
    (b"bypass_me no", b"bypass_me no"),
]


@pytest.mark.parametrize(("text", "expected"), SECRETS)
def test_secrets(text: bytes, expected: bytes) -> None:
    assert casedir.blot(text)[0] == expected


def test_the_list_is_what_is_in_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fakeroot.build(fakeroot.CASES / "20-persistent", root)
    printed = save_to(tmp_path / "report.tar", f"--root={root}")
    with tarfile.open(tmp_path / "report.tar") as archive:
        files = [entry.name for entry in archive if entry.isfile()]
        assert {entry.uid for entry in archive} == {0}
    assert sorted(files) == sorted(printed.splitlines())
    assert (tmp_path / "report.tar").stat().st_mode & 0o777 == 0o600


WRONG = [
    (["--root", "/proc/none", "x"], "--root /proc/none: not a directory"),
    (["--root", "{empty}", "x"], "{empty}/proc/cmdline: No such file or directory; give it with --cmdline"),
    (["--root", "{empty}", "--cmdline", "quiet", "/proc/none/x"], "/proc/none/x: No such file or directory"),
    ([], "the following arguments are required: FILE; see overlayctl save --help"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_what_can_not_be_done_is_one_line(words: "list[str]", sentence: str, tmp_path: Path, prefix: Path) -> None:
    (tmp_path / "empty").mkdir()
    words = [word.replace("{empty}", str(tmp_path / "empty")) for word in words]
    command = [SYSTEM_PYTHON, "-B", "-m", "overlayctl", "save", *words]
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(prefix / "lib/overlay-generator")}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"overlayctl: {sentence.replace('{empty}', str(tmp_path / 'empty'))}\n"
    assert os.listdir(tmp_path) == ["empty"]


def test_what_differs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    fakeroot.build(fakeroot.CASES / "20-persistent", root)
    monkeypatch.setattr(replay, "run_generator", lambda _root, _environ, _noted: "status 0\n")
    assert "warning: what was saved gives other units than this machine" in save_to(
        tmp_path / "r.tar", f"--root={root}"
    )


def plant(root: Path, *links: "tuple[str, str]") -> None:
    """A tree in which /var can be overlaid, and `links`, each a path and a target."""
    fakeroot.build(fakeroot.CASES / "20-persistent", root)
    for path, target in links:
        place = root / path
        if place.is_dir():
            shutil.rmtree(place)
        place.unlink(missing_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


@pytest.mark.parametrize("path", ["var", "usr/lib/systemd/system/docker.service"])
def test_commands_in_the_target_of_a_link_are_not_carried_out(path: str, tmp_path: Path) -> None:
    victim, up = tmp_path / "victim", "/.." * 12
    victim.mkdir(mode=0o700)
    target = f"x y\\z\nd {up}{victim}/made 4777 65534 65534\nd {up}{victim} 4777 65534 65534\nL {up}{victim}/l /etc"
    plant(tmp_path / "root", (path, target))
    save_to(tmp_path / "report.tar", f"--root={tmp_path / 'root'}", "--cmdline=overlayfs.mounts=/var")
    assert os.listdir(victim) == []
    assert victim.stat().st_mode & 0o7777 == 0o700
    # The target is in the report, as one word, and comes back.
    saved = unpack(tmp_path / "report.tar", tmp_path)
    lines = layout.parse((saved / "layout").read_text())
    assert os.fsencode(target) in [layout.unescape(line.rest) for line in lines if line.kind == "L"]
    fakeroot.build(saved, tmp_path / "again")
    assert os.readlink(tmp_path / "again" / path) == target


OUTSIDE = [
    "d {up}{victim}/made", "f {up}{victim}/file text", "L {up}{victim}/link /etc", "p {up}{victim}/fifo",
    "x {up}{victim} user.a b", "r {up}{victim}/kept", "* {up}{victim}/kept 3 x", "d {up}{victim} 0777",
    "f /link/file text", "d /link/made", "r /link/kept", "L /link/link x", "p /link/fifo", "* /link/kept 3 x",
    "d /link 0777 1 1", "f /deep/link/file text", "f /file-link x", "* /file-link 1 x", "x /file-link user.a b",
    "r /link/../kept", "f \\x2f..{up}{victim}/file text", "* /many 100000000000 x", "z /unknown",
]  # fmt: skip


@pytest.mark.parametrize("line", OUTSIDE)
def test_the_case_of_a_stranger_does_nothing_outside(line: str, tmp_path: Path) -> None:
    victim, case = tmp_path / "victim", tmp_path / "case"
    victim.mkdir(mode=0o700)
    (victim / "kept").write_text("mine")
    (case / "root/deep").mkdir(parents=True)
    for path, target in (("link", victim), ("deep/link", victim), ("file-link", victim / "kept")):
        (case / "root" / path).symlink_to(target)
    (case / "layout").write_text(line.format(up="/.." * 12, victim=victim) + "\n")
    with pytest.raises((OSError, ValueError)):
        fakeroot.build(case, tmp_path / "tree")
    assert os.listdir(victim) == ["kept"]
    assert (victim / "kept").read_text() == "mine"
    assert (victim.stat().st_mode & 0o7777, os.listxattr(victim / "kept")) == (0o700, [])


def test_a_link_to_a_victim_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    victim, case = tmp_path / "victim", tmp_path / "case"
    for path in (victim, case / "root/d"):
        path.mkdir(parents=True)
    (victim / "kept").touch()
    (case / "root/d/link").symlink_to(victim)
    (case / "layout").write_text("r /d\n")
    fakeroot.build(case, tmp_path / "tree")
    assert os.listdir(victim) == ["kept"]
    assert not (tmp_path / "tree/d").exists()


def test_a_name_in_modules_dep_leads_nowhere_else(tmp_path: Path) -> None:
    """What is looked at is put into the report, by its place in the tree."""
    root = tmp_path / "machine/with/some/depth"
    root.parent.mkdir(parents=True)
    fakeroot.build(fakeroot.CASES / "20-persistent", root)
    directory = root / "usr/lib/modules/6.9"
    directory.mkdir(parents=True)
    name = "../../../../" + "../" * 8 + "tmp/found"
    (directory / "modules.dep").write_text(f"{name}/overlay.ko:\n")
    (root / "proc/sys/kernel").mkdir(parents=True, exist_ok=True)
    (root / "proc/sys/kernel/osrelease").write_text("6.9\n")
    (root / "tmp/found").mkdir(parents=True)
    (root / "tmp/found/overlay.ko").write_text("x")
    save_to(tmp_path / "report.tar", f"--root={root}")
    saved = unpack(tmp_path / "report.tar", tmp_path)
    assert (saved / "root/tmp/found/overlay.ko").read_text() == "# not saved\n"


SECRET = "password-of-the-builder"


@pytest.mark.parametrize("path", [
    "etc/fstab", "proc/cmdline", "etc/overlay-generator.conf.d/a.conf", "etc/overlay-generator.conf",
    "usr/lib/systemd/system/var.mount", "etc", "proc", "usr/lib/modules",
])  # fmt: skip
@pytest.mark.parametrize("how", ["absolute", "relative"])
def test_links_of_a_tree_lead_nowhere_else(path: str, how: str, run: Run, tmp_path: Path) -> None:
    """A file of the machine that looks at the tree is not in the report, nor in what is said."""
    root, home = tmp_path / "root", tmp_path / "home"
    home.mkdir()
    for name in ("fstab", "cmdline", "secret", "self/mountinfo", "6.9/modules.builtin", "sys/kernel/osrelease"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(f"{SECRET} [{SECRET}\n")
    whole = path in ("etc", "proc", "usr/lib/modules")
    target = str(home if whole else home / "secret")
    fakeroot.build(fakeroot.CASES / "20-persistent", root)
    if whole:
        subprocess.run(["rm", "-rf", root / path], check=True)
    plant_link = root / path
    plant_link.parent.mkdir(parents=True, exist_ok=True)
    plant_link.unlink(missing_ok=True)
    plant_link.symlink_to(target if how == "absolute" else "../" * 30 + target.lstrip("/"))
    words = [f"--root={root}", "--cmdline=overlayfs.mounts=/var"]
    save_to(tmp_path / "report.tar", *words)
    with tarfile.open(tmp_path / "report.tar") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            assert content is None or SECRET.encode() not in content.read(), entry.name
    done = run(*words, "--print")
    assert SECRET not in done.stdout + done.stderr


def test_a_device_in_a_tree_is_not_opened(tmp_path: Path) -> None:
    root = tmp_path / "root"
    fakeroot.build(fakeroot.CASES / "20-persistent", root)
    (root / "etc/fstab").unlink()
    try:
        os.mknod(root / "etc/fstab", 0o020600, os.makedev(1, 5))
    except OSError as error:
        pytest.skip(f"no devices can be made here: {error.strerror}")
    save_to(tmp_path / "report.tar", f"--root={root}")
    assert (tmp_path / "report.tar").stat().st_size < 1 << 20


def test_not_as_root_the_owner_of_a_directory_is_told(tmp_path: Path) -> None:
    """And no owner is changed for it: chown(2) is not called."""
    root = tmp_path / "root"
    fakeroot.build(fakeroot.CASES / "20-persistent", root)
    (root / "var").chmod(0o2775)
    noted = replay.build(str(make_case(tmp_path, "d /var 2775 12 34\n")), str(tmp_path / "tree"))
    assert noted == {"/var": (0o2775, 12, 34, False)}
    assert (tmp_path / "tree/var").stat().st_uid == os.geteuid()


def make_case(top: Path, text: str) -> Path:
    case = top / "made"
    (case / "root").mkdir(parents=True)
    (case / "layout").write_text(text)
    return case
