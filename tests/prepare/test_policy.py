# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the policies refresh and prune do to each kind of thing in an upper layer, under each change of the image."""

import os
import posix
import shutil
import stat
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import policy
from policyupdate import Update
from powercut import cut_everywhere
from tree import dig, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture
def update(tmp_path: Path) -> Update:
    return Update(tmp_path)


FILE, GONE, DIRECTORY = {"x": "file"}, {"x": "deleted"}, {"x": "directory"}
WITH = DIRECTORY | {"x/mine": "file"}
OPAQUE_WITH = {"x": "opaque", "x/mine": "file"}

# What the upper layer has at x; what the image had there and has now; what prune leaves and lists; what refresh does.
# "" is nothing; @ before an entry of the upper layer is a copy of what the image had.
TABLE = [
    # A file of the user's.
    (["x=mine"], "x=1", "x=1", {}, ["x"], FILE, []),
    (["x=mine"], "x=1", "x=2", {}, ["x"], FILE, []),
    (["x=mine"], "", "x=2", {}, ["x"], FILE, []),
    (["x=mine"], "x=1", "", FILE, [], FILE, []),
    (["x=mine"], "x=1", "x/file", {}, ["x"], FILE, []),
    (["x=mine"], "", "", FILE, [], FILE, []),
    (["x=mine"], "x>to", "x>to", {}, ["x"], FILE, []),
    # A copy of the image's file.
    (["@x"], "x=1", "x=1", {}, ["x"], {}, ["x"]),
    (["@x"], "x=1", "x=2", {}, ["x"], {}, ["x"]),
    (["@x"], "x=1", "", FILE, [], {}, ["x"]),
    (["@x"], "x=1", "x/file", {}, ["x"], {}, ["x"]),
    (["@x"], "x>to", "x>from", {}, ["x"], {}, ["x"]),
    (["@x"], "x=", "x=2", {}, ["x"], {}, ["x"]),
    # A file that the user has deleted.
    (["x!"], "x=1", "x=1", {}, ["deleted x"], GONE, []),
    (["x!"], "x=1", "x=2", {}, ["deleted x"], GONE, []),
    (["x!"], "", "x=2", {}, ["deleted x"], GONE, []),
    (["x!"], "x=1", "", {}, [], GONE, []),
    (["x!"], "x/file", "x/file", {}, ["deleted x"], GONE, []),
    # A directory, merged with the image's.
    (["x/mine"], "x/file", "x/file", WITH, [], WITH, []),
    (["x/mine"], "x/file", "x/file=2", WITH, [], WITH, []),
    (["x/mine"], "", "x/file", WITH, [], WITH, []),
    (["x/mine"], "x/file", "", WITH, [], WITH, []),
    (["x/mine"], "x/file", "x=2", {}, ["x/mine"], WITH, []),
    (["@x/file"], "x/file", "x/file=2", {}, ["x/file"], {}, ["x/file"]),
    (["@x/file", "x/mine"], "x/file", "x/file=2", WITH, ["x/file"], WITH, ["x/file"]),
    (["x/file!"], "x/file", "x/file", {}, ["deleted x/file"], {"x": "directory", "x/file": "deleted"}, []),
    # A directory of the user's in the place of the image's.
    (["x/ opaque", "x/mine"], "x/file", "x/file", WITH, [], OPAQUE_WITH, []),
    (["x/ opaque", "x/mine"], "x/file", "", OPAQUE_WITH, [], OPAQUE_WITH, []),
    (["x/ opaque", "x/mine"], "", "x/file", WITH, [], OPAQUE_WITH, []),
    (["x/ opaque", "x/mine"], "x/file", "x=2", {}, ["x/mine"], OPAQUE_WITH, []),
    (["x/ opaque"], "x/file", "x/file", {}, [], {"x": "opaque"}, []),
    # A link of the user's.
    (["x>mine"], "x=1", "x=2", {}, ["x"], {"x": "link"}, []),
    (["x>/etc"], "x/passwd", "x/passwd", {}, ["x"], {"x": "link"}, []),
]  # fmt: skip


@pytest.mark.parametrize("word", ["prune", "refresh"])
@pytest.mark.parametrize(("upper", "before", "after", "pruned", "prune_log", "refreshed", "refresh_log"), TABLE)
def test_the_table(
    word: str, upper: "list[str]", before: str, after: str, pruned: "dict[str, str]", prune_log: "list[str]",
    refreshed: "dict[str, str]", refresh_log: "list[str]", update: Update,
) -> None:  # fmt: skip
    update.note_image("other", *([before] if before else []))
    update.copy_up(*(entry[1:] for entry in upper if entry.startswith("@")))
    fill(update.upper, *(entry for entry in upper if not entry.startswith("@")))
    fill(update.upper, "own/file")
    update.change_image("other=2", *([after] if after else []))
    left, listed = (pruned, prune_log) if word == "prune" else (refreshed, refresh_log)
    assert update.apply(word) == (len(listed), "")
    assert update.kinds() == left | {"own": "directory", "own/file": "file"}
    assert update.dropped() == listed
    result = read_tree(update.upper)
    assert update.apply(word) == (0, ""), "twice is as once"
    assert read_tree(update.upper) == result


def test_a_directory_that_follows_the_image_takes_its_mode_and_owner(update: Update) -> None:
    update.note_image("x/file")
    update.copy_up("x")
    os.setxattr(update.upper / "x", "user.note", b"old")
    os.setxattr(update.where / "x", "user.note", b"old")
    update.note_image("x/file")
    fill(update.upper, "x/mine")
    update.change_image("x/file=2")
    os.chown(update.where / "x", 5, 6)
    (update.where / "x").chmod(0o2770)
    for word in ("refresh", "prune"):
        update.apply(word)
        info = (update.upper / "x").stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (5, 6, 0o2770), word
        assert "user.note" not in os.listxattr(update.upper / "x"), word


@pytest.mark.parametrize("link", ["a", "a/b"])
def test_no_directory_follows_what_a_link_of_the_image_leads_to(link: str, update: Update) -> None:
    """It may be a place that everybody writes to, as /tmp."""
    outside = fill(update.where.parent / "outside", "b/c/")
    for name in ("b", "b/c", ""):
        os.chown(outside / name, 1234, 1234)
        (outside / name).chmod(0o777)
    fill(update.where, "a/b/c/file")
    for name in ("a", "a/b", "a/b/c"):
        (update.where / name).chmod(0o700)
    update.note_image()
    for name in ("a", "a/b", "a/b/c"):
        update.copy_up(name)
    fill(update.upper, "a/b/c/mine")
    update.change_image(f"{link}>{outside if link == 'a' else outside / 'b'}")
    if link != "a":
        (update.where / "a").chmod(0o710)
    update.apply("refresh")
    own = [path for path in update.upper.rglob("*") if path.is_dir()]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in own}
    assert modes == {"a": 0o700 if link == "a" else 0o710, "b": 0o700, "c": 0o700}
    assert {path.stat().st_uid for path in own} == {0}


def test_refresh_leaves_a_directory_that_the_user_has_changed(update: Update) -> None:
    update.note_image("x/file")
    update.copy_up("x")
    (update.upper / "x").chmod(0o700)
    update.change_image("x/file=2")
    (update.where / "x").chmod(0o750)
    update.apply("refresh")
    assert (update.upper / "x").stat().st_mode & 0o777 == 0o700


def test_refresh_without_a_description_of_the_old_image_keeps_all(update: Update) -> None:
    fill(update.where, "x")
    update.copy_up("x")
    count, reason = update.apply("refresh")
    assert count == 0
    assert reason == "the list of what the image before had was not finished, so all of the upper layer was kept"
    assert update.kinds() == FILE


def test_a_name_with_a_tab_follows_too(update: Update) -> None:
    update.note_image("a\tb=1", "a=1")
    update.copy_up("a\tb", "a")
    update.change_image("a\tb=2", "a=2")
    assert update.apply("refresh") == (2, "")
    assert update.kinds() == {}


def test_the_log_has_a_title_odd_names_and_a_limit(update: Update) -> None:
    name = "a\nb\\" + os.fsdecode(b"\xff")
    fill(update.where, name)
    fill(update.upper, name)
    update.apply("prune")
    line = f"{update.where}/a\\nb\\\\" + os.fsdecode(b"\xff")
    assert (update.backing / "dropped").read_text(errors="surrogateescape") == f"# prune: IMAGE_VERSION=2\n{line}\n"
    assert (update.backing / "dropped").stat().st_mode & 0o777 == 0o600
    with (update.backing / "dropped").open("a") as stream:
        stream.write("x" * (1 << 20))
    for _ in range(2):
        update.apply("prune")
    assert (update.backing / "dropped").read_text() == "# prune: IMAGE_VERSION=2\n" * 2
    assert (update.backing / "dropped.old").stat().st_size > 1 << 20


def test_links_are_not_followed(update: Update, tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside", "file")
    fill(update.where, "link/file", "other/file")
    fill(update.upper, f"link>{outside}", "own/link>../../../outside")
    update.apply("prune")
    assert (outside / "file").exists()
    assert update.kinds() == {"own": "directory", "own/link": "link"}


@pytest.mark.parametrize("word", ["prune", "refresh"])
def test_a_tree_deeper_than_any_path_hinders_nothing_else(word: str, update: Update) -> None:
    """Anybody can make one in /var/tmp."""
    names = [f"{letter}/file" for letter in "abcdyz"]
    update.note_image(*names)
    update.copy_up(*names)
    fill(update.upper, "tmp/")
    dig(update.upper / "tmp", 60)
    update.change_image(*(f"{name}=2" for name in names))
    try:
        count, _ = update.apply(word)
        assert count == len(names)
        assert os.listdir(update.upper) == ["tmp"]
    finally:
        os.system(f"rm -rf '{update.upper}'")  # what shutil can't


def test_a_deep_directory_in_the_place_of_a_file_is_no_fault(update: Update) -> None:
    """Deeper than the interpreter's calls may be, and still a path that every program can use."""
    fill(update.where, "x")
    fill(update.upper, "x/", "y/ opaque")
    fill(update.where, "y/new")
    dig(update.upper / "x", 1500, "d")
    try:
        update.apply("prune")
        assert not (update.upper / "x").is_dir()
        assert update.kinds() == {}
    finally:
        os.system(f"rm -rf '{update.upper}'")


def test_a_file_that_can_not_be_removed_hinders_no_other(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made immutable, as chattr(1) does."""
    fill(update.where, *"abc")
    fill(update.upper, *"abc")
    unlink = posix.unlink

    def refuse(path: str, **options: int) -> None:
        if path == "b":
            raise PermissionError(1, "Operation not permitted", path)
        unlink(path, **options)

    monkeypatch.setattr(posix, "unlink", refuse)
    assert update.apply("prune") == (2, "")
    assert update.kinds() == {"b": "file"}


def test_a_log_that_is_nobody_s_is_put_aside_and_reported(update: Update) -> None:
    (update.backing / "dropped").touch()
    os.truncate(update.backing / "dropped", 1 << 40)
    told: list[str] = []
    policy._mend_log(hold(update.backing, told))
    reason = f"has {1 << 40} bytes, and at most {256 << 20} are allowed"
    assert told == [f"{update.backing}/dropped {reason}: put aside as dropped.refused"]
    assert not (update.backing / "dropped.old").exists()


@pytest.mark.parametrize("left", ["", "\0\0\0", "/var/half", "/var/a\0\0\n/var/b\n"])
def test_what_a_power_cut_has_left_in_the_log_goes(left: str, update: Update) -> None:
    fill(update.where, "conf=2")
    fill(update.upper, "conf=mine")
    (update.backing / "dropped").write_text(f"# before\n{update.where}/old\n{left}")
    update.apply("prune")
    assert update.dropped() == ["old", "conf"]


@pytest.mark.parametrize("word", ["prune", "refresh"])
def test_on_a_full_disk_what_goes_makes_room_and_that_is_told(
    word: str, update: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    update.note_image("conf=1")
    update.copy_up("conf")
    update.change_image("conf=2")

    def refuse(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("overlay_prepare.policy._note", refuse)
    count, reason = update.apply(word)
    assert (count, update.kinds()) == (1, {})
    assert reason == f"the disk is full, so not all that was dropped is listed in {update.backing}/dropped"


@pytest.mark.parametrize("word", ["prune", "refresh"])
def test_cut_off_at_any_call_it_comes_to_the_same(word: str, tmp_path: Path) -> None:
    made: list[Update] = []

    def prepare() -> object:
        update = Update(tmp_path / str(len(made)))
        made.append(update)
        update.note_image("same", "changed", "gone", "d/one", "d/two", "o/file", "f/x", "shape")
        update.copy_up("same", "changed", "d/one", "f")
        fill(update.upper, "gone!", "d/two!", "d/mine", "o/ opaque", "o/mine", "shape/in", "own/x")
        update.change_image("same", "changed=2", "d/one=2", "d/two", "o/file=2", "f/x=2", "shape=2")
        (update.where / "d").chmod(0o750)
        return lambda: update.apply(word)

    listed: set[str] = set()

    def look() -> object:
        listed.update([] if listed else made[-1].dropped())
        # A line may be torn; then it comes again, as what it says had not been done.
        assert listed <= set(made[-1].dropped())
        return read_tree(made[-1].upper)

    assert cut_everywhere(prepare, look) > 8  # type: ignore[arg-type]
    assert (made[-1].upper / "own/x").read_text() == "own/x"
    assert (made[-1].upper / "o/mine").read_text() == "o/mine"


LABEL = "security.selinux"


@pytest.fixture
def selinux(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that lets nobody remove labels, as selinux_inode_removexattr() does (Linux 6.12)."""
    removexattr = posix.removexattr

    def refuse(path: str, name: str, **others: bool) -> None:
        if name == LABEL:
            raise PermissionError(13, "Permission denied", path)
        removexattr(path, name, **others)

    monkeypatch.setattr(posix, "removexattr", refuse)


@pytest.mark.usefixtures("selinux")
@pytest.mark.parametrize("word", ["prune", "refresh"])
def test_a_directory_that_the_new_image_closes_is_closed_where_its_label_can_not_be_removed(
    word: str, update: Update, capsys: pytest.CaptureFixture[str]
) -> None:
    directory, upper = update.where / "d", update.upper / "d"
    fill(update.where, "d/one")
    os.setxattr(directory, LABEL, b"old")
    os.setxattr(directory, "user.gone", b"x")
    update.note_image()
    update.copy_up("d")
    fill(update.upper, "d/mine")
    shutil.copystat(directory, upper)
    update.change_image("d/one")
    directory.chmod(0o700)
    os.chown(directory, 3, 4)
    os.setxattr(directory, LABEL, b"new")
    update.apply(word)
    info = upper.stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o700, 3, 4)
    assert {name: os.getxattr(upper, name) for name in os.listxattr(upper)} == {LABEL: b"new"}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("word", ["prune", "refresh"])
def test_an_attribute_that_stays_keeps_no_other_thing_as_it_was(
    word: str, update: Update, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(update.where, "d/one")
    os.setxattr(update.where / "d", "user.kept", b"x")
    update.note_image()
    update.copy_up("d")
    fill(update.upper, "d/mine")
    shutil.copystat(update.where / "d", update.upper / "d")
    update.change_image("d/one")
    (update.where / "d").chmod(0o700)

    def refuse(path: str, *_: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(posix, "removexattr", refuse)
    update.apply(word)
    assert stat.S_IMODE((update.upper / "d").stat().st_mode) == 0o700
    assert capsys.readouterr().err == f"<4>{update.upper}/d keeps its user.kept: Permission denied\n"


def test_what_stays_as_it_is_is_said(
    update: Update, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(update.where, "d/one", "f")
    fill(update.upper, "d/mine", "f=2")

    def refuse(path: "str | int", *_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    for name in ("chown", "unlink"):
        monkeypatch.setattr(posix, name, refuse)
    update.apply("prune")
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"<4>{update.where} stays as it is, and does not follow the image: Operation not permitted",
        f"<4>{update.where}/d stays as it is, and does not follow the image: Operation not permitted",
        f"<4>{update.where}/f can't be dropped: {update.upper}/f: Operation not permitted",
    ]
