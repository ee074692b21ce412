# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether what overlayctl preview says of an update is what the update does: run by test_truth.py, or by hand.

    unshare -m python3 previewtruth.py KIND HISTORIES SEED [forget]

The histories are those of imagechange.py: two random images, a user at work in the overlay over the first, and then the
overlay over the second, prepared as at a boot. Before that the command itself is asked; what it lists is compared with
what the two views and the two images show, with no look at the layers but for where the user has been, and with the
file `dropped`. The command is given the new image as a file or as a tree, and the old one as either, by turns. With
`forget` one finding of each list is left out: the differences are then the proof that this test notices them. Prints
the number of histories, of those that differ, and of findings by their kinds.
"""

import contextlib
import io
import json
import posix
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "generator"))
import imagechange
from imagechange import View
from overlayctl import main as command

FORGET = "forget" in sys.argv
Found = set[tuple[str, str]]
# Of the old image and the new one.
FORMS = (("tree", "image"), ("tree", "tree"), ("image", "image"), ("image", "tree"))


def main() -> int:
    """0 after printing `histories differing` and the kinds."""
    (kind, _, policy), count, seed = sys.argv[1].partition(":"), int(sys.argv[2]), int(sys.argv[3])
    # Nothing here is about power cuts, and sync(2) waits for all disks of the machine.
    posix.sync = posix.fsync = lambda *_: None  # type: ignore[assignment]
    differing = 0
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        imagechange.run("mount", "-t", "tmpfs", "-o", "size=512M", "tmpfs", top)
        try:
            for number in range(seed, seed + count):
                differing += not run_history(top, kind, policy or "keep", number, kinds)
        finally:
            imagechange.run("umount", top)
    print(count, differing, json.dumps(kinds))
    return 0


def run_history(top: Path, kind: str, policy: str, number: int, kinds: "Counter[str]") -> bool:
    """True if every step of a history is what was said before it, else it is told on stderr."""
    chance = random.Random(number)
    for name in ("a", "b", "at", "base"):
        shutil.rmtree(top / name, ignore_errors=True)
        (top / name).mkdir()
    imagechange.fill(top / "a", chance)
    shutil.copytree(top / "a", top / "b", symlinks=True, dirs_exist_ok=True)
    for _ in range(chance.randint(1, 12)):
        imagechange.change(top / "b", chance, "b")
    (top / "b/version").write_text(f"{chance.random()}")
    before: list[View] = []

    def use() -> None:
        imagechange.work(top, chance)
        before.append(imagechange.read_tree(top / "at"))

    imagechange.with_image(top, kind, policy, "a", use)
    right = follow(top, kind, policy, ("a", "b"), before[-1], number, kinds)
    if chance.random() < 0.5:
        # Back again, after some more work over the second image.
        imagechange.with_image(top, kind, policy, "b", use)
        right &= follow(top, kind, policy, ("b", "a"), before[-1], number, kinds)
    return right


def follow(
    top: Path, kind: str, policy: str, trees: "tuple[str, str]", before: View, number: int, kinds: "Counter[str]"
) -> bool:
    """True if the step from the image of the one of `trees` to that of the other was foretold."""
    old, new = (imagechange.read_tree(top / tree) for tree in trees)
    upper = imagechange.read_upper(top / "base/upper")
    said = preview(top, kind, policy, trees, FORMS[number % len(FORMS)])
    logged = read_log(top)
    after: list[View] = []
    imagechange.with_image(top, kind, policy, trees[1], lambda: after.append(imagechange.read_tree(top / "at")))
    more = read_log(top)[len(logged) :]
    done = judge(policy, upper, old, new, before, after[0])
    said, done = add_listed(top, policy, upper, said, done, more)
    kinds.update(what for what, _ in said)
    for what, path in sorted(said ^ done):
        word = "said and not done" if (what, path) in said else "done and not said"
        views = [view.get(path) for view in (upper, old, new, before, after[0])]
        print(f"{kind}:{policy} {number} {trees[1]}: {word}: {what} {path}: {views}", file=sys.stderr)
    return said == done


def read_log(top: Path) -> str:
    """The file `dropped`."""
    log = top / "base/dropped"
    return log.read_text() if log.exists() else ""


def add_listed(top: Path, policy: str, upper: View, said: Found, done: Found, more: str) -> "tuple[Found, Found]":
    """What was said and done, with `more` that is in the file `dropped` now."""
    if policy in ("prune", "refresh"):
        lines = [line for line in more.splitlines() if line[0] != "#"]
        listed = {line.removeprefix("deleted ")[len(str(top / "at")) + 1 :] for line in lines}
        said_listed = {path for what, path in said if what in ("dropped", "follows") and not is_directory(upper, path)}
        done |= {("listed", path) for path in listed}
        said |= {("listed", path) for path in said_listed}
        # What goes shows in the views only where that changes anything; the list has all of it.
        done = {one for one in done if one[0] not in ("dropped", "follows") or is_directory(upper, one[1])}
        said = {one for one in said if one[0] not in ("dropped", "follows") or is_directory(upper, one[1])}
    return said, done


def preview(top: Path, kind: str, policy: str, trees: "tuple[str, str]", forms: "tuple[str, str]") -> Found:
    """What the command lists, with the old and the new image each in one of `forms`."""
    given = [top / tree for tree in trees]
    for at, form in enumerate(forms):
        if form == "image":
            given[at] = top / f"given-{at}"
            given[at].unlink(missing_ok=True)
            imagechange.make_image(kind, top / trees[at], given[at], trees[at])
    return ask(top, policy, given[1], given[0])


def ask(top: Path, policy: str, new: Path, old: Path) -> Found:
    """The same for images that are there."""
    words = ["preview", new, "--json", "--upper", top / "base/upper", "--old", old, "--where", "/"]
    words += ["--policy", policy]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = command.main([str(word) for word in words])
    assert (status, err.getvalue()) == (0, ""), err.getvalue()
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    summary = found.pop()
    assert summary["asked"] == policy, summary
    assert summary["policy"] == ("keep" if summary["rollback"] == "back" else policy), summary
    said = {(one["kind"], one["path"].lstrip("/")) for one in found if one["kind"] not in ("space", "owner")}
    if FORGET and said:
        said.remove(min(said))
    # The top has no entry in the views, and lost+found is mkfs.ext4's.
    return {one for one in said if one[1] and not one[1].startswith("lost+found")}


def judge(policy: str, upper: View, old: View, new: View, before: View, after: View) -> Found:
    """What the update has done, by what was seen before and after it and what the two images have."""
    found: Found = set()
    for path in before.keys() | after.keys() | new.keys() | upper.keys():
        own, was, is_now, here, comes = (view.get(path) for view in (upper, old, new, before, after))
        mine = own is not None and own[0] != "whiteout"
        if in_hiding(upper, path) and path not in upper and comes is not None and is_top(upper, path):
            found.add(("shown", path))
        if own is not None and own[-1] == "opaque" and is_opened(policy, upper, new, after, path):
            found.add(("opened", path))
        if mine and here is not None and goes(policy, here, comes, new.get(path)):
            same = is_directory(upper, path) and is_directory(new, path)
            found.add(("follows" if policy == "refresh" or same else "dropped", path))
        elif mine and here == comes and here is not None and comes is not None:
            if is_now is None:
                if was is not None and is_image_directory(new, path):
                    found.add(("gone", path))
            elif is_now != comes and has_news(old, new, path, deep=is_now[0] != comes[0]):
                found.add(("hidden" if is_now[0] == comes[0] else "clash", path))
        elif comes is None and is_now is not None and is_hidden_top(after, new, path):
            found |= {("deleted", path)} if has_news(old, new, path, deep=True) else set()
        if policy == "reset" and own == ("whiteout",) and is_now is not None:
            found.add(("dropped", path))
    return found


def goes(policy: str, here: "tuple[object, ...]", comes: object, is_now: object) -> bool:
    """True for what the upper layer has and the view shows no longer, or as the new image has it."""
    if policy == "reset" and here[0] != "directory":
        return True
    return comes != here and (comes == is_now or here[0] == "directory")


def is_directory(view: View, path: str) -> bool:
    return view.get(path, ("",))[0] == "directory"


def parent(path: str) -> str:
    return path.rpartition("/")[0]


def is_image_directory(view: View, path: str) -> bool:
    """True if the image has the directory that `path` is in."""
    above = parent(path)
    return not above or is_directory(view, above)


def in_hiding(upper: View, path: str) -> bool:
    """True if a directory of the upper layer above `path` hides the image's."""
    above = parent(path)
    while above:
        if upper.get(above, ("",))[-1] == "opaque":
            return True
        above = parent(above)
    return False


def is_top(upper: View, path: str) -> bool:
    """True if the directory that `path` is in is the upper layer's.

    A file that was dropped for a directory of the image is none: what is in that one comes with it.
    """
    above = parent(path)
    return not above or is_directory(upper, above)


def is_hidden_top(after: View, new: View, path: str) -> bool:
    """True if the image's `path` is not seen, and the directory that it is in is."""
    above = parent(path)
    return (not above or is_directory(after, above)) and is_image_directory(new, path)


def is_opened(policy: str, upper: View, new: View, after: View, path: str) -> bool:
    """True if the image's directory shows there in part."""
    if policy == "reset" or not is_directory(new, path) or not is_directory(after, path):
        return False
    if policy == "prune":
        return True
    start = f"{path}/"
    return any(one.startswith(start) and one not in upper and one in new for one in after)


def has_news(old: View, new: View, path: str, deep: bool) -> bool:
    """True if the new image has there, or with `deep` anywhere below, what the old one had not."""
    if old.get(path) != new.get(path):
        return True
    start = f"{path}/"
    below = [{key: what for key, what in view.items() if key.startswith(start)} for view in (old, new)]
    return deep and below[0] != below[1]


if __name__ == "__main__":
    sys.exit(main())
