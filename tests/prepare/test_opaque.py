# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a new image adds becomes visible in opaque directories; what the user has deleted stays deleted."""

import errno
import os
import posix
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import imagenames, opaque
from overlay_prepare.marks import mark_whiteouts
from overlay_prepare.normalise import normalise
from overlay_prepare.opaque import add_whiteouts, find_concerned, is_opaque, reveal
from powercut import cut_everywhere
from tree import OPAQUE, ORIGIN, dig, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


class Update:
    """An upper layer made over `old`, and the image `new` that comes after it."""

    def __init__(self, top: Path) -> None:
        self.old, self.new, self.backing = top / "old", top / "new", top / "backing"
        self.upper = self.backing / "upper"
        for path in (self.old, self.new, self.upper, self.backing / "work"):
            path.mkdir(parents=True)

    def follow(self) -> "list[str]":
        _, opaque = normalise(hold(self.upper), hold(self.backing / "work"))
        return reveal(str(self.new), hold(self.backing), opaque)

    def note(self, image: Path, carried: "list[str]") -> None:
        assert imagenames.write(str(image), hold(self.backing), carried)

    def kinds(self) -> "dict[str, str]":
        """What is in the upper layer: opaque, merged, deleted, or file."""
        found = {}
        for path in self.upper.rglob("*"):
            kind = "deleted" if path.is_char_device() and path.lstat().st_rdev == 0 else "file"
            if path.is_dir():
                kind = "opaque" if is_opaque(str(path)) else "merged"
            found[path.relative_to(self.upper).as_posix()] = kind
        return found


@pytest.fixture
def update(tmp_path: Path) -> Update:
    return Update(tmp_path)


def test_a_new_file_of_the_image_shows_and_old_ones_stay_hidden(update: Update) -> None:
    fill(update.old, "app/conf", "app/data/one")
    fill(update.upper, "app/ opaque", "app/mine")
    fill(update.new, "app/conf", "app/data/one", "app/news")
    update.note(update.old, [])
    assert update.follow() == []
    assert update.kinds() == {"app": "merged", "app/mine": "file", "app/conf": "deleted", "app/data": "deleted"}
    assert os.getxattr(update.upper / "app", ORIGIN) == b"", "the kernel looks for the whiteouts"


def test_without_news_it_stays_opaque_and_its_names_are_remembered(update: Update) -> None:
    fill(update.old, "app/conf")
    fill(update.upper, "app/ opaque", "app/mine")
    fill(update.new, "other")
    update.note(update.old, [])
    before = read_tree(update.upper)
    assert update.follow() == ["app/conf"]
    assert read_tree(update.upper) == before
    update.note(update.new, ["app/conf"])
    # The image after that has the old file again: it is not news.
    update.new.joinpath("app").mkdir()
    fill(update.new, "app/conf")
    assert update.follow() == ["app/conf"]
    assert update.kinds()["app"] == "opaque"


def test_what_the_user_has_under_a_new_name_is_no_news(update: Update) -> None:
    fill(update.upper, "app/ opaque", "app/mine")
    fill(update.new, "app/mine")
    update.note(update.old, [])
    update.follow()
    assert update.kinds() == {"app": "opaque", "app/mine": "file"}


def test_directories_inside_an_opaque_one_hide_theirs_too(update: Update) -> None:
    fill(update.old, "app/inner/conf", "app/inner/deep/one")
    fill(update.upper, "app/ opaque", "app/inner/mine")
    fill(update.new, "app/inner/conf", "app/inner/news", "app/inner/deep/one")
    update.note(update.old, [])
    update.follow()
    assert update.kinds() == {
        "app": "merged",
        "app/inner": "merged",
        "app/inner/mine": "file",
        "app/inner/conf": "deleted",
        "app/inner/deep": "deleted",
    }


def test_what_an_earlier_image_had_in_a_directory_stays_hidden_if_this_one_has_it_no_more(update: Update) -> None:
    """The image after this one may have it again."""
    fill(update.old, "app/inner/conf")
    fill(update.upper, "app/ opaque", "app/inner/mine")
    fill(update.new, "app/news")
    update.note(update.old, [])
    assert update.follow() == []
    assert update.kinds() == {
        "app": "merged", "app/inner": "merged", "app/inner/mine": "file", "app/inner/conf": "deleted",
    }  # fmt: skip


def test_what_the_image_adds_in_a_directory_that_was_the_user_s_alone_is_news(update: Update) -> None:
    fill(update.old, "app/conf")
    fill(update.upper, "app/ opaque", "app/inner/mine", "app/link/mine")
    fill(update.new, "app/conf", "app/inner/news", "app/link>inner")
    update.note(update.old, [])
    assert update.follow() == []
    assert update.kinds() == {
        "app": "merged", "app/conf": "deleted", "app/inner": "merged", "app/inner/mine": "file",
        "app/link": "merged", "app/link/mine": "file",
    }  # fmt: skip


def test_a_name_that_was_a_file_and_a_directory_is_hidden_once(update: Update) -> None:
    fill(update.old, "app/changed/")
    fill(update.upper, "app/ opaque", "app/mine")
    fill(update.new, "app/news")
    update.note(update.old, ["app/changed"])
    assert update.follow() == []
    assert update.kinds() == {"app": "merged", "app/mine": "file", "app/changed": "deleted"}


def test_a_directory_that_has_gone_away_is_no_fault(update: Update) -> None:
    """Somebody is at work on the disk: there is nothing left that could hide anything."""
    assert opaque._open(hold(update.upper), ["app", "app/inner"], {"app": {"inner/"}, "app/inner": {"conf"}})
    assert update.kinds() == {}


def test_an_opaque_directory_inside_is_judged_by_itself(update: Update) -> None:
    fill(update.old, "app/inner/conf")
    fill(update.upper, "app/ opaque", "app/inner/ opaque")
    fill(update.new, "app/inner/conf", "app/news")
    update.note(update.old, [])
    assert update.follow() == ["app/inner/conf"]
    assert update.kinds() == {"app": "merged", "app/inner": "opaque"}


def test_without_a_list_the_user_s_word_stands(update: Update) -> None:
    fill(update.upper, "app/ opaque")
    fill(update.new, "app/news")
    assert update.follow() == []
    assert update.kinds() == {"app": "opaque"}


@pytest.mark.parametrize("target", ["../outside", "/nowhere"])
def test_a_link_in_the_image_is_no_directory(target: str, update: Update) -> None:
    fill(update.new.parent / "outside", "news")
    fill(update.upper, "app/ opaque", "app/x")
    fill(update.new, f"app>{target}")
    update.note(update.old, [])
    update.follow()
    assert update.kinds()["app"] == "opaque"


def test_a_directory_that_a_policy_has_dropped_meanwhile_is_no_fault(update: Update) -> None:
    fill(update.new, "gone/news", "file/news", "merged/news")
    fill(update.upper, "file", "merged/")
    update.note(update.old, [])
    assert reveal(str(update.new), hold(update.backing), ["gone", "file", "merged"]) == []


@pytest.mark.parametrize("name", ["a\nb", "back\\slash", os.fsdecode(b"\xff")])
def test_odd_names(name: str, update: Update) -> None:
    fill(update.old / name, name)
    fill(update.upper / name, "mine")
    os.setxattr(update.upper / name, OPAQUE, b"y")
    fill(update.new / name, name, "news")
    update.note(update.old, [])
    update.follow()
    assert update.kinds() == {name: "merged", f"{name}/mine": "file", f"{name}/{name}": "deleted"}


def test_a_tree_deeper_than_any_path_is_no_fault(update: Update) -> None:
    fill(update.upper, "app/ opaque")
    fill(update.new, "app/news")
    update.note(update.old, [])
    dig(update.upper / "app", 60)
    try:
        update.follow()
        assert not is_opaque(str(update.upper / "app"))
    finally:
        os.system(f"rm -rf '{update.upper}'")  # what shutil can't


def test_cut_off_at_any_call_it_comes_to_the_same(tmp_path: Path) -> None:
    made: list[Update] = []

    def prepare() -> "object":
        update = Update(tmp_path / str(len(made)))
        made.append(update)
        fill(update.old, "app/conf", "app/inner/a", "app/inner/b", "keep/x")
        fill(update.upper, "app/ opaque", "app/mine", "app/inner/c", "keep/ opaque")
        fill(update.new, "app/conf", "app/news", "app/inner/a", "keep/x")
        update.note(update.old, [])

        def step() -> None:
            update.note(update.new, update.follow())

        return step

    def look() -> object:
        return read_tree(made[-1].upper)

    assert cut_everywhere(prepare, look) > 8  # type: ignore[arg-type]
    assert made[-1].kinds()["app/inner/a"] == "deleted"


def test_whiteouts_are_made_once(tmp_path: Path) -> None:
    fill(tmp_path, "file", "directory/")
    assert add_whiteouts(hold(tmp_path), ["file", "directory"]) == 0
    assert os.listxattr(tmp_path) == [], "there is no whiteout to look for"
    assert add_whiteouts(hold(tmp_path), ["file", "directory", "gone"]) == 1
    assert add_whiteouts(hold(tmp_path), ["file", "directory", "gone"]) == 0
    assert (tmp_path / "gone").is_char_device()
    mark_whiteouts(hold(tmp_path))
    assert os.getxattr(tmp_path, ORIGIN) == b""
    os.setxattr(tmp_path, ORIGIN, b"x")
    mark_whiteouts(hold(tmp_path))
    assert os.getxattr(tmp_path, ORIGIN) == b"x"


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
def test_on_a_full_disk_it_stays_as_it_was(
    number: int, said: bool, update: Update, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(update.old, "app/conf")
    fill(update.upper, "app/ opaque", "app/mine")
    fill(update.new, "app/conf", "app/news")
    update.note(update.old, [])

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(posix, "mknod", refuse)
    if said:
        assert update.follow() == ["app/conf"], "it is remembered, as what it hides is still hidden"
        text = f"<4>{update.upper}/app: what the image adds there is not shown, as the disk is full\n"
        assert capsys.readouterr().err == text
    else:
        with pytest.raises(OSError, match="Input/output error"):
            update.follow()
    assert update.kinds() == {"app": "opaque", "app/mine": "file"}


def test_the_top_itself_may_be_opaque(update: Update) -> None:
    fill(update.old, "conf", "dir/inner")
    fill(update.upper, "mine", "dir/own")
    os.setxattr(update.upper, OPAQUE, b"y")
    fill(update.new, "conf", "news", "dir/inner")
    update.note(update.old, [])
    assert update.follow() == []
    assert update.kinds() == {
        "mine": "file", "conf": "deleted", "dir": "merged", "dir/own": "file", "dir/inner": "deleted",
    }  # fmt: skip
    assert not is_opaque(str(update.upper))


def test_a_mark_of_another_value_is_none(tmp_path: Path) -> None:
    """x: it has whiteouts that are files (Linux 6.7), and hides nothing by itself."""
    os.setxattr(tmp_path, OPAQUE, b"x")
    assert not is_opaque(str(tmp_path))


def test_only_what_an_image_has_or_had_is_concerned(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(update.old, "had/x", "deep/er/y", "top")
    fill(update.new, "has/z", "file", "link>has")
    update.note(update.old, ["carried/name"])
    is_concerned = find_concerned(str(update.new), hold(update.backing))
    assert [path for path in ("", "had", "deep", "deep/er", "has", "carried") if not is_concerned(path)] == []
    others = ("top", "file", "link", "none", "had/x", "had/none", "has/none", "tmp/of/a/user")
    assert [path for path in others if is_concerned(path)] == []
    assert is_concerned("x" * 5000), "what can't be looked at"
    (update.backing / "names").unlink()
    is_concerned = find_concerned(str(update.new), hold(update.backing))
    assert [path for path in ("had", "has", "") if is_concerned(path)] == ["has", ""]

    def fail(_backing: object) -> "set[str]":
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(imagenames, "read_directories", fail)
    assert find_concerned(str(update.new), hold(update.backing))("none")


def test_an_opaque_directory_that_hides_nothing_is_not_kept_in_memory(update: Update) -> None:
    fill(update.old, "app/conf")
    fill(update.upper, "app/ opaque", *(f"tmp/{number}/ opaque" for number in range(50)))
    update.note(update.old, [])
    concerned = find_concerned(str(update.new), hold(update.backing))
    assert normalise(hold(update.upper), hold(update.backing / "work"), matters=concerned)[1] == ["app"]
