# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The product that is tested: where it is, how it is run, what a test waits for, and what this machine can't do."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SYSTEM_PYTHON = "/usr/bin/python3"

# The whole environment of a run: nothing of the developer's shell gets in.
ENVIRON = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "0"}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def skip_without_mount_namespace() -> None:
    """Skip the test, aloud, where no process may have mounts of its own."""
    try:
        allowed = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("no mount namespace of one's own is allowed here")


def wait_for(path: Path, gone: bool = False) -> None:
    """Wait until `path` is there, or gone: what prepare leaves to a process that nobody waits for."""
    deadline = time.monotonic() + 30
    while path.exists() is gone:
        assert time.monotonic() < deadline, path
        time.sleep(0.01)
