# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `overlayctl render` says of updates: over which images an upper layer is safe without being made fit for them.

The histories are those of tests/support/imagechange.py, with the options that static units have and nothing
normalised.
"""

import os
import shutil
import subprocess
import sys

import pytest

from product import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

SCRIPT = REPOSITORY / "tests/support/imagechange.py"
HISTORIES = os.environ.get("HISTORIES", "20")


def find_differences(kind: str, histories: str) -> "list[str]":
    """The differences from what the layers say, a line for each; the histories are the same each time."""
    tool = "mksquashfs" if kind == "squashfs" else f"mkfs.{kind.partition('-')[0]}"
    if not shutil.which(tool):
        assert not os.environ.get("CI"), f"{tool} is not installed"
        pytest.skip(f"{tool} is not installed")
    command = ["unshare", "-m", "--propagation", "private", sys.executable, str(SCRIPT), kind, histories, "1010"]
    done = subprocess.run([*command, "keep-references"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == histories
    return [line for line in done.stderr.splitlines() if not line.startswith("<")]


def is_hidden(difference: str) -> bool:
    """True for what is new in the second image, `b`, and hidden by a directory that was removed and made again."""
    new = "('file'" not in difference or "'b " in difference
    return difference.endswith(" became None") and new and "user" not in difference


@pytest.mark.parametrize("kind", ["squashfs", "erofs-random", "erofs-null", "ext4-random"])
def test_no_file_shows_the_content_of_another(kind: str) -> None:
    assert [line for line in find_differences(kind, HISTORIES) if not is_hidden(line)] == []


def test_with_a_fixed_uuid_files_are_mixed_up() -> None:
    """Which is why render warns, and the control of the test above."""
    assert [line for line in find_differences("ext4-fixed", "40") if not is_hidden(line)]
