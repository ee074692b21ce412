# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random histories of a persistent upper layer under changing images: run by test_image_change.py, or by hand.

    unshare -m python3 imagechange.py KIND HISTORIES SEED [keep-references]

Each history: two random images that share most of their names and many inode numbers, a user who works in the overlay
over the first, and then the overlay over the second and, half of the times, over the first again, prepared as at a
boot. What it shows is compared with a merge made here from the trees and the marks in the upper layer alone, without
the help of the kernel. KIND is a file system and how its UUID comes about, then perhaps a colon and the policy for
updates. With `keep-references` the upper layer is not normalised: the differences then prove that this test notices
them. Prints the number of histories and of those that differ; raises what went wrong.
"""

import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "generator"))
from hold import hold
from overlay_generator import render
from overlay_prepare import manifest, persistent, stamp
from overlay_prepare.folder import Folder
from overlay_prepare.layers import make_layers
from overlay_prepare.request import Request
from quickmount import bind_read_only, mount, mount_image, unmount, unmount_image

UUID = "8d9d2f83-6a1a-4c5e-9e56-1f0f2e0a7b11"
NULL = "00000000-0000-0000-0000-000000000000"
MAKE = {
    "squashfs": "mksquashfs {tree} {image} -quiet -no-progress -noappend -comp lz4",
    "erofs-random": "mkfs.erofs --quiet {image} {tree}",
    "erofs-fixed": f"mkfs.erofs --quiet -U {UUID} {{image}} {{tree}}",
    "erofs-null": f"mkfs.erofs --quiet -U {NULL} {{image}} {{tree}}",
    "ext4-random": "mkfs.ext4 -q -F -m 0 -d {tree} {image} 2M",
    "ext4-fixed": f"mkfs.ext4 -q -F -m 0 -U {UUID} -d {{tree}} {{image}} 2M",
}
# What a user does most is there twice.
ACTIONS = (
    "write", "write", "append", "mkdir", "remove", "rename", "link", "symlink", "chmod", "open", "rewrite", "remake",
)  # fmt: skip
View = dict[str, tuple[object, ...]]


def main() -> int:
    """0 after printing `histories differing`."""
    (kind, _, policy), count, seed = sys.argv[1].partition(":"), int(sys.argv[2]), int(sys.argv[3])
    if "keep-references" in sys.argv:
        persistent._follow_image = keep_references
    differing = 0
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        run("mount", "-t", "tmpfs", "-o", "size=512M", "tmpfs", top)
        try:
            for number in range(count):
                differing += not run_history(top, kind, policy, random.Random(seed + number), seed + number)
        finally:
            run("umount", top)
    print(count, differing)
    return 0


def keep_references(request: Request, backing: Folder, image: str, settled: bool) -> None:
    """Takes the place of the function that makes the upper layer fit for `image`."""
    del image, settled
    make_layers(request, backing)


def run(*command: object) -> None:
    """Run `command`. Raises CalledProcessError with what it said."""
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def run_history(top: Path, kind: str, policy: str, chance: random.Random, number: int) -> bool:
    """True if the view over the second image is the merge of the layers; differences are written to stderr."""
    for name in ("a", "b", "at", "base"):
        shutil.rmtree(top / name, ignore_errors=True)
        (top / name).mkdir()
    fill(top / "a", chance)
    shutil.copytree(top / "a", top / "b", symlinks=True, dirs_exist_ok=True)
    for _ in range(chance.randint(1, 12)):
        change(top / "b", chance, "b")
    # An image that is the same to the last bit would not be another one.
    (top / "b/version").write_text(f"{chance.random()}")
    with_image(top, kind, policy, "a", lambda: work(top, chance))
    seen = [read_tree(top / "a")]
    back = ["a"] if chance.random() < 0.5 else []
    right = [follow(top, kind, policy, tree, seen, number) for tree in ("b", *back)]
    return all(right)


def follow(top: Path, kind: str, policy: str, tree: str, seen: "list[View]", number: int) -> bool:
    """True if the view over the image of `tree` is right; `seen` are the images that the upper layer has been over."""
    image = read_tree(top / tree)
    upper = read_upper(top / "base/upper")
    if policy == "prune":
        upper = prune(upper, image)
    elif policy == "refresh":
        upper = refresh(upper, seen[-1], image)
    elif policy == "reset":
        upper = {}
    expected = merge(upper, image, seen)
    seen.append(image)
    found: list[View] = []
    with_image(top, kind, policy, tree, lambda: found.append(read_tree(top / "at")))
    differences = [
        f"{path}: {expected.get(path)} became {found[0].get(path)}"
        for path in sorted(expected.keys() | found[0].keys())
        if expected.get(path) != found[0].get(path)
    ]
    for difference in differences:
        print(f"{kind} {number} over {tree}: {difference}", file=sys.stderr)
    return not differences


def with_image(top: Path, kind: str, policy: str, tree: str, then: object) -> None:
    """Mount the image of `tree`, prepare the upper layer, mount the overlay as the units do, and call `then`."""
    assert callable(then)
    image, at, base = top / "image", top / "at", top / "base"
    image.unlink(missing_ok=True)
    make_image(kind, top / tree, image, tree)
    loop = mount_image(image, at, kind.partition("-")[0])
    request = Request(str(at), str(base), str(base), policy=policy or "keep")
    persistent.make_persistent(request, hold(request.backing))
    if policy == "refresh":
        os.chdir(at)
        manifest.write(hold(base), stamp.read_previous(hold(base)))
        os.chdir("/")
    bind_read_only(at, base / "lower")
    layers = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
    mount("overlay", at, "overlay", data=f"{layers},{render.OPTIONS_PERSISTENT}")
    try:
        then()
    finally:
        unmount(at)
        unmount(base / "lower")
        unmount_image(at, loop)


def make_image(kind: str, tree: Path, image: Path, name: str) -> None:
    """Make `image` of `tree`, which is a or b by `name`."""
    # Two images are never made in the same second; without that, nothing in some of them would tell one from another.
    os.environ["E2FSPROGS_FAKE_TIME"] = os.environ["SOURCE_DATE_EPOCH"] = {"a": "1000000000", "b": "1100000000"}[name]
    run(*MAKE[kind].format(tree=tree, image=image).split())


def names(chance: random.Random) -> str:
    return chance.choice("abcdefgh")


def directories(top: Path) -> "list[Path]":
    return [top, *(path for path in sorted(top.rglob("*")) if path.is_dir() and not path.is_symlink())]


def things(top: Path) -> "list[Path]":
    # Not rglob(), which ends at the first name that can't be looked at.
    found = [Path(at, name) for at, inner, files in os.walk(top) for name in (*inner, *files)]
    return [path for path in sorted(found) if "lost+found" not in path.parts]


def fill(top: Path, chance: random.Random) -> None:
    for _ in range(chance.randint(4, 16)):
        change(top, chance, "a")


def change(top: Path, chance: random.Random, text: str) -> None:
    """One random change in `top`. What is impossible there is left out."""
    directory = chance.choice(directories(top))
    path = directory / names(chance)
    present = things(top)
    other = chance.choice(present) if present else path
    action = chance.choice(ACTIONS)
    try:
        if action == "write":
            path.write_text(f"{text} {chance.random()}")
        elif action == "append" and other.is_file() and not other.is_symlink():
            with other.open("a") as stream:
                stream.write(f" more {text}")
        elif action == "open" and other.is_file() and not other.is_symlink():
            other.open("a").close()
        elif action == "rewrite" and other.is_file() and not other.is_symlink():
            other.write_text(other.read_text())
        elif action == "remake" and other.is_dir() and not other.is_symlink():
            mode = stat.S_IMODE(other.stat().st_mode)
            kept = [(inner.name, inner.read_text()) for inner in sorted(other.iterdir()) if inner.is_file()]
            shutil.rmtree(other)
            other.mkdir()
            other.chmod(mode)
            for name, content in kept[:1]:
                (other / name).write_text(content)
        elif action == "mkdir":
            path.mkdir()
            (path / names(chance)).write_text(f"{text} in {chance.random()}")
        elif action == "remove":
            shutil.rmtree(other) if other.is_dir() and not other.is_symlink() else other.unlink()
        elif action == "rename":
            other.rename(path)
        elif action == "link" and other.is_file() and not other.is_symlink():
            os.link(other, path)
        elif action == "symlink":
            path.symlink_to(names(chance))
        elif action == "chmod" and not other.is_symlink():
            other.chmod(chance.choice([0o600, 0o640, 0o700, 0o755]))
    except OSError:
        pass  # a name that is taken, a directory in the way, EXDEV: a user gets these too


def work(top: Path, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 20)):
        change(top / "at", chance, "user")
    for path in things(top / "at"):
        # References are looked up, and cached, as a user's programs would.
        path.lstat()


def describe(path: Path) -> "tuple[object, ...]":
    try:
        return describe_readable(path)
    except OSError as error:
        return ("error", os.strerror(error.errno or 0))


def describe_readable(path: Path) -> "tuple[object, ...]":
    info = path.lstat()
    mode = stat.S_IMODE(info.st_mode)
    if stat.S_ISLNK(info.st_mode):
        return ("link", os.readlink(path))
    return ("directory", mode) if stat.S_ISDIR(info.st_mode) else ("file", mode, path.read_text())


def read_tree(top: Path) -> View:
    """Everything below `top` but what mkfs.ext4 puts there."""
    return {str(path.relative_to(top)): describe(path) for path in things(top)}


def read_upper(top: Path) -> View:
    """The upper layer by its marks: whiteouts, and directories that hide what is below."""
    view: View = {}
    for path in things(top):
        info = path.lstat()
        attributes = os.listxattr(path, follow_symlinks=False)
        assert not {"trusted.overlay.redirect", "trusted.overlay.metacopy"} & set(attributes)
        name = str(path.relative_to(top))
        if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
            view[name] = ("whiteout",)
        elif stat.S_ISDIR(info.st_mode):
            opaque = "trusted.overlay.opaque" in attributes and os.getxattr(path, "trusted.overlay.opaque") == b"y"
            view[name] = (*describe(path), *(["opaque"] if opaque else []))
        else:
            view[name] = describe(path)
    return view


def merge(upper: View, lower: View, seen: "list[View]") -> View:
    """What an overlay of the two has to show.

    As in the kernel's overlayfs.rst, except that an opaque directory, and those of the upper layer in it, hide what
    images that were `seen` before had there, and not what is new.
    """
    merged: View = {}
    merge_directory(merged, upper, lower, seen, "", hides=False, visible=True)
    return merged


def prune(upper: View, lower: View) -> View:
    """What the policy prune leaves of an upper layer: what hides nothing of the image."""
    left: View = {}
    for path, what in sorted(upper.items()):
        above = [path[:end] for end, character in enumerate(path) if character == "/"]
        if what[0] == "whiteout" or any(lower.get(top, ("directory",))[0] != "directory" for top in above):
            continue
        if what[0] != "directory":
            left.update({} if path in lower else {path: what})
        elif path not in lower:
            left[path] = what
        elif lower[path][0] == "directory":
            left[path] = lower[path]
    return left


def refresh(upper: View, old: View, lower: View) -> View:
    """What the policy refresh leaves of an upper layer: what is not as the previous image had it."""
    left = dict(upper)
    for path, what in sorted(upper.items(), reverse=True):
        tops = [path[:end] for end, character in enumerate(path) if character == "/"]
        if what != old.get(path) or any(upper[top][-1] == "opaque" for top in tops):
            continue
        if what[0] != "directory" or not list_names(left, path):
            del left[path]
        elif lower.get(path, ("",))[0] == "directory":
            left[path] = lower[path]
    return left


def list_names(view: View, directory: str) -> "set[str]":
    start = f"{directory}/" if directory else ""
    return {path[len(start) :].split("/")[0] for path in view if path.startswith(start)}


def merge_directory(
    merged: View, upper: View, lower: View, seen: "list[View]", directory: str, hides: bool, visible: bool
) -> None:
    """Add what `directory` shows; `visible`: the image has it, and nothing above hides it."""
    # A directory hides nothing of an image that had no such directory.
    known = {name for view in seen for name in list_names(view, directory)}
    below = list_names(lower, directory) if visible else set()
    for name in list_names(upper, directory) | below:
        path = f"{directory}/{name}" if directory else name
        what = upper.get(path)
        if what is None:
            if not (hides and name in known):
                merged.update({key: value for key, value in lower.items() if key == path or key.startswith(path + "/")})
        elif what[0] == "directory":
            opaque = what[-1] == "opaque"
            merged[path] = what[:-1] if opaque else what
            there = visible and lower.get(path, ("",))[0] == "directory"
            merge_directory(merged, upper, lower, seen, path, opaque or hides, there)
        elif what[0] != "whiteout":
            merged[path] = what


if __name__ == "__main__":
    sys.exit(main())
