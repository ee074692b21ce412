# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the boot path does to the machine, seen from outside: every system call of a run."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from product import ENVIRON, SYSTEM_PYTHON

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")

# Whatever makes a process, talks to one, waits for entropy, or changes anything but files of ours.
FORBIDDEN = {
    "fork", "vfork", "clone", "clone3", "socket", "connect", "bind", "mount", "umount2", "chdir", "chroot", "unshare",
    "setns", "truncate", "ftruncate", "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "kill",
    "utimensat", "setxattr", "lsetxattr", "fsetxattr", "init_module", "finit_module", "ptrace", "rename", "renameat",
    "renameat2", "memfd_create", "io_uring_setup", "nanosleep", "poll", "select",
}  # fmt: skip
MAKING = {
    "mkdir",
    "mkdirat",
    "symlink",
    "symlinkat",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mknod",
    "mknodat",
}

Call = tuple[str, str, str]


def _trace(tmp_path: Path, cmdline: str, *command: "str | Path") -> "list[Call]":
    """(name, arguments, result) of each system call."""
    log = tmp_path / "strace"
    environ = {**ENVIRON, "SYSTEMD_PROC_CMDLINE": cmdline}
    strace = ["strace", "-f", "-o", str(log), "-s", "256"]
    subprocess.run([*strace, *map(str, command)], env=environ, check=False, capture_output=True, timeout=120)
    calls = re.findall(r"^\d+ +(\w+)\((.*)\) += (.*)$", log.read_text(), re.MULTILINE)
    assert calls
    return calls


@pytest.mark.parametrize("cmdline", ["quiet", "overlayfs.mounts=/var", "overlayfs.mounts=/etc,/nowhere,/var/lib"])
def test_a_run_touches_nothing_but_its_output(cmdline: str, executable: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    calls = _trace(tmp_path, cmdline, SYSTEM_PYTHON, "-ISB", executable, out)
    names = {name for name, _, _ in calls}
    assert not names & FORBIDDEN
    assert sum(name == "execve" for name, _, _ in calls) == 1
    for name, arguments, _ in calls:
        if name in MAKING:
            paths = re.findall(r'"((?:[^"\\]|\\.)*)"', arguments)
            made = paths[-1] if name.startswith(("symlink", "link")) else paths[0]
            assert made.startswith(f"{out}/"), (name, arguments)
        if name in ("open", "openat", "creat") and re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)", arguments):
            assert f'"{out}/' in arguments, arguments
        if name == "getrandom":
            assert "GRND_NONBLOCK" in arguments  # entropy may be missing for minutes this early


def _opened(calls: "list[Call]") -> "list[str]":
    """The files that were opened, without directories."""
    return [
        arguments
        for name, arguments, result in calls
        if name in ("open", "openat") and not result.startswith("-1") and "O_DIRECTORY" not in arguments
    ]


def test_few_files_are_opened(executable: Path, tmp_path: Path) -> None:
    """At most 20 over a bare interpreter: our modules, what they read and what they write."""
    out = tmp_path / "out"
    out.mkdir()
    bare = _opened(_trace(tmp_path, "", SYSTEM_PYTHON, "-ISB", "-c", "pass"))
    ours = _opened(_trace(tmp_path, "overlayfs.mounts=/var", SYSTEM_PYTHON, "-ISB", executable, out))
    assert (out / "var.mount").exists()
    assert len(ours) - len(bare) <= 20, ours


def test_nothing_is_read_twice(executable: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    ours = _opened(_trace(tmp_path, "overlayfs.mounts=/var", SYSTEM_PYTHON, "-ISB", executable, out))
    # The interpreter itself looks into the script before it runs it.
    ours = [arguments for arguments in ours if str(executable) not in arguments]
    assert len(ours) == len(set(ours))
