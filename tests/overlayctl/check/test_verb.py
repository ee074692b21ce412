# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl check: every directory in cases/ is an image, and `expected` what is found in it.

`pytest --regold` writes `expected` anew; read the difference before a commit.
"""

import json
import os
import py_compile
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import checkcases
import schemas
from overlay_generator.model import FstabEntry
from overlay_prepare import identity
from overlayctl.check import acls, cmdline, fstab, kernel, python, system
from overlayctl.check.cmdline import CommandLine
from overlayctl.check.finding import LEVELS, RULES
from overlayctl.check.image import Image
from overlayctl.main import main
from product import SYSTEM_PYTHON


@pytest.fixture(scope="module")
def good(image: Path, tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, str]":
    common = tmp_path_factory.mktemp("check") / "common"
    return common, checkcases.build_good(image, common)


Check = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def check(prefix: Path) -> Check:
    """check(*words): the output of overlayctl check with these words."""

    def run(*words: "str | Path") -> "subprocess.CompletedProcess[str]":
        command = [SYSTEM_PYTHON, "-B", "-m", "overlayctl", "check", *map(str, words)]
        environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(prefix / "lib/overlay-generator")}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.mark.parametrize("name", checkcases.NAMES)
def test_case(
    name: str,
    check: Check,
    good: "tuple[Path, str]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common, version = good
    root = tmp_path / "root"
    options = checkcases.build(name, common, root, monkeypatch)
    done = check("--root", root, *options)
    text = f"status {done.returncode}\n{done.stdout}{done.stderr}"
    text = re.sub(rf"\b{re.escape(version)}\b", "3.X", text).replace(str(root), "{root}")
    text = re.sub(r"\d+ of \d+ files", "N of N files", text)
    expected = checkcases.CASES / name / "expected"
    if request.config.getoption("--regold"):
        expected.write_text(text)
    assert text == expected.read_text()
    assert (checkcases.CASES / name / "README").read_text().count("\n") == 1
    assert main(["check", "--root", str(root), *options, "--json"]) == done.returncode
    found = json.loads(capsys.readouterr().out)
    schemas.validate("check", found)
    rules = [finding["rule"] for finding in found["findings"]]
    assert rules == re.findall(r"\[([a-z0-9-]+)\]$", text, re.M)


def test_each_rule_has_a_case() -> None:
    found = set()
    for name in checkcases.NAMES:
        found |= set(re.findall(r"\[([a-z0-9-]+)\]$", (checkcases.CASES / name / "expected").read_text(), re.M))
    # These have tests below: what only a running machine can show, and what layout can't describe. The layers of a
    # running machine are in test_hardening.py.
    running = {f"upper-{name}" for name in ("unread", "more", "setuid", "capability", "device", "program", "started")}
    assert found == set(RULES) - {"image-anonymous", "compiled-stale", "acl-lost", "backing-removable"} - running


def test_each_rule_says_what_to_do() -> None:
    own_words = {"wrong-input", "not-overlaid", "left-alone", "hint"}  # sentences of the generator, advice included
    for rule, (level, text, advice) in RULES.items():
        assert level in LEVELS
        assert text
        assert bool(advice) != (rule in own_words), rule


def test_json_has_the_same(
    check: Check, good: "tuple[Path, str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    checkcases.build("12-upper-read-only", good[0], root, monkeypatch)
    done = check("--root", root, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["errors"] == 1
    assert found["findings"][0]["rule"] == "upper-read-only"
    assert (found["findings"][0]["source"], found["findings"][0]["line"]) == ("/etc/fstab", 2)


WRONG = [
    (["--root", "/proc/none"], "overlayctl: --root /proc/none: not a directory\n"),
    (["--kernel", "/proc/none"], "overlayctl: --kernel /proc/none: No such file or directory\n"),
    (["--kernel", "/dev/null"], "overlayctl: --kernel /dev/null: not the configuration of a kernel\n"),
    (["--nonsense"], "overlayctl: unrecognized arguments: --nonsense; see overlayctl check --help\n"),
]


@pytest.mark.parametrize(("words", "error"), WRONG)
def test_wrong_usage_is_one_line(check: Check, words: "list[str]", error: str) -> None:
    done = check(*words)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", error)


KEYS = [
    ("overlay.mounts=/var", "overlayfs.mounts"),
    ("overlayfs.mount=/var", "overlayfs.mounts"),
    ("overlay.mount", "overlayfs.mounts"),
    ("overlayfs_mounts=/var", "overlayfs.mounts"),
    ("overlay-fs.mounts=/var", "overlayfs.mounts"),
    ("Overlayfs.Mounts=/var", "overlayfs.mounts"),
    ("ovelayfs.mounts=/var", "overlayfs.mounts"),
    ("overlayfs.uper=volatile", "overlayfs.upper"),
    ("overlay.reset", "overlayfs.reset"),
    ("rd.overlayfs.mounts=/var", "overlayfs.mounts"),
    ("overlayfs.mounts=/var", ""),
    ("overlay.redirect_dir=on", ""),
    ("overlayroot=tmpfs", ""),
    ("rd.overlay", ""),
    ("quiet", ""),
    ("mounts=/var", ""),
]


@pytest.mark.parametrize(("word", "better"), KEYS)
def test_what_looks_like_a_key_of_ours(word: str, better: str) -> None:
    findings = cmdline.check([CommandLine(f"quiet {word} ro", "/proc/cmdline")])
    assert [finding.advice for finding in findings] == ([f"write {better}"] if better else [])


def test_every_option_of_the_kernel_is_asked_for() -> None:
    found = [finding.text.split()[0] for finding in kernel.check("", "config", True, ("ext4", "f2fs"))]
    options = ["OVERLAY_FS", "TMPFS", "TMPFS_XATTR", "EXT4_FS", "F2FS_FS", "F2FS_FS_XATTR"]
    assert found == [f"CONFIG_{option}" for option in options]
    good = "".join(f"CONFIG_{option}=m\n" for option in options)
    assert kernel.check(good, "config", True, ("ext4", "f2fs")) == []
    assert len(kernel.check("CONFIG_OVERLAY_FS=n\n", "config", False, ())) == 1


# u::rw-,u:1000:rw-,g::r--,m::rw-,o::---, as the kernel's linux/posix_acl_xattr.h has it
_ACL = struct.pack(
    "<I" + "HHI" * 5, 2, 1, 6, 2**32 - 1, 2, 6, 1000, 4, 4, 2**32 - 1, 16, 6, 2**32 - 1, 32, 0, 2**32 - 1
)


def test_an_acl_of_the_image_has_to_be_kept_by_the_upper_layer(tmp_path: Path) -> None:
    image = Image(str(tmp_path))
    (tmp_path / "var/log/journal").mkdir(parents=True)
    (tmp_path / "var/log/link").symlink_to("nowhere")
    assert acls.find(image, ("/var",)) == ""
    try:
        os.setxattr(tmp_path / "var/log/journal", "system.posix_acl_access", _ACL)
    except OSError:
        pytest.skip("no ACLs here")
    assert acls.find(image, ("/srv", "/var")) == "/var/log/journal"
    entry = FstabEntry("ubi0:data", "/run/buildroot/mounts/var", "ubifs", "defaults", "/etc/fstab", 3)
    (finding,) = acls.check("/var/log/journal", {"ubifs": entry, "ext4": entry})
    assert (finding.rule, finding.place) == ("acl-lost", "/etc/fstab:3")
    assert acls.check("", {"ubifs": entry}) == []
    assert acls.check("/var/log/journal", {"ext4": entry}) == []


def test_acls_of_the_image_are_asked_of_the_kernel() -> None:
    found = [finding.text.split()[0] for finding in kernel.check("", "config", True, ("ext4",), "/var/log")]
    assert set(found) > {"CONFIG_TMPFS_POSIX_ACL", "CONFIG_EXT4_FS_POSIX_ACL"}
    assert not any("ACL" in finding.text for finding in kernel.check("", "config", True, ("ext4",)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 10), ("10s", 10), ("1min 30s", 90), ("1.5min", 90), ("0", 0), ("infinity", 0), ("5ms", 0), ("2h", 0)],
)
def test_the_seconds_of_a_time_span(text: str, seconds: float) -> None:
    assert fstab._seconds(text) == seconds


def test_a_root_that_nothing_tells_from_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "identify", lambda _where: "on=overlay\n")
    monkeypatch.setattr(Image, "text", lambda _image, _path: "NAME=x\nBUILD_ID=rolling\n")
    (found,) = system.check_identity(Image(), persistent=True)
    assert (found.rule, found.line) == ("image-anonymous", 2)
    assert "it is not a file system on a disk of its own" in found.text
    monkeypatch.setattr(Image, "text", lambda _image, _path: "BUILD_ID=rolling\nIMAGE_VERSION=3\n")
    assert system.check_identity(Image(), persistent=True) == []


def test_compiled_files_that_python_would_not_use(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3").symlink_to(f"python3.{sys.version_info.minor}")
    (tmp_path / f"usr/bin/python3.{sys.version_info.minor}").write_text("")
    (tmp_path / f"usr/bin/python3.{sys.version_info.minor}").chmod(0o755)
    package = tmp_path / "usr/lib/overlay-generator/overlay_generator"
    package.mkdir(parents=True)

    def rules() -> "set[str]":
        return {finding.rule for finding in python.check(Image(str(tmp_path)))} - {"python-module"}

    (package / "boot.py").write_text("pass\n")
    assert rules() == {"not-compiled"}
    for mode in py_compile.PycInvalidationMode:
        py_compile.compile(str(package / "boot.py"), invalidation_mode=mode)
        assert rules() == set(), mode
    py_compile.compile(str(package / "boot.py"), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    os.utime(package / "boot.py", (0, 0))
    assert rules() == {"compiled-stale"}


@pytest.mark.skipif(not os.path.exists("/proc/cmdline"), reason="no /proc")
def test_this_machine_can_be_checked(check: Check) -> None:
    done = check()
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr == ""
