# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl diff: its forms of output, and what it says of overlays that it can't read."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import schemas
from device import Device, needs_mounts
from handmade import Tree, run_command
from product import REPOSITORY, Run

pytestmark = needs_mounts


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """One change of each kind."""
    tree = Tree(tmp_path)
    for name in ("changed", "equal", "mode", "deleted", "replaced", "old/in", "hidden/in"):
        tree.put(tree.lower, name, "image\n")
    tree.put(tree.upper, "added", "x" * 2000)
    tree.put(tree.upper, "changed", "image\nand more\n")
    tree.put(tree.upper, "equal", "image\n")
    tree.put(tree.upper, "mode", "image\n", 0o600)
    os.mknod(tree.upper / "deleted", stat.S_IFCHR, 0)
    os.mknod(tree.upper / "old", stat.S_IFCHR, 0)
    (tree.upper / "replaced").mkdir()
    (tree.upper / "moved").mkdir()
    os.setxattr(tree.upper / "moved", "trusted.overlay.redirect", b"old")
    (tree.upper / "hidden").mkdir()
    os.setxattr(tree.upper / "hidden", "trusted.overlay.opaque", b"y")
    return tree


TEXT = """\
added       2.0 KiB  /var/added
changed        15 B  /var/changed  (was 6 B)
deleted         6 B  /var/deleted
equal           6 B  /var/equal
opaque               /var/hidden/  (hides what the image has in it)
deleted         6 B  /var/hidden/in
metadata        6 B  /var/mode  (mode 0644 -> 0600)
moved                /var/moved/  (from /var/old/)
deleted              /var/old/
replaced             /var/replaced/  (was a file, is a directory)
"""
STAT = """\
/var
  added            1     2.0 KiB
  changed          1        15 B
  metadata         1         6 B
  equal            1         6 B  takes space and changes nothing
  deleted          3        12 B  of the image, hidden
  replaced         1         0 B
  moved            1         0 B
  opaque           1         0 B
  in all          10     2.0 KiB
"""
CONTENT = """\
--- image/var/changed
+++ now/var/changed
@@ -1 +1,2 @@
 image
+and more
"""


def test_text(tree: Tree) -> None:
    done = tree.run()
    assert (done.stdout, done.stderr, done.returncode) == (TEXT, "", 0)


def test_stat(tree: Tree) -> None:
    assert tree.run("--stat").stdout == STAT


def test_stat_of_nothing(tmp_path: Path) -> None:
    assert Tree(tmp_path).run("--stat").stdout == "/var: nothing was changed\n"


def test_hard_links_have_their_size_once(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    os.link(tree.put(tree.upper, "a", "x" * 100), tree.upper / "b")
    assert "added            2       100 B" in tree.run("--stat").stdout


def test_name_only(tree: Tree) -> None:
    expected = [line.split()[1 if line[9:19].isspace() else 3].rstrip("/") for line in TEXT.splitlines()]
    assert tree.run("--name-only").stdout.splitlines() == expected


def test_names_that_are_not_text(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    name = "a\n\x1b[31m\udcff"
    tree.put(tree.upper, name, "")
    # On an 8-bit terminal a byte that is not UTF-8 may be a control character.
    assert tree.run("--name-only").stdout == "/var/a\\x0a\\x1b[31m\\xff\n"
    assert tree.run("--name-only", "--null").stdout == f"/var/{name}\0"
    assert "\\x1b" in tree.run().stdout
    found = json.loads(tree.run("--json").stdout)
    schemas.validate("diff", found)
    assert found["path"] == f"/var/{name}"


def test_json(tree: Tree) -> None:
    found = [json.loads(line) for line in tree.run("--json").stdout.splitlines()]
    assert [one["kind"] for one in found] == [line.split()[0] for line in TEXT.splitlines()]
    for one in found:
        schemas.validate("diff", one)
    by_path = {one["path"]: one for one in found}
    file = {"type": "file", "size": 6, "mode": "0644", "uid": 0, "gid": 0, "mtime_ns": 10**18}
    assert by_path["/var/mode"] == {
        "schema": 1, "kind": "metadata", "path": "/var/mode", "what": ["mode"],
        "new": {**file, "mode": "0600"}, "old": file,
    }  # fmt: skip
    assert by_path["/var/moved"]["from"] == "/var/old"
    assert (by_path["/var/deleted"]["new"], by_path["/var/deleted"]["old"]) == (None, file)
    assert by_path["/var/added"]["old"] is None


def test_content(tree: Tree) -> None:
    text = tree.run("--content", "changed").stdout
    assert text == TEXT.splitlines()[1] + "\n" + CONTENT


def test_colours(tree: Tree) -> None:
    assert "\x1b" not in tree.run().stdout
    text = tree.run("--color=always", "--content").stdout
    assert "\x1b[33mchanged" in text
    assert "\x1b[31mdeleted" in text
    assert "\x1b[32m+and more\x1b[m\n" in text
    assert "\x1b[1m--- image/var/changed\x1b[m\n" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["hidden"], TEXT.splitlines()[4:6]),
        (["/var/hidden/in"], TEXT.splitlines()[5:6]),
        (["/var/changed", "/var/equal"], [TEXT.splitlines()[1], TEXT.splitlines()[3]]),
    ],
)
def test_paths(words: "list[str]", expected: "list[str]", tree: Tree) -> None:
    assert tree.run(*words).stdout.splitlines() == expected


WRONG = {
    "nowhere": (["gone"], "overlayctl: /var/gone: neither the overlay nor its image has it"),
    "elsewhere": (["/etc/x"], "overlayctl: /etc/x is not below /var"),
    "null alone": (["--null"], "overlayctl: --null goes with --name-only"),
    "two forms": (["--json", "--stat"], "not allowed with argument"),
    "stale without a backing directory": (["--stale"], "overlayctl: --stale needs"),
    "no such layer": (["--upper", "/gone"], "overlayctl: /gone: there is no such directory here"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name: str, tree: Tree) -> None:
    words, expected = WRONG[name]
    done = tree.run(*words)
    assert done.returncode == 3
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_overlay_there() -> None:
    done = run_command("diff", "/proc/self")
    assert done.returncode == 3
    assert "lies on proc mounted at /proc, and not on an overlay" in done.stderr


def test_what_cannot_be_read_is_told(tree: Tree) -> None:
    os.setxattr(tree.put(tree.upper, "changed", "x"), "trusted.overlay.metacopy", b"")
    os.setxattr(tree.upper / "changed", "trusted.overlay.redirect", b"/gone")
    done = tree.run()
    assert done.returncode == 3
    assert done.stdout == "".join(line + "\n" for line in TEXT.splitlines() if "changed" not in line)
    assert done.stderr.startswith("overlayctl: /var/changed: its content was left in the image")


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    for number in range(5000):
        (tree.upper / f"file-with-some-name-{number}").touch()
    words = ["--upper", str(tree.upper), "--lower", str(tree.lower)]
    command = f'"{sys.executable}" -m overlayctl diff {" ".join(words)} | head -n 1'
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, cwd=REPOSITORY / "generator", check=False
    )
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.fixture
def device(run: Run, image: Path, tmp_path: Path) -> Device:
    return Device(run, image, tmp_path)


def boot(device: Device, script: str, disk: "bool | None" = None) -> str:
    """What `script` prints on the booted device, without the names of units that were skipped."""
    lines = device.boot(script, disk).splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("skipped "))


WORK = "echo more >>/var/lib/app/conf; rm /var/lib/app/other; mkdir /var/new; mv /var/lib/app /var/app"


def test_on_a_device_in_memory(device: Device) -> None:
    text = boot(device, f"{WORK}; cd /var/app; overlayctl diff --name-only; echo; overlayctl diff conf --json")
    names, _, found = text.partition("\n\n")
    assert names.splitlines() == ["/var/app", "/var/app/conf", "/var/app/other", "/var/lib/app", "/var/new"]
    moved, changed = (json.loads(line) for line in found.splitlines())
    assert (moved["kind"], moved["from"], changed["kind"]) == ("moved", "/var/lib/app", "changed")


def test_on_a_device_with_a_disk(device: Device) -> None:
    device.add_disk()
    text = boot(device, f"{WORK}; overlayctl diff --name-only; overlayctl diff --stale", disk=True)
    # No redirects on a disk: mv has copied the directory.
    assert text.splitlines() == ["/var/app", "/var/app/conf", "/var/lib/app", "/var/new"]


def test_stale(device: Device) -> None:
    device.add_disk()
    boot(device, "echo mine >/var/lib/app/conf; echo mine >/var/lib/app/other; echo mine >/var/new", disk=True)
    (device.root / "etc/os-release").write_text("IMAGE_ID=test\nIMAGE_VERSION=2\n")
    (device.root / "var/lib/app/conf").write_text("the next version\n")
    os.utime(device.root / "var/lib/app/other", ns=(0, 10**18))
    text = boot(
        device, "overlayctl diff --stale --json; echo again >>/var/lib/app/conf; overlayctl diff --stale", disk=True
    )
    first, second, *rest = text.splitlines()
    assert [(json.loads(line)["path"], json.loads(line)["stale"]) for line in (first, second)] == [
        ("/var/lib/app/conf", "newer"),
        ("/var/lib/app/other", "perhaps"),
    ]
    # What was written over the new image is no longer stale.
    assert [line.split()[:2] for line in rest] == [["perhaps", "changed"]]
    assert "/var/lib/app/other" in rest[0]


def test_stale_in_memory(device: Device) -> None:
    text = boot(device, "echo x >/var/lib/app/conf; overlayctl diff --stale 2>&1")
    assert text == "overlayctl: /var: the upper layer has seen one image only: nothing is stale\n"


def test_a_disk_that_is_not_mounted(device: Device) -> None:
    text = boot(device, "umount /var; overlayctl diff 2>&1 || echo $?")
    assert "no overlay is mounted" in text
    assert text.splitlines()[-1] == "3"


def test_against_another_image(tree: Tree, tmp_path: Path) -> None:
    """What the device's files hide of the new image's, and nothing that this has not."""
    new = tmp_path / "new"
    tree.put(new, "var/changed", "new\n")
    tree.put(new, "var/deleted", "new\n")
    tree.put(new, "var/equal", "image\n")
    words = ["--upper", str(tree.upper), "--where", "/var", "--against", str(new)]
    done = run_command("diff", *words)
    assert (done.stderr, done.returncode) == ("", 0)
    assert (
        done.stdout
        == """\
changed        15 B  /var/changed  (was 4 B)
--- new image/var/changed
+++ now/var/changed
@@ -1 +1,2 @@
-new
+image
+and more
deleted         4 B  /var/deleted
--- new image/var/deleted
+++ /dev/null
@@ -1 +0,0 @@
-new
"""
    )
    assert run_command("diff", *words, "--name-only").stdout == "/var/changed\n/var/deleted\n"
    assert run_command("diff", *words, "--stat").stdout.count("\n") == 4
    assert run_command("diff", *words, "--stale").returncode == 3


def test_against_something_that_is_no_image(tree: Tree) -> None:
    done = run_command("diff", "--upper", str(tree.upper), "--where", "/var", "--against", "/dev/null")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "", 1)
