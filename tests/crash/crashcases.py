# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scenarios: what was on a disk, what is done to it while it is recorded, and what each image asks for. Data alone.

A new one is a line in SCENARIOS. Images are called a and b; a user has worked over a, and b is booted for the first
time while the disk is recorded, unless `step` says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# The trees of both images, as tree.fill() takes them.
_BOTH = (
    "same=1",
    "lib/app/two={}",
    "lib/app/gone/x={}",
    "opq/x={}",
    "opq/sub/y={}",
    "store/base={}",
    "store/dir/one={}",
)
IMAGES = {
    "a": ("conf=1", "lib/app/one=1", "link>conf", *(entry.format(1) for entry in _BOTH), "store/only-a=1"),
    "b": (
        "conf=2", "lib/app/one=2", "link>same", *(entry.format(2) for entry in _BOTH), "lib/app/new=2", "opq/new=2",
        "opq/sub/new=2", "own/image=2", "store/dir/two=2", "store/dir/deep/three=2",
        *(f"store/many/{number:02}={'2' * 700 * number}" for number in range(1, 25)),
    ),
}  # fmt: skip

# What the user did over a: a shell script in the overlaid directory.
USE = """
echo mine > conf
chmod 600 same
rm lib/app/two
echo mine > lib/app/one
rm -r lib/app/gone
rm -r opq
mkdir -p opq/sub
echo mine > opq/own
echo mine > opq/sub/own
mkdir -p own/deep
echo mine > own/deep/file
head -c 20000 /dev/zero | tr '\\0' m > own/large
mkdir store/layers
echo mine > store/layers/file
rm store/base
rm -r store/dir
mkdir store/dir
echo mine > store/dir/own
sync
"""


# And over b, where that has been used before the recording.
USE_B = """
echo b > own/deep/file
echo b > late
rm lib/app/one
rm lib/app/new
rm -r store/layers
mkdir store/layers
echo b > store/layers/late
mkdir -p fresh/deep
echo b > fresh/deep/file
sync
"""


@dataclass(frozen=True)
class Scenario:
    """`policy` is both images' Policy=. `passed` are the directories that an image passes through, `staged` the lines
    of a request. `step`: what is recorded, a boot of b, `first` the first boot of all, `stage` a request that is
    staged, `backup` a reset that is staged with a backup. With Rollback=yes: `freeze`, a boot of b; `step-back`, a boot
    of a after b was used, or only booted where it is not `used`; `fold`, a boot of b after that was used and committed.
    """

    name: str
    policy: str = "keep"
    passed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    staged: tuple[str, ...] = ()
    step: str = "boot"
    used: bool = True
    # Why it is known to fail, as long as another part of the product is missing.
    known: str = ""

    @property
    def rollback(self) -> str:
        """Both images' Rollback=."""
        return "yes" if self.step in ("freeze", "step-back", "fold") else "no"

    @property
    def boots(self) -> str:
        """The image that is booted while it is recorded, "" where none is."""
        return {"stage": "", "backup": "", "step-back": "a"}.get(self.step, "b")


_STORE = {"a": ("store",), "b": ("store",)}
SCENARIOS = (
    Scenario("keep"),
    Scenario("refresh", "refresh"),
    Scenario("prune", "prune"),
    Scenario("reset", "reset"),
    Scenario("first", step="first"),
    Scenario("passed", passed=_STORE),
    Scenario("passed-new", passed={"b": ("store",)}),
    Scenario("passed-prune", "prune", passed={"b": ("store",)}),
    Scenario("passed-first", step="first", passed=_STORE),
    Scenario("restore", staged=("path lib/app", "path conf", "path store")),
    Scenario("restore-in-opaque", staged=("path opq/sub/y",)),
    Scenario("empty", staged=("all",)),
    Scenario("empty-but", staged=("all", "keep own/**", "keep lib/app/one")),
    Scenario("empty-passed", passed=_STORE, staged=("all",)),
    Scenario("stage", staged=("path lib/app", "path conf"), step="stage"),
    Scenario("backup", staged=("all",), step="backup"),
    Scenario("freeze", step="freeze"),
    Scenario("freeze-prune", "prune", step="freeze"),
    Scenario("step-back", step="step-back"),
    Scenario("step-back-prune", "prune", step="step-back"),
    Scenario("step-back-unused", step="step-back", used=False),
    Scenario("fold", step="fold"),
)

# Broken copies of the product, each with a scenario that has to notice it, how its disk is written, and the mark of the
# recording around which it shows.
CONTROLS = (
    ("stamp-early", "keep", "commits", ""),
    ("request-early", "restore", "commits", ""),
    ("no-sync", "passed", "commits", "mounted"),
    ("fold-unmarked", "fold", "commits", ""),
)
