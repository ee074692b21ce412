# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small Debian trees to install packages into: fetched once, kept beside the images of the boot tests.

A tree is mmdebstrap's smallest variant with an apt in it, and the packages named, nothing else.
"""

import subprocess
from pathlib import Path

from cache import cache_root, key_of, locked, staging
from debian import MERGE_USR, SPLIT_USR_SUITES, apt_options, host_mirror
from steps import run_step

CACHE = cache_root().with_name("packages")


def make_tree(suite: str, packages: "tuple[str, ...]", where: Path) -> Path:
    """`where`, filled with Debian `suite` and `packages`. Raises StepFailed if it can't be fetched."""
    mirror = host_mirror()
    target = CACHE / f"{suite}-{key_of([suite, mirror or '', *packages])}"
    with locked(CACHE):
        if not target.exists():
            log = CACHE / "logs" / f"{target.name}.log"
            log.unlink(missing_ok=True)
            merge = [f"--setup-hook={MERGE_USR}"] if suite in SPLIT_USR_SUITES else []
            with staging(target) as work:
                run_step(
                    "install Debian",
                    ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(packages)}",
                     "--format=tar", *merge, *apt_options(),
                     suite, work / "tree.tar", *([mirror] if mirror else [])],
                    log,
                )  # fmt: skip
    subprocess.run(["tar", "-xf", target / "tree.tar", "-C", where, "--numeric-owner", "--xattrs"], check=True)
    return where


def enter(tree: Path, script: str, *, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """What came of a shell script in `tree`, where nothing else runs. It fails the test if it fails and `check`."""
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    inside = 'mount -t proc proc "$0/proc" && exec chroot "$0" /bin/sh -euc "$1"'
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "sh", "-c", inside, str(tree), script]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=300)
    if check:
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done


def listing(tree: Path) -> "dict[str, str]":
    """Every path in `tree` with its kind, mode and size, but for what dpkg and apt remember."""
    found = {}
    for path in tree.rglob("*"):
        name = str(path.relative_to(tree))
        if name.startswith(("var/lib/dpkg/", "var/log/", "var/cache/", "proc/", "dev/", "tmp/")):
            continue
        info = path.lstat()
        found[name] = f"{info.st_mode:o} {0 if path.is_dir() else info.st_size}"
    return found
