"""overlayctl save: what it packs is a case of tests/cases, with which the generator does what it did on the machine."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

import fakeroot
from device import Device, needs_mounts
from overlayctl import main
from overlayctl.save import casedir
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
    (b'API_TOKEN="abc"', b'API_TOKEN="abc"'),
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
    monkeypatch.setattr(casedir, "run_generator", lambda _root, _environ: "status 0\n")
    assert "warning: what was saved gives other units than this machine" in save_to(
        tmp_path / "r.tar", f"--root={root}"
    )
