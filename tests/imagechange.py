"""Random histories of a persistent upper layer under changing images: run by test_image_change.py, or by hand.

    unshare -m python3 imagechange.py KIND HISTORIES SEED [keep-references]

Each history: two random images that share most of their names and many inode numbers, a user who works in the overlay
over the first, and then the overlay over the second, prepared as at a boot. What it shows is compared with a merge of
the two layers made here, from the marks in the upper layer alone, with no help of the kernel. KIND is a file system
and how its UUID comes about. With `keep-references` the upper layer is not normalised: the differences are then the
proof that this test notices them. Prints the number of histories and of those that differ; raises what went wrong.
"""

import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "generator"))
from overlay_generator import prepare, render
from overlay_generator.prepare import Request

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
# What a user does most stands twice.
ACTIONS = ("write", "write", "append", "mkdir", "remove", "rename", "link", "symlink", "chmod", "open")
View = dict[str, tuple[object, ...]]


def main() -> int:
    """0 after printing `histories differing`."""
    kind, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if "keep-references" in sys.argv:
        prepare._follow_image = lambda *_arguments: None
    differing = 0
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        run("mount", "-t", "tmpfs", "-o", "size=512M", "tmpfs", top)
        try:
            for number in range(count):
                differing += not run_history(top, kind, random.Random(seed + number), seed + number)
        finally:
            run("umount", top)
    print(count, differing)
    return 0


def run(*command: object) -> None:
    """Run `command`. Raises CalledProcessError with what it said."""
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def run_history(top: Path, kind: str, chance: random.Random, number: int) -> bool:
    """True if the view over the second image is the merge of the layers, else it is told on stderr."""
    for name in ("a", "b", "at", "base"):
        shutil.rmtree(top / name, ignore_errors=True)
        (top / name).mkdir()
    fill(top / "a", chance)
    shutil.copytree(top / "a", top / "b", symlinks=True, dirs_exist_ok=True)
    for _ in range(chance.randint(1, 12)):
        change(top / "b", chance, "b")
    with_image(top, kind, "a", lambda: work(top, chance))
    upper = read_upper(top / "base/upper")
    expected = merge(upper, read_tree(top / "b"))
    found: list[View] = []
    with_image(top, kind, "b", lambda: found.append(read_tree(top / "at")))
    differences = [
        f"{path}: {expected.get(path)} became {found[0].get(path)}"
        for path in sorted(expected.keys() | found[0].keys())
        if expected.get(path) != found[0].get(path)
    ]
    for difference in differences:
        print(f"{kind} {number} {difference}", file=sys.stderr)
    return not differences


def with_image(top: Path, kind: str, tree: str, then: object) -> None:
    """Mount the image of `tree`, prepare the upper layer, mount the overlay as the units do, and call `then`."""
    assert callable(then)
    image, at, base = top / "image", top / "at", top / "base"
    image.unlink(missing_ok=True)
    # Two images are never made in the same second; without that, nothing in some of them would tell one from another.
    os.environ["E2FSPROGS_FAKE_TIME"] = {"a": "1000000000", "b": "1100000000"}[tree]
    run(*MAKE[kind].format(tree=top / tree, image=image).split())
    run("mount", "-o", "loop,ro", image, at)
    prepare._make_persistent(Request(str(at), str(base), str(base)))
    run("mount", "-o", "bind,private,ro", at, base / "lower")
    layers = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
    run("mount", "-t", "overlay", "-o", f"{layers},{render._OPTIONS_PERSISTENT}", "overlay", at)
    try:
        then()
    finally:
        run("umount", at)
        run("umount", base / "lower")
        run("umount", at)


def names(chance: random.Random) -> str:
    return chance.choice("abcdefgh")


def directories(top: Path) -> "list[Path]":
    return [top, *(path for path in sorted(top.rglob("*")) if path.is_dir() and not path.is_symlink())]


def things(top: Path) -> "list[Path]":
    # Not rglob(): it ends at the first name that can't be looked at.
    found = [Path(at, name) for at, inner, files in os.walk(top) for name in (*inner, *files)]
    return [path for path in sorted(found) if path.name != "lost+found"]


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


def merge(upper: View, lower: View) -> View:
    """What an overlay of the two has to show (overlayfs.rst of the kernel)."""
    merged = dict(lower)
    for name, what in sorted(upper.items()):
        below = [path for path in merged if path.startswith(name + "/")]
        if what[0] != "directory" or what[-1] == "opaque" or merged.get(name, ("directory",))[0] != "directory":
            for path in below:
                del merged[path]
        merged.pop(name, None)
        if what[0] != "whiteout":
            merged[name] = what[:-1] if what[-1] == "opaque" else what
    return merged


if __name__ == "__main__":
    sys.exit(main())
