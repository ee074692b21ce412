# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Trees of Buildroot and OpenEmbedded for whoever has them: `make builders-check` says how to name them."""

import os
from pathlib import Path

import pytest

# Variables of the environment that name the trees.
BUILDROOT, OECORE, BITBAKE, METAOE = "BUILDROOT", "OECORE", "BITBAKE", "METAOE"


def tree(variable: str) -> Path:
    """The directory that the environment variable names. Without one, skips the test and says so."""
    value = os.environ.get(variable, "")
    if not value:
        pytest.skip(f"no tree given: {variable}=/path/to/tree make builders-check")
    path = Path(value).resolve()
    assert path.is_dir(), f"{variable}={value}: there is no such directory"
    return path
