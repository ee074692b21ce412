# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rollback=yes over random histories: a step back shows what there was, to the byte, and a fold changes nothing.

HISTORIES in the environment says how many random histories each kind and story gets (`make fuzz`: 500).
"""

import os
import shutil
import subprocess
import sys

import pytest

from product import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

HISTORIES = os.environ.get("HISTORIES", "6")
EVERY = int(HISTORIES) >= 500
FILE_SYSTEMS = ("squashfs", "erofs-fixed", "ext4-fixed")
KINDS = [f"{name}{policy}" for name in FILE_SYSTEMS for policy in ("", ":refresh", ":prune", ":reset")]
# One image is enough for a policy, and one policy for an image, where nobody has an hour.
CHOSEN = KINDS if EVERY else ["squashfs", "squashfs:refresh", "erofs-fixed:prune", "ext4-fixed", "ext4-fixed:reset"]


def _run(kind: str, histories: str, story: str, *words: str) -> "tuple[int, int, str]":
    """How many histories were run, how many differed, and what was said of these."""
    tool = "mksquashfs" if kind.startswith("squashfs") else f"mkfs.{kind.partition('-')[0]}"
    if not shutil.which(tool):
        assert not os.environ.get("CI"), f"{tool} is not installed"
        pytest.skip(f"{tool} is not installed")
    script = REPOSITORY / "tests/support/rollbackhistory.py"
    command = ["unshare", "-m", "--propagation", "private", sys.executable, str(script), kind, histories, "1", story]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, differing = done.stdout.split()
    return int(count), int(differing), "\n".join(line for line in done.stderr.splitlines() if not line.startswith("<"))


@pytest.mark.parametrize("kind", CHOSEN)
@pytest.mark.parametrize("story", ["back", "confirmed", "third", "again", "hold"])
def test_what_each_image_shows(story: str, kind: str) -> None:
    count, differing, text = _run(kind, HISTORIES, story)
    assert count == int(HISTORIES)
    assert differing == 0, text


@pytest.mark.parametrize(("story", "word", "histories"), [
    ("back", "write-to-frozen", "20"), ("confirmed", "drop-whiteouts", "20"), ("third", "keep-whiteouts", "60"),
])  # fmt: skip
def test_a_step_that_is_broken_is_noticed(story: str, word: str, histories: str) -> None:
    """The control: a frozen layer that is written to, and whiteouts that a fold drops or keeps without a look."""
    assert _run("squashfs", histories, story, word)[1] > 0
