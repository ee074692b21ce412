# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether what overlayctl preview says of an update is what the update does, with Rollback=yes: run by test_truth.py,
or by hand.

    unshare -m python3 previewrollback.py KIND HISTORIES SEED STORY [forget]

The histories are those of rollbackhistory.py, where the upper layer is frozen, folded, and steps back. The command is
asked before each boot of another image; of a step back it has to list all that was written since the update, of every
other one what previewtruth.py sees in the views. Prints the number of histories, of those that differ, and of findings
by their kinds.
"""

import json
import posix
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "generator"))
import imagechange
import previewtruth
from imagechange import View
from overlay_generator.model import Settings
from overlay_prepare import fitness
from overlayctl.preview import update
from rollbackhistory import STORIES, History, combine, simplify


def main() -> int:
    """0 after printing `histories differing` and the kinds."""
    (kind, _, policy), count, seed, story = sys.argv[1].partition(":"), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    # See rollbackhistory.py.
    posix.sync = posix.fsync = lambda *_: None  # type: ignore[assignment]
    fitness.probe = lambda *_: None
    # What the images' configuration has; a file would be one of those that the histories change.
    vars(update)["read_configuration"] = lambda _root: ({"/": Settings(rollback="yes")}, [])
    differing = 0
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        imagechange.run("mount", "-t", "tmpfs", "-o", "size=512M", "tmpfs", top)
        try:
            for number in range(seed, seed + count):
                differing += not Asked(top, kind, policy, number, kinds).run(STORIES[story])
        finally:
            imagechange.run("umount", top)
    print(count, differing, json.dumps(kinds))
    return 0


class Asked(History):
    """A history in which preview is asked before each update."""

    def __init__(self, top: Path, kind: str, policy: str, number: int, kinds: "Counter[str]") -> None:
        super().__init__(top, kind, policy, random.Random(number), number)
        self.kinds = kinds
        self.shown: View = {}

    def boot(self, boots: "list[str]", after: str) -> None:
        """Boot the last of `boots`, as History does."""
        image, before = boots[-1], boots[-2] if len(boots) > 1 else boots[-1]
        if image == before or after == "!":
            super().boot(boots, after)
            return
        upper = imagechange.read_upper(self.base / "upper")
        whole = combine(upper, imagechange.read_upper(self.base / "frozen/upper"), self.over[before])
        goes_back = len(boots) > 2 and boots[-3] == image and not (self.base / "commit").exists()
        # A tree does not tell which image it is.
        new = self.make_image(image) if goes_back or self.number % 2 else self.top / image
        said = previewtruth.ask(self.top, self.policy, new, self.top / before)
        view, logged = simplify(self.last[before]), previewtruth.read_log(self.top)
        super().boot(boots, after)
        if goes_back:
            done = {("undone", path) for path in upper if not previewtruth.is_directory(upper, path)}
        else:
            old, new_tree = (imagechange.read_tree(self.top / tree) for tree in (before, image))
            done = previewtruth.judge(self.policy, whole, old, new_tree, view, self.shown)
            more = previewtruth.read_log(self.top)[len(logged) :]
            said, done = previewtruth.add_listed(self.top, self.policy, whole, said, done, more)
        self.kinds.update(what for what, _ in said)
        for what, path in sorted(said ^ done):
            self.right = False
            word = "said and not done" if (what, path) in said else "done and not said"
            views = [one.get(path) for one in (whole, view, self.shown)]
            print(f"{self.kind}:{self.policy} {self.number} {boots}: {word}: {what} {path}: {views}", file=sys.stderr)

    def with_image(self, tree: str, keep_newer: bool, look: object) -> None:
        """Keep what is shown first."""
        assert callable(look)

        def both() -> None:
            self.shown = imagechange.read_tree(self.at)
            look()

        super().with_image(tree, keep_newer, both)


if __name__ == "__main__":
    sys.exit(main())
