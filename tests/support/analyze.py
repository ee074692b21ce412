# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What systemd-analyze(1) says of units."""

import shutil
import subprocess
from pathlib import Path

import pytest

from product import ENVIRON


def verify(units: Path) -> "list[str]":
    """What systemd-analyze complains about in the units of the directory, without others that they pull in."""
    tool = shutil.which("systemd-analyze")
    if not tool:
        pytest.skip("systemd-analyze is not installed")
    names = sorted(path.name for path in units.iterdir() if path.is_file())
    environ = {**ENVIRON, "SYSTEMD_UNIT_PATH": f"{units}:", "SYSTEMD_LOG_TARGET": "console", "LC_ALL": "C.UTF-8"}
    command = [tool, "verify", "--man=no", *(str(units / name) for name in names)]
    result = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
    return [line for line in result.stderr.splitlines() if any(name in line for name in (*names, str(units)))]
