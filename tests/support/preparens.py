# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the installed prepare program as its unit does, with a file system mounted at the backing directory.

In a mount namespace of its own, with a /run of its own: nothing of the machine is touched.
"""

import subprocess
from pathlib import Path

# The backing directory is bound on itself: a mount point, of the type of the file system that the test runs on.
_SCRIPT = """
set -e
mount -t tmpfs tmpfs /run
# An image with a name: of one without, a policy has something to say.
echo IMAGE_VERSION=1 >/run/os-release
mount --bind /run/os-release /etc/os-release
mount --bind "$1" "$1"
shift
exec "$@"
"""


def run_prepare(
    prefix: Path,
    where: Path,
    backing: Path,
    *words: str,
    options: "tuple[str, ...]" = (),
    before: str = "",
    after: str = "",
) -> "subprocess.CompletedProcess[str]":
    """What prepare did with `words`; the interpreter gets `options`. `before` and `after` are shell scripts."""
    program = prefix / "lib/overlay-generator/prepare"
    words = (f"--mount={backing}", *words, str(where), str(backing))
    command = ["/usr/bin/python3", "-ISB", *options, str(program), *words]
    inner = f'set -e\n{before}\n"$@"\n{after}\n'
    return subprocess.run(
        [
            "unshare",
            "-m",
            "--propagation",
            "private",
            "sh",
            "-c",
            _SCRIPT,
            "sh",
            backing,
            "sh",
            "-c",
            inner,
            "sh",
            *command,
        ],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        check=False,
    )
