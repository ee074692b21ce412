# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The update does what preview said before: random histories over each kind of image and policy.

HISTORIES in the environment says how many random histories each of them gets (`make fuzz`: 500).
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from product import REPOSITORY

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

KINDS = ("squashfs", "erofs-random", "erofs-fixed", "erofs-null", "ext4-random", "ext4-fixed")
POLICIES = ("keep", "refresh", "prune", "reset")
# Each policy over each kind of image where there is time for it.
EVERY = [f"{kind}:{policy}" for kind in KINDS for policy in POLICIES]
SOME = [
    "squashfs:keep",
    "squashfs:refresh",
    "squashfs:prune",
    "squashfs:reset",
    "erofs-random:keep",
    "ext4-fixed:prune",
]
# With Rollback=yes, over the stories of rollbackhistory.py: step back, fold and freeze.
EVERY_BACK = [
    (f"{kind}:{policy}", story)
    for kind in ("squashfs", "erofs-random", "ext4-random")
    for policy in POLICIES
    for story in ("third", "confirmed")
]
SOME_BACK = [
    ("squashfs:keep", "third"),
    ("squashfs:refresh", "confirmed"),
    ("erofs-random:prune", "third"),
    ("ext4-random:reset", "confirmed"),
]
HISTORIES = os.environ.get("HISTORIES", "")


def _compare(
    kind: str, histories: str, *words: str, script: str = "previewtruth.py"
) -> "tuple[int, int, dict[str, int], str]":
    """How many histories were run, how many differed, how often each kind was found, and what differed."""
    tool = "mksquashfs" if kind.startswith("squashfs") else f"mkfs.{kind.partition('-')[0]}"
    if not shutil.which(tool):
        assert not os.environ.get("CI"), f"{tool} is not installed"
        pytest.skip(f"{tool} is not installed")
    path = REPOSITORY / "tests/support" / script
    command = ["unshare", "-m", "--propagation", "private", sys.executable, path, kind, histories, "1", *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, differing, kinds = done.stdout.split(maxsplit=2)
    text = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("<"))
    return int(count), int(differing), json.loads(kinds), text


@pytest.mark.parametrize("kind", EVERY if HISTORIES else SOME)
def test_what_is_said_is_what_is_done(kind: str) -> None:
    count, differing, kinds, text = _compare(kind, HISTORIES or "12")
    assert count == int(HISTORIES or "12")
    assert differing == 0, text
    assert sum(kinds.values()) > 0


@pytest.mark.parametrize(("kind", "story"), EVERY_BACK if HISTORIES else SOME_BACK)
def test_what_is_said_with_something_frozen_is_what_is_done(kind: str, story: str) -> None:
    count, differing, kinds, text = _compare(kind, HISTORIES or "8", story, script="previewrollback.py")
    assert count == int(HISTORIES or "8")
    assert differing == 0, text
    assert kinds.get("undone", 0) > 0 or story == "confirmed"


def test_what_is_not_said_of_what_is_frozen_is_noticed() -> None:
    """The control of that."""
    _, differing, _, text = _compare("squashfs:keep", "8", "third", "forget", script="previewrollback.py")
    assert differing > 0
    assert "done and not said" in text


def test_what_is_not_said_is_noticed() -> None:
    """The control: one finding is left out of each list."""
    _, differing, _, text = _compare("squashfs:keep", "10", "forget")
    assert differing > 0
    assert "done and not said" in text
