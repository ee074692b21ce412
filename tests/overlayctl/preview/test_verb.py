# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl preview: each kind of finding, its forms of output, and what it refuses."""

import json
import os
import stat
from pathlib import Path

import pytest

from overlay_prepare import stamp
from overlayctl.image.source import unwritable
from previewing import Update, run
from tree import OPAQUE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="marks of an upper layer need root")


@pytest.fixture
def update(tmp_path: Path) -> Update:
    """One finding of each kind that entries can have, for the policy keep."""
    update = Update(tmp_path)
    update.fill(
        ["same=1", "new=1", "gone=1", "kind=1", "del=1", "delsame=1", "d/x=1", "o/x=1", "o/y=1", "copy=1", "lib/a=1"],
        ["same=1", "new=22", "kind/in=2", "del=22", "delsame=1", "d/x=22", "o/x=22", "o/y=1", "o/z=2", "copy=2",
         "lib/a=1"],
        ["same=mine", "new=mine", "gone=mine", "kind=mine", "del!", "delsame!", "d!", "o/ opaque", "o/own=mine",
         "copy=1", "own=mine", "lib/b=mine"],
    )  # fmt: skip
    return update


KEEP = [
    ("hidden", "/var/copy"), ("deleted", "/var/d"), ("deleted", "/var/del"), ("gone", "/var/gone"),
    ("clash", "/var/kind"), ("hidden", "/var/new"), ("deleted", "/var/o/x"), ("shown", "/var/o/z"),
    ("opened", "/var/o"),
]  # fmt: skip


def test_keep(update: Update) -> None:
    assert update.find() == KEEP
    assert update.summary["counts"]["hidden"] == {"count": 2, "size": 3}
    by_path = {one["path"]: one for one in update.found}
    new = by_path["/var/new"]
    assert (new["what"], new["here"]["size"], new["old"]["size"], new["new"]["size"]) == (["content"], 4, 1, 2)
    assert by_path["/var/d"]["what"] == ["below"]
    assert (by_path["/var/del"]["here"], by_path["/var/gone"]["new"]) == (None, None)


def test_refresh(update: Update) -> None:
    assert update.find("--policy", "refresh") == [
        ("follows" if path == "/var/copy" else kind, path) for kind, path in KEEP
    ]


def test_prune(update: Update) -> None:
    found = update.find("--policy", "prune")
    dropped = {"copy", "d", "del", "delsame", "kind", "new", "same"}
    assert {path[5:] for kind, path in found if kind == "dropped"} == dropped
    assert {one for one in found if one[0] != "dropped"} == {
        ("gone", "/var/gone"), ("opened", "/var/o"), ("shown", "/var/o/x"), ("shown", "/var/o/y"),
        ("shown", "/var/o/z"),
    }  # fmt: skip
    assert next(one for one in update.found if one["path"] == "/var/del")["what"] == ["deleted"]


def test_reset(update: Update) -> None:
    found = update.find("--policy", "reset")
    dropped = {path[5:] for kind, path in found if kind == "dropped"}
    assert {"own", "lib/b", "o/own", "same", "gone", "del"} <= dropped
    assert {kind for kind, _ in found} == {"dropped", "shown"}


@pytest.mark.parametrize("policy", ["prune", "reset"])
def test_a_directory_in_place_of_a_dropped_file_comes_with_what_is_in_it(policy: str, tmp_path: Path) -> None:
    update = Update(tmp_path)
    update.fill(["d/x=1"], ["d/x=1", "d/e/a=2", "d/e/b=2"], ["d/ opaque", "d/e=mine"])
    found = update.find("--policy", policy)
    assert ("dropped", "/var/d/e") in found
    assert [path for kind, path in found if kind == "shown"] == ["/var/d/x"]


def test_without_the_old_image_each_may_be_newer(update: Update) -> None:
    assert ("hidden", "/var/same") in update.find(old=False)
    assert next(one for one in update.found if one["path"] == "/var/same")["what"] == ["unknown"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["/var/o"], KEEP[6:]), (["/var/o/x"], KEEP[6:7]), (["/var/new"], KEEP[5:6]), (["/var/lib"], [])],
)
def test_paths(words: "list[str]", expected: "list[tuple[str, str]]", update: Update) -> None:
    assert update.find(*words) == expected


def test_text(update: Update) -> None:
    status, out, err = update.run()
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:4] == [
        "hidden          1 B  /var/copy  (the new image's has another content)",
        "deleted              /var/d/  (the new image's has changes in it)",
        "deleted         2 B  /var/del  (the new image's has another content)",
        "gone            4 B  /var/gone",
    ]
    assert "/var/kind  (a file here, a directory in the new image)" in out
    assert lines[9] == "/var: 13 entries, Policy=keep (default)"
    assert lines[10].startswith("  hidden           2         3 B  changed here,")


@pytest.mark.parametrize(
    ("kinds", "status", "said"),
    [
        ("hidden", 1, "overlayctl: refused by --fail-on: 2 hidden\n"),
        ("clash,hidden", 1, "overlayctl: refused by --fail-on: 1 clash, 2 hidden\n"),
        ("dropped,owner,space", 0, ""),
    ],
)
def test_fail_on(kinds: str, status: int, said: str, update: Update) -> None:
    assert update.run("--fail-on", kinds)[::2] == (status, said)


def configure(update: Update, text: str) -> None:
    path = update.new / "usr/lib/overlay-generator.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_policy_is_the_new_images(update: Update) -> None:
    configure(update, "[/var]\nPolicy=prune\n")
    (update.old / "usr/lib").mkdir(parents=True)
    (update.old / "usr/lib/overlay-generator.conf").write_text("[/var]\nPolicy=reset\n")
    update.find()
    assert (update.summary["policy"], update.summary["asked_by"]) == ("prune", "the new image's configuration")


@pytest.mark.parametrize(
    ("names", "policy", "note"),
    [
        ("IMAGE_VERSION=1\n", "prune", ""),
        ("IMAGE_VERSION=2\n", "keep", "it is the image that the upper layer is over now"),
        ("", "keep", "the image that the upper layer was over is not noted"),
    ],
)
def test_what_prepare_has_noted_decides(names: str, policy: str, note: str, update: Update) -> None:
    (update.upper.parent / stamp.NAME).write_text(names)
    (update.new / "etc").mkdir()
    (update.new / "etc/os-release").write_text("ID=test\nIMAGE_VERSION=2\n")
    update.find("--policy", "prune")
    assert update.summary["policy"] == policy
    assert note in "".join(update.summary["notes"])
    assert update.summary["free"] is not None


def test_refresh_needs_the_finished_list(update: Update) -> None:
    (update.upper.parent / stamp.NAME).write_text("IMAGE_VERSION=1\n")
    update.find("--policy", "refresh")
    assert update.summary["policy"] == "keep"
    (update.upper.parent / "contents").write_text("# IMAGE_VERSION=1\\n\n")
    update.find("--policy", "refresh")
    assert update.summary["policy"] == "refresh"


def test_passed_through(update: Update) -> None:
    configure(update, "[/var]\nPassthrough=/var/lib /var/kept\n")
    (update.upper.parent / stamp.NAME).write_text("IMAGE_VERSION=1\n")
    for name in ("var-kept", "var-was"):
        (update.upper.parent / "direct" / name).mkdir(parents=True)
        (update.upper.parent / "direct" / name / "file").touch()
    found = update.find()
    assert [one for one in found if one[0] in ("seeded", "left")] == [("left", "/var/was"), ("seeded", "/var/lib")]
    seeded = update.found[-1]
    assert (seeded["text"], seeded["size"]) == ("1 entries of the new image are copied there", 4096)
    assert str(update.upper.parent / "direct/var-was") in update.found[-2]["text"]


def test_owners(update: Update) -> None:
    for top, users, groups in (
        (update.old, "app:x:990:990::", "app:x:990:"),
        (update.new, "ntp:x:990:1::", "g:x:990:"),
    ):
        (top / "etc").mkdir()
        (top / "etc/passwd").write_text(f"root:x:0:0::/root:/bin/sh\n{users}:/:/bin/sh\n")
        (top / "etc/group").write_text(f"root:x:0:\n{groups}\n")
    for name in ("own", "lib/b"):
        os.chown(update.upper / name, 990, 0)
    found = update.find("--fail-on", "owner")
    assert found[-1] == ("owner", "/var/own")
    owner = update.found[-1]
    assert (owner["entries"], owner["what"]) == (2, ["user"])
    assert owner["text"] == "user 990 is app here, and ntp in the new image"
    assert update.run("--fail-on", "owner")[0] == 1
    # What is dropped has no owner.
    assert ("owner", "/var/own") not in update.find("--policy", "reset")


def test_the_disk_is_too_small(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    (update.upper.parent / stamp.NAME).write_text("IMAGE_VERSION=1\n")
    monkeypatch.setattr("overlayctl.preview.needs.find_free", lambda _backing: (1000, 3))
    assert update.find()[-2:] == [("space", "/var"), ("space", "/var")]
    assert [one["what"] for one in update.found[-2:]] == [["size"], ["inodes"]]


def test_nothing_is_changed(update: Update) -> None:
    with unwritable("/") as place:
        old = place == "/"
    if old:
        pytest.skip("before Linux 5.12 a look may leave times of access")
    (update.upper / "link").symlink_to("own")
    (update.new / "var/link").symlink_to("elsewhere")

    def look(directory: str) -> "list[tuple[object, ...]]":
        # Without leaving a time of access itself.
        found: list[tuple[object, ...]] = []
        fd = os.open(directory, os.O_RDONLY | os.O_NOATIME)
        for name in sorted(os.listdir(fd)):
            path = f"{directory}/{name}"
            info = os.lstat(path)
            found.append((path, info.st_mode, info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns, info.st_size))
            found += look(path) if stat.S_ISDIR(info.st_mode) else []
        os.close(fd)
        return found

    for path in [*update.top.rglob("*")]:
        # So old that a look would leave a time (relatime).
        os.utime(path, ns=(10**17, 10**18), follow_symlinks=False)
    before = look(str(update.top))
    for policy in ("keep", "refresh", "prune", "reset"):
        assert update.run("--policy", policy)[0] == 0
    assert look(str(update.top)) == before


WRONG = {
    "no such kind": (["--fail-on", "unseen"], "overlayctl: --fail-on unseen: not a kind of finding; there are hidden,"),
    "no such path": (["/var/none"], "overlayctl: /var/none: neither the upper layer nor the new image has it"),
    "elsewhere": (["/etc"], "overlayctl: /etc is not below /var"),
    "no such directory": (["--where", "/srv"], "has no /srv, so that nothing would be overlaid there"),
    "no such upper": (["--upper", "/none"], "overlayctl: /none: there is no such directory here"),
    "a partition of a directory": (["--partition", "2"], "--partition is for disks, and this is a directory"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name: str, update: Update) -> None:
    words, expected = WRONG[name]
    status, out, err = update.run(*words)
    assert (status, out, len(err.splitlines())) == (3, "", 1)
    assert expected in err


def test_a_directory_that_is_a_link_in_the_new_image(update: Update) -> None:
    (update.old / "srv").mkdir()
    (update.new / "srv").symlink_to("/etc")
    status, _, err = update.run("--where", "/srv")
    assert (status, "/srv is a symbolic link to /etc, and not followed" in err) == (3, True)


def test_old_needs_upper() -> None:
    assert run("preview", "/", "--old", "/")[0] == 3


def test_names_that_are_no_text(update: Update) -> None:
    name = os.fsdecode(b"a\n\x1b[31m\xff")
    for top in (update.old / "var", update.new / "var", update.upper):
        (top / name).write_text(str(top))
    status, out, _ = update.run()
    assert (status, "/var/a\\x0a\\x1b[31m\\xff" in out) == (0, True)
    assert ("hidden", f"/var/{name}") in update.find()


def test_deeper_than_any_path(update: Update) -> None:
    at = os.open(update.upper, os.O_RDONLY)
    for _ in range(500):
        os.mkdir("d" * 20, dir_fd=at)
        inner = os.open("d" * 20, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.setxattr(at, OPAQUE, b"y")
    os.close(at)
    for policy in ("keep", "refresh", "prune", "reset"):
        status, out, err = update.run("--policy", policy, "--json")
        assert (status, err) == (0, "")
        assert json.loads(out.splitlines()[-1])["entries"] > 500
