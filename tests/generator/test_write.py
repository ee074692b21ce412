# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Units written whole or not at all, beside other generators, into directories that refuse."""

import json
import os
import posix
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from overlay_generator import write as module
from overlay_generator.boot import Stopped
from overlay_generator.model import Problem, UnitFile, UnitLink
from overlay_generator.write import write
from product import REPOSITORY, skip_without_mount_namespace

LINK = "local-fs.target.requires/var.mount"
VAR: "list[UnitFile | UnitLink]" = [
    UnitFile("late", "backing.mount", "backing\n", "/var"),
    UnitFile("normal", "prepare.service", "prepare\n", "/var"),
    UnitFile("normal", "var.mount", "var\n", "/var"),
    UnitLink("normal", LINK, "../var.mount", "/var"),
]
HOME: "list[UnitFile | UnitLink]" = [
    UnitFile("normal", "home.mount", "home\n", "/home"),
    UnitLink("normal", "local-fs.target.requires/home.mount", "../home.mount", "/home"),
]
VAR_WRITTEN = {
    "late/backing.mount": "backing\n",
    "normal/prepare.service": "prepare\n",
    "normal/var.mount": "var\n",
    "normal/" + LINK: "-> ../var.mount",
}
HOME_WRITTEN = {"normal/home.mount": "home\n", "normal/local-fs.target.requires/home.mount": "-> ../home.mount"}


@pytest.fixture
def places(tmp_path: Path) -> "dict[str, str]":
    for name in ("normal", "late"):
        (tmp_path / name).mkdir()
    return {name: str(tmp_path / name) for name in ("normal", "late")}


def found(top: Path) -> "dict[str, str]":
    """All that is below `top`: the text of files, the targets of links, and directories that are empty."""
    return {
        str(path.relative_to(top)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in top.rglob("*")
        if path.is_symlink() or path.is_file()
    } | {str(path.relative_to(top)) + "/": "" for path in top.glob("*/*") if path.is_dir() and not any(path.iterdir())}


def test_all_is_written_where_nothing_is_in_the_way(places: "dict[str, str]", tmp_path: Path) -> None:
    assert write(VAR + HOME, places) == []
    assert found(tmp_path) == VAR_WRITTEN | HOME_WRITTEN
    assert (tmp_path / "normal/var.mount").stat().st_nlink == 1


def test_the_three_directories_may_be_one(tmp_path: Path) -> None:
    assert write(VAR, {"normal": str(tmp_path), "late": str(tmp_path)}) == []
    assert {path.name for path in tmp_path.iterdir()} == {
        "backing.mount",
        "prepare.service",
        "var.mount",
        "local-fs.target.requires",
    }


def test_large_and_odd_text_arrives_whole(places: "dict[str, str]", tmp_path: Path) -> None:
    text = "é\udcff\r\n%\\" * 100000
    assert write([UnitFile("normal", "a.mount", text, "/a")], places) == []
    assert (tmp_path / "normal/a.mount").read_bytes() == text.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("taken", ["late/backing.mount", "normal/prepare.service", "normal/var.mount"])
def test_a_unit_of_another_generator_stays_and_ours_of_that_group_go(
    taken: str, places: "dict[str, str]", tmp_path: Path
) -> None:
    (tmp_path / taken).write_text("theirs")
    problems = write(VAR + HOME, places)
    text = "exists already, another generator provides it; /var is left to that one"
    assert problems == [Problem(text, str(tmp_path / taken))]
    assert found(tmp_path) == {taken: "theirs"} | HOME_WRITTEN


def test_a_dangling_link_in_place_of_a_unit_stays_too(places: "dict[str, str]", tmp_path: Path) -> None:
    (tmp_path / "normal/var.mount").symlink_to("/nowhere")
    assert [problem.source for problem in write(VAR, places)] == [str(tmp_path / "normal/var.mount")]
    assert found(tmp_path) == {"normal/var.mount": "-> /nowhere"}


def test_the_same_link_of_another_generator_is_accepted(places: "dict[str, str]", tmp_path: Path) -> None:
    (tmp_path / "normal/local-fs.target.requires").mkdir()
    (tmp_path / "normal" / LINK).symlink_to("../var.mount")
    assert write(VAR, places) == []
    assert found(tmp_path) == VAR_WRITTEN


@pytest.mark.parametrize("target", ["/dev/null", "var.mount", None])
def test_another_link_in_the_place_of_ours_is_named_and_stays(
    target: "str | None", places: "dict[str, str]", tmp_path: Path
) -> None:
    path = tmp_path / "normal" / LINK
    path.parent.mkdir()
    if target:
        path.symlink_to(target)
    else:
        path.write_text("theirs")
    problems = write(VAR + HOME, places)
    assert found(tmp_path) == HOME_WRITTEN | {"normal/" + LINK: f"-> {target}" if target else "theirs"}
    assert [problem.source for problem in problems] == [str(path)]


def test_a_directory_with_links_of_others_stays_when_ours_are_taken_back(
    places: "dict[str, str]", tmp_path: Path
) -> None:
    (tmp_path / "normal/local-fs.target.requires").mkdir()
    (tmp_path / "normal/local-fs.target.requires/theirs.mount").symlink_to("../theirs.mount")
    (tmp_path / "normal/var.mount").write_text("theirs")
    assert len(write(VAR, places)) == 1
    kept = {"normal/local-fs.target.requires/theirs.mount": "-> ../theirs.mount", "normal/var.mount": "theirs"}
    assert found(tmp_path) == kept


def test_a_missing_directory_is_a_problem_and_the_others_are_written(tmp_path: Path) -> None:
    (tmp_path / "normal").mkdir()
    places = {"normal": str(tmp_path / "normal"), "late": str(tmp_path / "late")}
    text = "can't be written (No such file or directory); nothing is written for /var"
    assert write(VAR + HOME, places) == [Problem(text, str(tmp_path / "late/backing.mount"))]
    assert found(tmp_path) == HOME_WRITTEN


@pytest.fixture
def signals() -> Iterator[None]:
    """SIGTERM handled as at boot."""

    def stop(number: int, _frame: object) -> None:
        raise Stopped(f"signal {number}")

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def _stop_before(call: "Callable[..., object]", *arguments: object) -> object:
    os.kill(os.getpid(), signal.SIGTERM)
    return call(*arguments)


def _stop_after(call: "Callable[..., object]", *arguments: object) -> object:
    result = call(*arguments)
    os.kill(os.getpid(), signal.SIGTERM)
    return result


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("name", ["open", "write", "link", "mkdir", "symlink"])
@pytest.mark.parametrize("stop", [_stop_before, _stop_after])
@pytest.mark.parametrize("theirs", ["", "late/backing.mount", "normal/var.mount", "normal/" + LINK])
def test_a_signal_takes_back_what_is_ours_and_nothing_else(
    name: str, stop: "Callable[..., object]", theirs: str, places: "dict[str, str]", tmp_path: Path
) -> None:
    """A handler runs between two instructions: perhaps after a call has done its work, before that is noted."""
    assert write(HOME[:1], places) == []
    if theirs:
        (tmp_path / theirs).parent.mkdir(exist_ok=True)
        (tmp_path / theirs).symlink_to("../var.mount")
    before = found(tmp_path)
    call = getattr(posix, name)
    stopped = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posix, name, lambda *arguments: stop(call, *arguments))
        try:
            write(VAR, places)
        except Stopped:
            stopped = True
    assert stopped or theirs
    assert found(tmp_path) == before if stopped else before.items() <= found(tmp_path).items()


def test_a_signal_in_the_second_file_takes_back_the_first(
    places: "dict[str, str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = posix.link

    def stop_at_the_second(source: str, path: str) -> None:
        if path.endswith("var.mount"):
            raise Stopped("signal 15")
        link(source, path)

    monkeypatch.setattr(posix, "link", stop_at_the_second)
    with pytest.raises(Stopped):
        write(VAR, places)
    assert found(tmp_path) == {}


CHILD = """\
import json, os, sys
sys.path[:0] = sys.argv[2:]
from test_write import HOME, VAR, found, write
from pathlib import Path
top = sys.argv[1]
problems = write([*VAR, *HOME], {"normal": top + "/normal", "late": top + "/late"})
print(json.dumps([[str(problem) for problem in problems], found(Path(top))]))
"""


def write_on(tmp_path: Path, mount: str) -> "tuple[list[str], dict[str, str]]":
    """The problems and the files of a run in a child where the shell command `mount` changed tmp_path/normal ($1)."""
    script = f'mount --make-rprivate / && {mount} && shift && exec "$@"'
    paths = [str(tmp_path), *(str(REPOSITORY / name) for name in ("generator", "tests/support", "tests/generator"))]
    command = [
        "unshare",
        "-m",
        "sh",
        "-ec",
        script,
        "sh",
        str(tmp_path / "normal"),
        sys.executable,
        "-c",
        CHILD,
        *paths,
    ]
    skip_without_mount_namespace()
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    problems, files = json.loads(result.stdout)
    return problems, files


def test_a_read_only_directory_is_one_problem_for_each_group(places: "dict[str, str]", tmp_path: Path) -> None:
    problems, files = write_on(tmp_path, 'mount -o bind "$1" "$1" && mount -o remount,bind,ro "$1"')
    text = "can't be written (Read-only file system); nothing is written for"
    normal = places["normal"]
    assert problems == [f"{normal}/prepare.service: {text} /var", f"{normal}/home.mount: {text} /home"]
    assert files == {}


@pytest.mark.parametrize(
    ("room", "full", "written"),
    [
        # A page for each file; an inode for each name, also for scratch names and the directory itself.
        ("size=4k", "normal/var.mount", HOME_WRITTEN),
        ("nr_inodes=2", "normal/prepare.service", {}),
        ("nr_inodes=4", "normal/local-fs.target.requires/var.mount", HOME_WRITTEN),
    ],
)
def test_in_a_full_directory_what_fits_is_written_whole(
    room: str, full: str, written: "dict[str, str]", places: "dict[str, str]", tmp_path: Path
) -> None:
    problems, files = write_on(tmp_path, f'mount -t tmpfs -o {room} tmpfs "$1"')
    assert files == written
    text = "can't be written (No space left on device); nothing is written for /var"
    assert problems[0] == f"{tmp_path}/{full}: {text}"
    assert len(problems) == (1 if written else 2)
    assert set(places) == {"normal", "late"}


def test_what_yields_to_another_generator_is_no_problem(places: "dict[str, str]", tmp_path: Path) -> None:
    (tmp_path / "normal/home.mount").write_text("theirs")
    left: list[Problem] = []
    assert write([*VAR, *HOME], places, ["/home"], left) == []
    assert [problem.source for problem in left] == [f"{places['normal']}/home.mount"]
    assert found(tmp_path) == {**VAR_WRITTEN, "normal/home.mount": "theirs"}


class Refusing:
    """The module posix in a domain that may not do everything, as in SELinux's reference policy for generators."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> object:
        if name not in self.names:
            return getattr(posix, name)

        def refuse(*_: object) -> None:
            self.asked.append(name)
            raise PermissionError(13, "Permission denied")

        return refuse


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    kernel = Refusing("link", "unlink")
    monkeypatch.setattr(module, "posix", kernel)
    monkeypatch.setattr(module, "_may_link", True)
    return kernel


def test_where_files_may_be_renamed_and_neither_linked_nor_removed_all_is_written(
    refusing: Refusing, places: "dict[str, str]", tmp_path: Path
) -> None:
    assert write(VAR + HOME, places) == []
    assert found(tmp_path) == VAR_WRITTEN | HOME_WRITTEN
    # Each refusal is a line in the machine's log.
    assert refusing.asked == ["link"]


@pytest.mark.usefixtures("refusing")
def test_a_rename_replaces_nothing_either(places: "dict[str, str]", tmp_path: Path) -> None:
    (tmp_path / "normal/var.mount").write_text("another's\n")
    problems = write(VAR, places)
    assert (tmp_path / "normal/var.mount").read_text() == "another's\n"
    # What can't be taken back is reported: it is there without the rest.
    assert sorted(map(str, problems)) == [
        f"{tmp_path}/late/backing.mount: can't be taken back (Permission denied), though the rest is missing",
        f"{tmp_path}/normal/prepare.service: can't be taken back (Permission denied), though the rest is missing",
        f"{tmp_path}/normal/var.mount: exists already, another generator provides it; /var is left to that one",
    ]
