# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was removed stays so: after images that have none of it, and in subvolumes of the image."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from overlay_prepare import imagenames
from persistentdevice import OLD, Device, pretend
from product import REPOSITORY
from tree import OPAQUE, fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
HAS = ("d/x=1", "d/s/y=1", "d/s/t/z=1", "conf=1")


def boot(device: Device, image: str, *entries: str) -> None:
    shutil.rmtree(device.where)
    fill(device.where, *entries)
    Device.identity = image
    device.boot()


@pytest.mark.parametrize("last", [OLD, "IMAGE_VERSION=3\n"])
@pytest.mark.parametrize("boots", [1, 2])
def test_a_directory_that_is_made_anew_on_an_image_without_it(
    boots: int, last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch)
    device = Device(tmp_path)
    boot(device, OLD, *HAS)
    fill(device.upper, "d!")
    for number in range(boots):
        boot(device, f"IMAGE_VERSION={number}.5\n", "conf=2")
    # As the kernel does over a whiteout.
    (device.upper / "d").unlink()
    fill(device.upper, "d/ opaque", "d/mine=mine")
    boot(device, last, *HAS, "d/s/new=3")
    shown = {path.relative_to(device.upper / "d") for path in (device.upper / "d").rglob("*") if path.is_file()}
    assert shown == {Path("mine")}
    hides = OPAQUE in os.listxattr(device.upper / "d")
    gone = {path.name for path in (device.upper / "d").iterdir() if path.is_char_device()}
    assert hides or gone >= {"x", "s"}


def test_names_below_it_are_found_at_any_depth() -> None:
    """One question for each directory on the way, in whatever order the names are."""

    class List:
        def __init__(self, *names: str) -> None:
            self.names = names

    asked: list[str] = []

    def is_removed(path: str) -> bool:
        asked.append(path)
        return path == "a/b"

    def read(backing: List, take: "object") -> bool:
        for name in backing.names:
            whole = name.rstrip("/")
            parent = whole.rpartition("/")[0]
            take(parent, name[len(parent) + 1 if parent else 0 :])  # type: ignore[operator]
        return True

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(imagenames, "_read_lines", read)
        names = ("a/b/c/d/e", "a/", "a/x", "a/b/", "a/b/c/", "a/b/c/d/", "ab/c", "q", "a/b/y", "a/bc/y")
        found = imagenames.find_removed(List(*names), is_removed)  # type: ignore[arg-type]
    assert found == ["a/b/c/d/e", "a/b/c/", "a/b/c/d/", "a/b/y"]
    assert sorted(asked) == ["a", "a/b", "a/bc", "ab"], "below what is removed nobody has to ask"


SCRIPT = """
import os, sys
sys.path[:0] = [sys.argv[1] + "/generator"]
from overlay_prepare import imagenames, manifest
from overlay_prepare.folder import open_top
from overlay_prepare.imagecopy import copy_missing
where, disk = sys.argv[2:]
print(sorted(imagenames.walk(where)))
os.chdir(where)
with open_top(disk, print) as backing:
    manifest.write(backing, "IMAGE_VERSION=1\\n")
    print(sorted(line.split("\\t")[0] for line in open(f"{disk}/contents").read().split("\\n")[1:-1]))
    with backing.make("copy") as target:
        copy_missing(where, target, None)
for name in ("one/a", "one/b", "two/a", "two/b"):
    print(name, open(f"{disk}/copy/{name}").read(), os.stat(f"{disk}/copy/{name}").st_nlink)
"""


def test_a_subvolume_is_as_good_as_a_directory(tmp_path: Path) -> None:
    """It has a device number of its own, and inode numbers that others have as well."""
    if not shutil.which("mkfs.btrfs") or not shutil.which("btrfs"):
        pytest.skip("btrfs-progs are not installed")
    make = """
    truncate -s 200M img; mkfs.btrfs -q img 2>/dev/null; mkdir i disk; mount -o loop img i || exit 77
    for d in one two; do btrfs -q subvolume create i/$d; mkdir i/$d/d; printf "of $d" >i/$d/a; ln i/$d/a i/$d/b; done
    mkdir i/other; mount -t tmpfs tmpfs i/other; touch i/other/x
    exec "$@"
    """
    (tmp_path / "s.py").write_text(SCRIPT)
    words = [sys.executable, "s.py", str(REPOSITORY), str(tmp_path / "i"), str(tmp_path / "disk")]
    command = ["unshare", "-m", "sh", "-euc", make, "sh", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("btrfs can't be mounted here")
    assert done.returncode == 0, done.stderr
    names = ["one/", "one/a", "one/b", "one/d/", "other/", "two/", "two/a", "two/b", "two/d/"]
    assert done.stdout.splitlines()[-6:] == [
        str(names),
        str([name.rstrip("/") for name in names]),
        "one/a of one 2", "one/b of one 2", "two/a of two 2", "two/b of two 2",
    ]  # fmt: skip
