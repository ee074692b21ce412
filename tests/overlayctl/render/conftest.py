# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The installed verb, for every test of it."""

import subprocess
from pathlib import Path

import pytest

from product import ENVIRON
from rendering import Render, Result


@pytest.fixture
def render(prefix: Path) -> Render:
    """render(*arguments): the installed command's verb with a clean environment."""

    def render_it(*arguments: "str | Path", **options: object) -> Result:
        command = [str(prefix / "bin/overlayctl"), "render", *map(str, arguments)]
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            command, env=ENVIRON, capture_output=True, text=True, timeout=60, check=False, **options
        )

    return render_it
