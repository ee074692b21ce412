# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A persistent /var over changing images: nothing of the user's is lost, and no file shows another one's content.

HISTORIES in the environment says how many random histories each kind of image gets (`make fuzz`: 500).
"""

import os
import shutil
import subprocess
import sys

import pytest

from product import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

KINDS = ("squashfs", "erofs-random", "erofs-fixed", "erofs-null", "ext4-random", "ext4-fixed")
POLICIES = ("squashfs:prune", "squashfs:refresh", "squashfs:reset", "ext4-fixed:refresh")
HISTORIES = os.environ.get("HISTORIES", "20")


def _fuzz(kind: str, histories: str, *words: str) -> "tuple[int, int, str]":
    """How many histories were run, how many differed, and what was said of these."""
    tool = "mksquashfs" if kind.startswith("squashfs") else f"mkfs.{kind.partition('-')[0]}"
    if not shutil.which(tool):
        assert not os.environ.get("CI"), f"{tool} is not installed"
        pytest.skip(f"{tool} is not installed")
    script = REPOSITORY / "tests/support/imagechange.py"
    command = ["unshare", "-m", "--propagation", "private", sys.executable, str(script), kind, histories, "1", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, differing = done.stdout.split()
    return int(count), int(differing), "\n".join(line for line in done.stderr.splitlines() if not line.startswith("<"))


@pytest.mark.parametrize("kind", (*KINDS, *POLICIES))
def test_what_the_layers_say_is_what_is_shown(kind: str) -> None:
    count, differing, text = _fuzz(kind, HISTORIES)
    assert count == int(HISTORIES)
    assert differing == 0, text


def test_references_that_are_kept_are_noticed() -> None:
    """The control: with a UUID that never changes, an upper layer that is not normalised shows wrong files."""
    _, differing, text = _fuzz("ext4-fixed", "40", "keep-references")
    assert differing > 0
    assert "Stale file handle" in text or "became" in text
