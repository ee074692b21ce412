#!/usr/bin/env python3
# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run the tests that start no program under Pythons of other architectures: 32 bits, big-endian, other numbers.

Exit status: 0 when all passed on each, 1 when one did not, 2 when something could not be run.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "boot"))
from cache import cache_root, key_of, locked, staging
from debian import NOT_INSTALLED, apt_options, host_mirror
from steps import StepFailed, missing_tools, run_step

REPOSITORY = Path(__file__).resolve().parents[2]
# Nothing is configured, as that would run programs of the architecture.
PACKAGES = (
    "base-files", "python3", "python3-psutil", "python3-pyudev", "python3-jsonschema", "python3-prometheus-client",
    "base-passwd", "dash", "coreutils",
)  # fmt: skip
# Newer than Debian's, and in plain Python: packages with a compiled part are left out.
PLAIN = ("pytest", "hypothesis", "pyfakefs")
PIP = (
    "-m", "pip", "install", "--quiet", "--no-compile", "--only-binary=:all:", "--platform=any", "--implementation=py",
    "--abi=none",
)  # fmt: skip
PLAIN_DIR = "opt/plain"
# The repository is seen read-only, /tmp is memory: what is left behind goes with the namespace. The emulator is called
# by its path, so nothing has to be registered with the kernel (binfmt_misc); twice, as env starts Python itself.
INSIDE = """set -e
tree=$1 repository=$2 emulator=$3
shift 3
mkdir -p "$tree/srv" "$tree/proc" "$tree/dev" "$tree/tmp"
mount --bind "$repository" "$tree/srv"
mount -o remount,bind,ro "$tree/srv"
mount -t proc proc "$tree/proc"
mount --bind /dev "$tree/dev"
mount --bind /dev/pts "$tree/dev/pts"
mount -t tmpfs -o mode=1777,size=6G tmpfs "$tree/tmp"
cp "$emulator" "$tree/tmp/emulator"
exec chroot "$tree" /tmp/emulator /usr/bin/env -i -C /srv PATH=/usr/bin:/bin HOME=/tmp LC_ALL=C.UTF-8 \
    PYTEST_ADDOPTS="${PYTEST_ADDOPTS-}" \
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/opt/plain:tests/foreign /tmp/emulator "$@"
"""
PYTEST = ("/usr/bin/python3", "-m", "pytest", "-p", "noprograms", "-p", "no:cacheprovider", "-q", "-r", "fE")
# They start programs all the time, or look at files that no architecture changes.
NOT_RUN = ("tests/packaging", "tests/test_lint.py", "tests/boot", "tests/bench")
# If fewer were run, most were skipped for a reason that nobody looked at.
LEAST = 1500
INSTALL_SECONDS = 3600


@dataclass(frozen=True)
class Foreign:
    """A Debian of another architecture: its suite, what QEMU calls it, and what it stands for."""

    suite: str
    qemu: str
    about: str


FOREIGN = {
    "armhf": Foreign("trixie", "arm", "32 bits, with 64 bits for a time"),
    "arm64": Foreign("trixie", "aarch64", "64 bits"),
    # Not trixie: its mirror is incomplete.
    "s390x": Foreign("bookworm", "s390x", "big-endian"),
    # The last suite that has it.
    "mipsel": Foreign("bookworm", "mipsel", "32 bits for a time, and other numbers of errors than all others"),
}


def main(argv: Sequence[str]) -> int:
    """Run what the command line asks for and return the exit status."""
    parser = argparse.ArgumentParser(prog="check.py", description="Run tests under Pythons of other architectures.")
    add = parser.add_argument
    about = "; ".join(f"{name}: {item.about}" for name, item in FOREIGN.items())
    add("architecture", nargs="*", metavar="ARCHITECTURE", help=f"which (default: s390x armhf); {about}")
    add("--mirror", metavar="URL", help="Debian mirror (default: that of the host)")
    add("--tests", nargs="+", metavar="PATH", help="only these (default: all that start no program)")
    arguments = parser.parse_args(argv)
    names = arguments.architecture or ["s390x", "armhf"]
    if unknown := [name for name in names if name not in FOREIGN]:
        return _give_up(f"no such architecture: {', '.join(unknown)}; there are {', '.join(FOREIGN)}")
    if os.geteuid() != 0:
        return _give_up("the trees are built as root, and this is not root")
    emulators = [f"qemu-{FOREIGN[name].qemu}-static" for name in names]
    if missing := missing_tools(["mmdebstrap", "arch-test", "unshare", *emulators]):
        return _give_up(f"not installed: {', '.join(missing)}; tests/needs machines does it")
    passed = True
    for name, emulator in zip(names, emulators):
        try:
            tree = build_tree(name, cache_root(), arguments.mirror or host_mirror())
        except StepFailed as error:
            return _give_up(str(error))
        print(f"{name}: {FOREIGN[name].about} (Debian {FOREIGN[name].suite})", flush=True)
        passed = _run(tree, shutil.which(emulator) or "", arguments.tests) and passed
    return 0 if passed else 1


def build_tree(name: str, root: Path, mirror: str | None) -> Path:
    """Return a tree with the Python of an architecture and what the tests import, built if the cache has none.

    Raises StepFailed.
    """
    suite = FOREIGN[name].suite
    target = root / "foreign" / f"{suite}-{name}-{key_of([*PACKAGES, *PLAIN, *PIP, mirror or ''])}"
    with locked(root / "foreign"):
        if not target.exists():
            log = root / "logs" / f"foreign-{name}.log"
            log.unlink(missing_ok=True)
            with staging(target) as work:
                options = [f"--dpkgopt=path-exclude={pattern}" for pattern in NOT_INSTALLED] + apt_options()
                words = ["mmdebstrap", "--mode=root", "--variant=extract", f"--architectures={name}"]
                words += [f"--include={','.join(PACKAGES)}", "--format=directory", *options, suite, str(work / "tree")]
                run_step("unpack Debian", [*words, *([mirror] if mirror else [])], log, timeout=INSTALL_SECONDS)
                (python,) = (work / "tree/usr/bin").glob("python3.*")
                version = f"--python-version={python.name[len('python') :]}"
                target_dir = work / "tree" / PLAIN_DIR
                run_step("install pytest", [sys.executable, *PIP, version, f"--target={target_dir}", *PLAIN], log)
                for kind in ("passwd", "group"):
                    shutil.copy2(work / f"tree/usr/share/base-passwd/{kind}.master", work / f"tree/etc/{kind}")
    return target / "tree"


def _run(tree: Path, emulator: str, tests: Sequence[str] | None) -> bool:
    """Run the tests and show their output; return whether all passed, and enough of them were run."""
    chosen = list(tests) if tests else ["tests", *(f"--ignore={path}" for path in NOT_RUN)]
    words = ["unshare", "--mount", "sh", "-c", INSIDE, "sh", str(tree), str(REPOSITORY), emulator, *PYTEST, *chosen]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, errors="replace")
    assert process.stdout is not None
    line = ""
    for line in process.stdout:
        print(line, end="", flush=True)
    count = re.search(r"(\d+) passed", line)
    few = not tests and (count is None or int(count[1]) < LEAST)
    if few:
        print(f"check.py: fewer than {LEAST} tests ran", file=sys.stderr)
    return process.wait() == 0 and not few


def _give_up(text: str) -> int:
    print(f"check.py: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
