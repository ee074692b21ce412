# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

"""Random histories of an upper layer that goes back with its image (Rollback=yes): run by test_rollback_history.py, or
by hand.

    unshare -m python3 rollbackhistory.py KIND HISTORIES SEED STORY [SABOTAGE]

STORY is one of STORIES: which images boot one after the other, and where the newer data are committed. What each boot
shows is compared with what the same image showed at its last moment (a step back: to the byte, with modes, owners,
attributes, links and times), or with a merge of three trees made here without the kernel. KIND is as in imagechange.py.
SABOTAGE breaks one of the steps, to see that this notices. Prints the number of histories and of those that differ.
"""

import ctypes
import os
import posix
import random
import shutil
import stat
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "generator"))
from hold import hold
from imagechange import (
    MAKE,
    View,
    change,
    describe,
    fill,
    list_names,
    merge,
    prune,
    read_tree,
    read_upper,
    refresh,
    run,
    things,
)
from overlay_generator import render
from overlay_prepare import fitness, fold, manifest, persistent, reset, stamp
from overlay_prepare.files import list_attributes
from overlay_prepare.folder import Folder
from overlay_prepare.request import Request

# A boot of each image; "+" commits what is on top before the next one.
STORIES = {"back": "aba", "confirmed": "ab+bc", "third": "abcb", "again": "abaab+b", "hold": "aba!"}
_LIBC = ctypes.CDLL(None, use_errno=True)
_BIND = 4096  # MS_BIND of mount(2)
TIMES = {"a": "1000000000", "b": "1100000000", "c": "1200000000"}


def main() -> int:
    """0 after printing `histories differing`."""
    (kind, _, policy), count, seed, story = sys.argv[1].partition(":"), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    for word in sys.argv[5:]:
        sabotage(word)
    # Nothing is cut off here, and it would wait for all that the machine writes.
    for name in ("sync", "fsync"):
        setattr(posix, name, lambda *_: None)
    # Nor is the disk another one at each boot.
    fitness.probe = lambda *_: None
    differing = 0
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        run("mount", "-t", "tmpfs", "-o", "size=512M", "tmpfs", top)
        try:
            for number in range(seed, seed + count):
                differing += not History(top, kind, policy, random.Random(number), number).run(STORIES[story])
        finally:
            run("umount", top)
    print(count, differing)
    return 0


def sabotage(word: str) -> None:
    """Break a step."""
    if word == "keep-whiteouts":
        fold._Fold._is_of_image = lambda *_: True  # type: ignore[method-assign]
    elif word == "drop-whiteouts":
        fold._Fold._is_of_image = lambda *_: False  # type: ignore[method-assign]
    elif word == "write-to-frozen":
        freeze = persistent._follow_image

        def broken(request: Request, backing: Folder, image: str, settled: bool) -> None:
            freeze(request, backing, image, settled)
            for path in things(Path(request.backing) / "frozen"):
                if path.is_file() and not path.is_symlink() and len(path.relative_to(request.backing).parts) > 2:
                    path.touch()
                    break

        persistent._follow_image = broken
    else:
        raise SystemExit(f"{word}: no such sabotage")


class History:
    """One history; `last` is what each image showed when it was left, `over` the images that its data were over."""

    def __init__(self, top: Path, kind: str, policy: str, chance: random.Random, number: int) -> None:
        self.top, self.kind, self.policy, self.chance, self.number = top, kind, policy or "keep", chance, number
        self.base, self.at = top / "base", top / "at"
        self.last: dict[str, View] = {}
        self.over: dict[str, list[View]] = {}
        self.mounted: dict[str, Path] = {}
        self.right = True

    def run(self, story: str) -> bool:
        """True if each boot showed what it has to."""
        for name in ("a", "b", "c", "at", "base"):
            shutil.rmtree(self.top / name, ignore_errors=True)
            (self.top / name).mkdir()
        fill(self.top / "a", self.chance)
        for tree, before in (("b", "a"), ("c", "b")):
            shutil.copytree(self.top / before, self.top / tree, symlinks=True, dirs_exist_ok=True)
            for _ in range(self.chance.randint(1, 12)):
                change(self.top / tree, self.chance, tree)
            # An image that is the same to the last bit is none to follow.
            (self.top / tree / "version").write_text(f"{self.chance.random()}")
        boots: list[str] = []
        try:
            for word, after in zip(story, [*story[1:], ""]):
                if word in TIMES:
                    boots.append(word)
                    self.boot(boots, after)
        except Exception:
            # Before the mounts that it leaves cover it up.
            print(f"{self.kind} {self.number}: {traceback.format_exc()}", file=sys.stderr)
            raise
        for tree, mounted in self.mounted.items():
            unmount(mounted)
            (self.top / f"image-{tree}").unlink()
        return self.right

    def boot(self, boots: "list[str]", after: str) -> None:
        """Boot the last of `boots`; `after` is + to commit at its end, ! for overlayfs.rollback=no."""
        image, before = boots[-1], boots[-2] if len(boots) > 1 else ""
        lower = read_tree(self.top / image)
        committed = (self.base / "commit").exists()
        steps_back = len(boots) > 2 and boots[-3] == image != before and not committed and after != "!"
        expected: View | None = None
        if before == image or steps_back:
            expected = self.last[image]
        elif before:
            expected = self.expect(lower, self.over[before])
            self.over[image] = [*self.over[before], lower]
        else:
            self.over[image] = [lower]
        found: list[View] = []
        self.with_image(image, after == "!", lambda: found.append(read_exactly(self.at)))
        if expected is not None:
            exact = before == image or steps_back
            self.compare(image, expected, found[0] if exact else simplify(found[0]))
        if after == "+":
            (self.base / "commit").touch()

    def compare(self, image: str, expected: View, found: View) -> None:
        """Tell what differs."""
        for path in sorted(expected.keys() | found.keys()):
            if expected.get(path) != found.get(path):
                self.right = False
                text = f"{self.kind} {self.number} over {image}: {path}: {expected.get(path)} became {found.get(path)}"
                print(text, file=sys.stderr)

    def expect(self, lower: View, seen: "list[View]") -> View:
        """What is shown over the image `lower` by one upper layer, of those that are there."""
        upper = combine(read_upper(self.base / "upper"), read_upper(self.base / "frozen/upper"), seen)
        if self.policy == "prune":
            upper = prune(upper, lower)
        elif self.policy == "refresh":
            upper = refresh(upper, seen[-1], lower)
        elif self.policy == "reset":
            upper = {}
        return merge(upper, lower, seen)

    def with_image(self, tree: str, keep_newer: bool, look: object) -> None:
        """Mount the image of `tree`, prepare, mount the overlay as the units do, look, and let a user work there."""
        assert callable(look)
        at, base = self.at, self.base
        self.make_image(tree)
        mount(self.mounted[tree], at)
        rollback = "hold" if keep_newer else "yes"
        request = Request(str(at), str(base), str(base), policy=self.policy, rollback=rollback)
        persistent.make_persistent(request, hold(request.backing))
        reset.empty_trash(hold(base))
        if self.policy == "refresh":
            os.chdir(at)
            manifest.write(hold(base), stamp.read_previous(hold(base)))
            os.chdir("/")
        mount(at, base / "lower")
        layers = f"lowerdir={base}/frozen/upper:{base}/lower,upperdir={base}/upper,workdir={base}/work"
        options = f"{layers},{render.OPTIONS_PERSISTENT}"
        mount("overlay", at, options)
        try:
            look()
            for _ in range(self.chance.randint(1, 20)):
                change(at, self.chance, f"user of {tree}")
            for path in things(at):
                # References are looked up, and cached, as a user's programs would.
                path.lstat()
            # As a boot would show it: until then the kernel gives a file that was copied up its old number.
            unmount(at)
            mount("overlay", at, options)
            self.last[tree] = read_exactly(at)
        finally:
            unmount(at)
            unmount(base / "lower")
            unmount(at)

    def make_image(self, tree: str) -> Path:
        """The image of `tree`, which is mounted from now on."""
        image = self.top / f"image-{tree}"
        # Once: two images of one tree need not be alike.
        if tree not in self.mounted:
            os.environ["E2FSPROGS_FAKE_TIME"] = os.environ["SOURCE_DATE_EPOCH"] = TIMES[tree]
            run(*MAKE[self.kind].format(tree=self.top / tree, image=image).split())
            self.mounted[tree] = self.top / f"mounted-{tree}"
            self.mounted[tree].mkdir(exist_ok=True)
            run("mount", "-o", "loop,ro", image, self.mounted[tree])
        return image


def mount(what: "str | Path", where: Path, options: str = "") -> None:
    """Mount an overlay with `options`, or without any bind `what`. mount(8) would take longer than all the rest."""
    call = (os.fsencode(what), os.fsencode(where), b"overlay", 0 if options else _BIND, options.encode() or None)
    if _LIBC.mount(*call):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(where))


def unmount(where: Path) -> None:
    """Unmount what is at `where`."""
    if _LIBC.umount2(os.fsencode(where), 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(where))


def read_exactly(top: Path) -> View:
    """Everything below `top` and itself: what read_tree() tells, and owner, time, attributes and the other names."""
    same: dict[tuple[int, int], list[str]] = {}
    view: View = {}
    paths = [path for path in things(top) if "lost+found" not in path.parts]
    for path in paths:
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode):
            same.setdefault((info.st_dev, info.st_ino), []).append(str(path.relative_to(top)))
    for path in paths:
        info = path.lstat()
        attributes = {name: os.getxattr(path, name, follow_symlinks=False)
                      for name in list_attributes(str(path))}  # fmt: skip
        names = () if stat.S_ISDIR(info.st_mode) else tuple(same[info.st_dev, info.st_ino])
        owner = (info.st_uid, info.st_gid, info.st_mtime_ns)
        view[str(path.relative_to(top))] = (describe(path), owner, tuple(sorted(attributes.items())), names)
    return view


def simplify(view: View) -> View:
    """What read_tree() would tell of what read_exactly() has."""
    plain: View = {}
    for path, (what, *_) in view.items():
        assert isinstance(what, tuple)
        plain[path] = what
    return plain


def combine(upper: View, below: View, seen: "list[View]") -> View:
    """The one upper layer that shows what two of them show over any image."""
    both: View = {}
    combine_directory(both, upper, below, seen, "")
    return both


def combine_directory(both: View, upper: View, below: View, seen: "list[View]", directory: str) -> None:
    """Add what the two have in `directory`."""
    for name in list_names(upper, directory) | list_names(below, directory):
        path = f"{directory}/{name}" if directory else name
        what, under = upper.get(path), below.get(path)
        start = f"{path}/"
        if what is None:
            both.update({key: value for key, value in below.items() if key == path or key.startswith(start)})
        elif what[0] == "whiteout":
            # Of a name that no image had, nothing is left.
            if under == ("whiteout",) or any(path in view for view in seen):
                both[path] = what
        elif what[0] != "directory":
            both[path] = what
        elif under is None or under[0] != "directory" or what[-1] == "opaque":
            hides = under is not None and what[-1] != "opaque"
            both.update({key: value for key, value in upper.items() if key.startswith(start)})
            both[path] = (*what, "opaque") if hides else what
        else:
            both[path] = (*what, "opaque") if under[-1] == "opaque" else what
            combine_directory(both, upper, below, seen, path)


if __name__ == "__main__":
    sys.exit(main())
