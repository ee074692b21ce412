# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random histories in overlays of all kinds: run by test_walk.py, or by hand.

    unshare -m python3 diff_fuzz.py HISTORIES SEED [without-index] [frozen] [blind]

Each history: a random image, and a user who works in an overlay over it, through up to three mounts with other
options. What walk() reads from the layers is then held against the mounted view and the image, compared name by name
with no knowledge of overlayfs:

- without following moves, its changes are exactly the differences of the two views, in the same order;
- following them, its changes made to the image give the mounted view;
- the image with what export writes laid over it is the mounted view, with its hard links;
- what it calls equal is in the upper layer and shows no difference, and nothing else there is so.

With `frozen`, in most histories an update freezes the upper layer in their midst, and goes on over the two; then the
same is looked at for what came after that, against what a mount of the two shows without the new one. `blind` is for a
control: the walk is not told of the marks in the upper layer that end what is frozen.

Prints the number of histories, of those that differ, and of all changes seen, by kind; what differs goes to stderr.
"""

import os
import random
import stat
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "generator"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from diff_history import make_history
from diff_mounts import Overlay, make_image, run
from overlayctl.layers import stack
from overlayctl.layers.change import Change, Layers
from overlayctl.layers.walk import walk
from overlayctl.main import main as overlayctl

View = dict[bytes, dict[str, object]]


def main() -> int:
    """0 after printing `histories differing`, and the changes by kind."""
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    if "without-index" in sys.argv:
        Overlay.tells_index = False
    Overlay.freezes = "frozen" in sys.argv
    if "blind" in sys.argv:
        vars(stack)["read_directory"] = lambda _path: (False, b"")
    differing = 0
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        run("mount", "-t", "tmpfs", "-o", "size=256M", "tmpfs", name)
        try:
            for number in range(seed, seed + count):
                run("mount", "-t", "tmpfs", "-o", "size=64M", "tmpfs", name)
                try:
                    differing += bool(check_history(Path(name), number, kinds))
                finally:
                    run("umount", name)
        finally:
            run("umount", name)
    print(count, differing, *(f"{kind}={kinds[kind]}" for kind in sorted(kinds)))
    return 0


def check_history(top: Path, number: int, kinds: "Counter[str]") -> "list[str]":
    """What is wrong with the history `number`, which is also written to stderr."""
    chance = random.Random(number)
    overlay = Overlay(top, chance)
    with make_image(overlay, chance):
        make_history(overlay, chance)
        with overlay.mounted():
            seen, image, raw = read_tree(overlay.at), read_tree(overlay.lower), read_tree(overlay.upper)
            live = [change[:3] for change in walk(overlay.layers())]
        faults = []
        if overlay.layers().frozen:
            since = overlay.layers()._replace(since=True)
            with overlay.looked_at(overlay.lowers()):
                before = read_tree(overlay.at)
            faults += [f"since: {fault}" for fault in compare_plain(since, before, seen, raw, kinds)]
            faults += [f"since: {fault}" for fault in compare_following(since, before, seen, kinds)]
            with overlay.looked_at(f"{overlay.upper}:{overlay.frozen}"):
                raw = read_tree(overlay.at)
        faults += compare_plain(overlay.layers(), image, seen, raw, kinds)
        faults += compare_following(overlay.layers(), image, seen, kinds)
        faults += compare_export(overlay, seen)
        if live != [change[:3] for change in walk(overlay.layers())]:
            faults.append("other changes while it is mounted")
    for fault in faults:
        print(f"{number} {overlay.options} {fault}", file=sys.stderr)
    return faults


def compare_plain(layers: Layers, image: View, seen: View, raw: View, kinds: "Counter[str]") -> "list[str]":
    """Where the changes are not the differences between `image` and `seen`."""
    expected = find_all_differences(image, seen)
    found: dict[bytes, tuple[str, tuple[str, ...]]] = {}
    faults = []
    order = []
    for change in walk(layers, follow=False):
        kinds[change.kind] += 1
        order.append(change.path.split(b"/") if change.path else [])
        if change.path in found:
            faults.append(f"{change.path!r} comes twice")
        found[change.path] = (change.kind, change.what)
        if change.kind in ("deleted", "replaced"):
            found.update({path: ("deleted", ()) for path in image if path.startswith(change.path + b"/")})
        if (
            change.info
            and stat.S_ISREG(change.info.st_mode)
            and change.info.st_size != seen.get(change.path, {}).get("size")
        ):
            faults.append(f"{change.path!r} has another size")
    if order != sorted(order):
        faults.append("not sorted")
    equal = {path for path, (kind, _) in found.items() if kind == "equal"}
    copied = {p for p, what in raw.items() if what["type"] != stat.S_IFDIR and image.get(p) and image[p] == seen.get(p)}
    faults += [f"{path!r}: equal, or not" for path in equal ^ copied]
    for path, (kind, what) in list(found.items()):
        if kind == "opaque":
            found[path] = ("metadata", what)
        if kind == "equal" or (kind == "opaque" and not what):
            del found[path]
    faults += [
        f"{path!r}: {expected.get(path)} and found {found.get(path)}"
        for path in sorted(expected.keys() | found.keys())
        if expected.get(path) != found.get(path)
    ]
    return faults


def compare_following(layers: Layers, image: View, seen: View, kinds: "Counter[str]") -> "list[str]":
    """Where the changes, made to `image`, do not give `seen`."""
    tree = dict(image)
    faults = []
    for change in walk(layers):
        kinds[change.kind] += change.kind == "moved"
        if change.kind == "moved":
            tree.update({change.path + path[len(change.source) :]: image[path] for path in below(image, change.source)})
        faults += judge(change, tree.get(change.path), seen.get(change.path))
        if change.kind in ("deleted", "replaced"):
            for path in below(tree, change.path):
                del tree[path]
        if change.kind != "deleted":
            tree[change.path] = seen.get(change.path, {})
    faults += [
        f"following: {path!r} is {tree.get(path)} and not {seen.get(path)}"
        for path in sorted(tree.keys() | seen.keys())
        if not is_same(tree.get(path), seen.get(path))
    ]
    return faults


def compare_export(overlay: Overlay, seen: View) -> "list[str]":
    """Where the image with the export laid over it is not `seen`."""
    tree, tar, deletions = (overlay.top / name for name in ("copy", "changes.tar", "deletions"))
    layers = ["--upper", overlay.upper, "--lower", overlay.lower]
    links = ["--work", overlay.work] if overlay.layers().links else []
    frozen = ["--frozen", overlay.frozen] if overlay.layers().frozen else []
    words = ["export", *layers, *links, *frozen, "--null", "--deletions", deletions, tar]
    status = overlayctl([str(word) for word in words])
    run("cp", "-a", overlay.lower, tree)
    script = "cd $0 && xargs -0 rm -rf -- <$2 && tar -xpf $1 --xattrs --xattrs-include='*' --warning=no-unknown-keyword"
    run("sh", "-c", script, tree, tar, deletions)
    found, expected = read_tree(tree), {p: what for p, what in seen.items() if what["type"] != stat.S_IFSOCK}
    # Unpacking a tar can't remove an attribute from a directory, and export says so.
    lost = False
    for path, what in expected.items():
        if what["type"] == stat.S_IFDIR and path in found and found[path]["type"] == stat.S_IFDIR:
            more = attributes_of(found[path]).keys() - attributes_of(what).keys()
            lost = lost or bool(more)
            for name in more:
                del attributes_of(found[path])[name]
    faults = [f"export: exit status {status}"] if status != (3 if lost else 0) else []
    faults += [
        f"exported: {path!r} is {found.get(path)} and not {expected.get(path)}"
        for path in sorted(expected.keys() | found.keys())
        if not is_same(found.get(path), expected.get(path)) and seen.get(path, {}).get("type") != stat.S_IFSOCK
    ]
    groups: dict[tuple[int, int], set[int]] = {}
    for change in walk(overlay.layers(), follow=False):
        if change.info and not stat.S_ISDIR(change.info.st_mode) and not stat.S_ISSOCK(change.info.st_mode):
            path = os.fsencode(tree) + b"/" + change.path
            inode = os.lstat(path).st_ino if os.path.lexists(path) else 0
            groups.setdefault((change.info.st_dev, change.info.st_ino), set()).add(inode)
    return faults + [f"exported: {inodes} were one file" for inodes in groups.values() if len(inodes) > 1]


def attributes_of(what: "dict[str, object]") -> "dict[str, bytes]":
    found = what["xattrs"]
    assert isinstance(found, dict)
    return found


def judge(change: Change, before: "dict[str, object] | None", after: "dict[str, object] | None") -> "list[str]":
    """What is wrong in calling the step from `before` to `after` this change."""
    if change.kind == "deleted":
        return [] if before else [f"following: {change.path!r} was not there to be deleted"]
    if not after:
        return [f"following: {change.path!r} is not there"]
    expected: tuple[str, tuple[str, ...]] = find_difference(before, after) or ("equal", ())
    if change.kind in ("moved", "opaque"):
        expected = (change.kind, expected[1])
    return [] if expected == change[0:3:2] else [f"following: {change.path!r} is {expected} and not {change[:3]}"]


def below(view: View, top: bytes) -> "list[bytes]":
    return [path for path in view if path == top or path.startswith(top + b"/")]


def is_same(one: "dict[str, object] | None", other: "dict[str, object] | None") -> bool:
    return bool(one) == bool(other) and (not one or not other or find_difference(one, other) is None)


def find_all_differences(image: View, seen: View) -> "dict[bytes, tuple[str, tuple[str, ...]]]":
    found = {}
    for path in image.keys() | seen.keys():
        after = seen.get(path)
        difference = find_difference(image.get(path), after) if after else ("deleted", ())
        if difference:
            found[path] = difference
    return found


def find_difference(
    before: "dict[str, object] | None", after: "dict[str, object]"
) -> "tuple[str, tuple[str, ...]] | None":
    """The kind of change and what differs, by brute force; None if nothing."""
    if not before:
        return "added", ()
    if before["type"] != after["type"]:
        return "replaced", ()
    what = [key for key in ("content", "mode", "owner", "times", "xattrs") if before[key] != after[key]]
    if what[:1] == ["content"]:
        return "changed", tuple(key for key in what if key != "times")
    return ("metadata", tuple(what)) if what else None


def read_tree(top: Path) -> View:
    """All that can be seen at and below `top`."""
    start = os.fsencode(top)
    view = {b"": describe(start)}
    pending = [start]
    while pending:
        directory = pending.pop()
        for name in os.listdir(directory):
            path = directory + b"/" + name
            try:
                view[path[len(start) + 1 :]] = what = describe(path)
            except FileNotFoundError:
                continue  # listed, and not there: a whiteout of the image
            if what["type"] == stat.S_IFDIR:
                pending.append(path)
    return view


def describe(path: bytes) -> "dict[str, object]":
    info = os.lstat(path)
    kind = stat.S_IFMT(info.st_mode)
    content: object = None
    if kind == stat.S_IFREG:
        content = Path(os.fsdecode(path)).read_bytes()
    elif kind == stat.S_IFLNK:
        content = os.readlink(path)
    elif kind != stat.S_IFDIR:
        content = info.st_rdev
    return {
        "type": kind,
        "size": info.st_size,
        "content": content,
        "mode": stat.S_IMODE(info.st_mode),
        "owner": (info.st_uid, info.st_gid),
        "times": None if kind == stat.S_IFDIR else info.st_mtime_ns,
        "xattrs": {name: os.getxattr(path, name, follow_symlinks=False) for name in attributes(path)},
    }


def attributes(path: bytes) -> "list[str]":
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return []
    return sorted(name for name in names if not name.startswith("trusted.overlay."))


if __name__ == "__main__":
    sys.exit(main())
