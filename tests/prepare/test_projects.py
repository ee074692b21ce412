# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Project IDs on an xfs of the test's own: overlayfs does what the warning says, and its advice helps."""

import os
import subprocess
from pathlib import Path

import pytest

import overlay_prepare
from hold import hold
from overlay_generator.model import Mounted
from overlay_prepare import fitness, projects

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

# In $1, with $2 done to it: what prepare says, and then whether a file of the image can be written to.
SCRIPT = """
    set -e
    truncate -s 320M "$1/disk"
    mkfs.xfs -q -f "$1/disk" 2>/dev/null || exit 77
    mkdir "$1/at" "$1/image" "$1/merged"
    echo shipped >"$1/image/file"
    mount -o loop "$1/disk" "$1/at" || exit 77
    cd "$1/at"
    mkdir upper work
    eval "$2"
    /usr/bin/python3 -c '
import sys
from overlay_generator.model import Mounted
from overlay_prepare.fitness import warn_of_projects
from overlay_prepare.folder import open_top
with open_top(sys.argv[1], print) as backing:
    warn_of_projects(Mounted(sys.argv[1], "xfs", "rw"), backing, "/var")
' "$1/at" 2>&1
    mount -t overlay -o "lowerdir=$1/image,upperdir=$1/at/upper,workdir=$1/at/work" overlay "$1/merged"
    if echo mine >>"$1/merged/file"; then echo written; else echo refused; fi 2>/dev/null
"""


def _try(tmp_path: Path, done_to_it: str) -> "tuple[str, str]":
    """What prepare said, and `written` or `refused`."""
    environ = {**os.environ, "PYTHONPATH": str(Path(overlay_prepare.__file__).parents[1])}
    command = ["unshare", "-m", "sh", "-c", SCRIPT, "sh", str(tmp_path), done_to_it]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("no xfs can be made or mounted here")
    assert done.returncode == 0, done.stderr
    said, _, end = done.stdout.rstrip().rpartition("\n")
    return said, end


ID = 'xfs_io -c "chproj 42" upper; xfs_io -c "chattr +P" upper'


@pytest.mark.parametrize(
    ("done_to_it", "warned", "end"),
    [
        (":", False, "written"),
        (ID, True, "refused"),
        # An ID that is not inherited does not matter.
        ('xfs_io -c "chproj 42" upper', False, "written"),
        ('xfs_io -c "chproj 42" work; xfs_io -c "chattr +P" work', False, "written"),
        (f"{ID}; chattr +P -p 42 work", False, "written"),
    ],
)
def test_the_warning_is_what_the_kernel_does(done_to_it: str, warned: bool, end: str, tmp_path: Path) -> None:
    said, ended = _try(tmp_path, done_to_it)
    assert ended == end
    assert ("can't be changed (EXDEV)" in said) == warned
    if warned:
        why = f"the project ID of {tmp_path}/at/upper is 42, that of work 0"
        cure = f"run chattr +P -p 42 {tmp_path}/at/work, and boot again"
        assert said == f"<4>/var: files of the image can't be changed (EXDEV): {why}; {cure}"
    else:
        assert said == ""


def test_a_file_system_without_them_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(projects, "warn_of_clash", refuse)
    fitness.warn_of_projects(Mounted("/mnt", "ext4", "rw,noprjquota"), None, "/var")  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        fitness.warn_of_projects(Mounted("/mnt", "ext4", "rw,prjquota"), None, "/var")  # type: ignore[arg-type]


def test_what_cannot_be_asked_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    projects.warn_of_clash(hold(tmp_path), "/var")  # neither is there
    assert "it is not known whether upper and work have the same project ID" in capsys.readouterr().err


@pytest.mark.parametrize(("flags", "upper", "work", "warned"), [
    (0x200, 7, 0, True), (0x2FF, 7, 8, True), (0x200, 7, 7, False), (0xDFF, 7, 0, False), (0, 7, 0, False),
])  # fmt: skip
def test_only_an_id_that_is_inherited_counts(
    flags: int, upper: int, work: int, warned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = {"upper": (flags, upper), "work": (0, work)}
    monkeypatch.setattr(projects, "_read", lambda _backing, name: found[name])
    projects.warn_of_clash(hold(tmp_path), "/var")
    said = capsys.readouterr().err
    assert bool(said) is warned
    assert not warned or f"upper is {upper}, that of work {work}; run chattr +P -p {upper} " in said


@pytest.mark.parametrize(("machine", "number"), [
    ("x86_64", 0x801C581F), ("aarch64", 0x801C581F), ("riscv64", 0x801C581F), ("mips64", 0x401C581F),
    ("ppc64le", 0x401C581F), ("alpha", 0x401C581F), ("sparc64", 0x401C581F), ("parisc64", 0x401C581F),
])  # fmt: skip
def test_where_the_number_stands(machine: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """struct fsxattr of <linux/fs.h>: flags, extent size, extents, project, extent size of copies, padding."""
    import fcntl
    import posix
    import sys

    asked: list[tuple[int, int]] = []

    def ioctl(_fd: int, request: int, data: bytes) -> bytes:
        asked.append((request, len(data)))
        return b"".join(value.to_bytes(4, sys.byteorder) for value in (0x200, 1, 2, 42, 4)) + bytes(8)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    monkeypatch.setattr(posix, "uname", lambda: os.uname_result(("Linux", "x", "6.1", "x", machine)))
    (tmp_path / "upper").mkdir()
    assert projects._read(hold(tmp_path), "upper") == (0x200, 42)
    assert asked == [(number, 28)]
