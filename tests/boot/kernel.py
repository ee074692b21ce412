# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Build the smallest kernel that boots the test images: for machines with little memory, overlayfs built in.

Debian's kernels can't unpack themselves in 64 MB, and all of them have overlayfs as a module.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from cache import key_of, locked, staging
from steps import StepFailed, run_step

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "kernel.config"
# One for all suites: it stands for a device's kernel, not for that of a suite.
SUITE = "trixie"
FETCH_SOURCE = """set -e
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
package=$(apt-cache depends linux-source | sed -nE 's/.*Depends: (linux-source-[0-9.]+)$/\\1/p' | head -n 1)
apt-get -o APT::Sandbox::User=root download "$package"
"""
# Beside headers of libelf, which the build itself looks for.
TOOLS = ("gcc", "flex", "bison", "bc", "tar", "xz")
# A kernel of this size takes a few minutes on two processors, much longer on two that have other work.
SECONDS = 3600


def build_kernel(root: Path, mirror: str | None, apt_options: list[str]) -> Path:
    """Return the kernel's image, built if the cache has none; apt_options are words for mmdebstrap.

    Raises StepFailed when a step of the build goes wrong.
    """
    key = key_of([SUITE, mirror or "", CONFIG.read_bytes(), Path(__file__).read_bytes()])
    target = root / "kernel" / key
    # A lock of its own: images of other machines are built meanwhile.
    with locked(root / "kernel"):
        if not target.exists():
            log = root / "logs" / "kernel.log"
            log.unlink(missing_ok=True)
            try:
                with staging(target) as work:
                    _build(mirror, apt_options, work, log)
            except OSError as error:
                raise StepFailed(f"step 'put the kernel together': {error}; log: {log}") from error
    return target / "vmlinuz"


def _build(mirror: str | None, apt_options: list[str], work: Path, log: Path) -> None:
    package, source = work / "package", work / "source"
    package.mkdir()
    source.mkdir()
    hook = f"--customize-hook=cd {shlex.quote(str(package))} && {FETCH_SOURCE}"
    # Nothing is installed: this is only to read the suite's list of packages.
    words = ["mmdebstrap", "--mode=root", "--variant=custom", "--format=null", *apt_options, hook, SUITE, "-"]
    run_step("fetch the kernel's source", [*words, *([mirror] if mirror else [])], log)
    for archive in package.glob("*.deb"):
        run_step("unpack the kernel's source", ["dpkg-deb", "-x", archive, package], log)
    for archive in package.glob("usr/src/linux-source-*.tar.xz"):
        run_step("unpack the kernel's source", ["tar", "-xf", archive, "-C", source, "--strip-components=1"], log)
    make: list[str | Path] = ["make", "-s", "-C", source]
    run_step("configure the kernel", [*make, "tinyconfig"], log)
    run_step("configure the kernel", ["scripts/kconfig/merge_config.sh", "-m", ".config", CONFIG], log, cwd=source)
    run_step("configure the kernel", [*make, "olddefconfig"], log)
    chosen = (source / ".config").read_text().splitlines()
    lost = [line for line in CONFIG.read_text().splitlines() if line.startswith("CONFIG_") and line not in chosen]
    if lost:
        raise StepFailed(f"step 'configure the kernel': this source has not, or not on its own: {', '.join(lost)}")
    run_step("build the kernel", [*make, f"-j{os.cpu_count() or 1}", "bzImage"], log, timeout=SECONDS)
    (source / "arch/x86/boot/bzImage").rename(work / "vmlinuz")
    run_step("tidy up", ["rm", "-rf", package, source], log)
