# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trees that are made to take time and memory: check ends soon, with a line for what it did not read."""

import gzip
import json
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import fakeroot
from handmade import run_command
from product import Run

MEMORY = 1 << 30  # bytes of address space


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    fakeroot.build(fakeroot.CASES / "20-persistent", root)
    for name in ("python3", "python3.11"):
        path = root / "usr/bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755) if name != "python3" else path.symlink_to("python3.11")
    generator = root / "usr/lib/systemd/system-generators/overlay-generator"
    generator.parent.mkdir(parents=True, exist_ok=True)
    generator.touch(mode=0o755)
    return root


def put(root: Path, path: str, data: bytes) -> Path:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return place


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))


def check(root: Path) -> "dict[str, list[str]]":
    """The rules that `overlayctl check` finds broken, with their places."""
    words = ["--root", str(root), "--cmdline", "overlayfs.mounts=/var", "--json"]
    done = run_command("check", *words, preexec_fn=limit)
    assert (done.returncode, done.stderr) == (1, "")
    found: dict[str, list[str]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        found.setdefault(finding["rule"], []).append(finding["source"])
    return found


def fill_with_circles(root: Path) -> None:
    """Directories that lead to themselves, by two ways in each."""
    package = root / "usr/lib/overlay-generator/overlay_generator"
    package.mkdir(parents=True)
    for name in ("one", "two"):
        (package / name).symlink_to(".")
    (package / "three").symlink_to("/")
    (package / "four").symlink_to("four")


PACKAGE = "usr/lib/overlay-generator/overlay_generator"
BOMBS: "dict[str, tuple[Callable[[Path], object], list[str]]]" = {
    "gzip": (
        lambda root: put(root, "boot/config-6", gzip.compress(bytes(1 << 30))),
        ["/boot/config-6"],
    ),
    "a kernel's configuration": (lambda root: put(root, "boot/config-6", b"x" * (40 << 20)), ["/boot/config-6"]),
    "a unit of many lines": (
        lambda root: put(root, "usr/lib/systemd/system/a.service", b"[Unit]\n" + b"After=a\n" * 1_000_000),
        ["/usr/lib/systemd/system/a.service"],
    ),
    "a unit as large as can be": (
        lambda root: put(root, "usr/lib/systemd/system/a.service", b"[Unit]\n" + b"After=a\n" * 131_000), [],
    ),
    "a unit of joined lines": (
        lambda root: put(root, "usr/lib/systemd/system/a.service", b"[Unit]\nAfter=" + b"a\\\n" * 300_000), [],
    ),
    "a chain of units": (
        lambda root: [
            put(root, f"usr/lib/systemd/system/u{number}.target", b"[Unit]\nAfter=u%d.target\n" % (number + 1))
            for number in range(3000)
        ],
        [],
    ),
    "a drop-in": (
        lambda root: [
            put(root, "usr/lib/systemd/system/a.service", b"[Unit]\nDefaultDependencies=no\n"),
            put(root, "etc/systemd/system/a.service.d/x.conf", b"[Unit]\n" + b"After=a\n" * 1_000_000),
        ],
        ["/etc/systemd/system/a.service.d/x.conf"],
    ),
    "a source that can't be parsed": (lambda root: put(root, f"{PACKAGE}/a.py", b"x = " + b"1+" * 60_000 + b"1\n"), []),
    "brackets": (lambda root: put(root, f"{PACKAGE}/a.py", b"(" * 100_000), []),
    "a source that is too large": (
        lambda root: put(root, f"{PACKAGE}/a.py", b"x = [" + b"1," * (8 << 20) + b"]\n"),
        [f"/{PACKAGE}/a.py"],
    ),
    "a source of zeros": (lambda root: put(root, f"{PACKAGE}/a.py", bytes(1000)), []),
    "circles": (fill_with_circles, []),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_check_ends(name: str, root: Path) -> None:
    make, too_large = BOMBS[name]
    make(root)
    found = check(root)
    assert found.get("too-large", []) == too_large
    # And the rest was looked at.
    assert "machine-id-missing" in found


def test_what_is_not_read_is_said_once(root: Path) -> None:
    put(root, "boot/config-6", b"x" * (40 << 20))
    done = run_command("check", "--root", str(root), "--cmdline", "overlayfs.mounts=/var")
    lines = [line for line in done.stdout.splitlines() if "too-large" in line]
    assert lines == ["/boot/config-6: note: has more than 16.0 MiB, and was not read [too-large]"]


@pytest.mark.parametrize("path", [
    "etc/overlay-generator.conf", "etc/fstab", "proc/self/mountinfo", "proc/cmdline", "usr/lib/modules/6.9/modules.dep",
    "usr/lib/modules/6.9/modules.builtin", "usr/lib/systemd/system/docker.service",
])  # fmt: skip
@pytest.mark.parametrize("content", ["zeros", "lines of zeros", "bytes that are no text"])
def test_a_large_file_of_nothing(path: str, content: str, root: Path, run: Run) -> None:
    """Of more than 16 MiB, which are the most that is read."""
    data = {"zeros": b"\0" * (16 << 20), "lines of zeros": b"\0" * 999 + b"\n", "bytes that are no text": b"\xff"}[
        content
    ]
    put(root, path, data * ((16 << 20) // len(data)))
    words = ["--root", str(root)] + ([] if path == "proc/cmdline" else ["--cmdline", "overlayfs.mounts=/var"])
    done = run(*words, "--print", preexec_fn=limit)
    assert done.returncode in (0, 1), done.stderr[-1000:]
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 1 << 20
    printed = run_command("check", *words, preexec_fn=limit)
    assert printed.returncode == 1, printed.stderr[-1000:]
    assert printed.stderr == ""
    assert len(printed.stdout) < 1 << 20


def test_the_limits_are_there(root: Path) -> None:
    """The control: a process that takes more is stopped."""
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(["python3", "-c", "bytes(2 << 30)"], preexec_fn=limit, check=True, stderr=subprocess.DEVNULL)
    assert os.path.isdir(root)
