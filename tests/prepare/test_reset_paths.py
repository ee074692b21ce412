# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A reset by path: what of the image shows then, and that nothing else changes."""

import os
import shutil
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import imagenames, stamp
from overlay_prepare.folder import Folder
from overlay_prepare.reset import reset
from overlay_prepare.resetrequest import Staged
from resetdevice import IMAGE, Device
from tree import OPAQUE, ORIGIN, describe, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


PATHS = [
    # A changed, a deleted, a replaced and an own file.
    (["conf=mine", "lib/x=mine"], "conf", {"conf": "conf", "lib/x": "mine"}),
    (["conf!"], "conf", {"conf": "conf"}),
    (["conf/in=mine"], "conf", {"conf": "conf"}),
    (["lib/app/own=mine"], "lib/app/own", {"lib/app/own": "", "lib/app/conf": "lib/app/conf"}),
    # A directory, merged, deleted and replaced.
    (["lib/app/conf=mine", "lib/app/data!", "lib/x=mine"], "lib/app",
     {"lib/app/conf": "lib/app/conf", "lib/app/data": "lib/app/data", "lib/x": "mine"}),
    (["lib/app!"], "lib/app", {"lib/app/conf": "lib/app/conf"}),
    (["lib/app=mine"], "lib/app", {"lib/app/conf": "lib/app/conf"}),
    (["lib/app/ opaque", "lib/app/mine"], "lib/app", {"lib/app/conf": "lib/app/conf", "lib/app/mine": ""}),
    # Within a directory that hides the image's: that path alone shows through.
    (["lib/app/ opaque", "lib/app/mine=mine"], "lib/app/conf",
     {"lib/app/conf": "lib/app/conf", "lib/app/data": "", "lib/app/mine": "mine"}),
    (["lib/ opaque", "lib/mine=mine"], "lib/app/conf",
     {"lib/app/conf": "lib/app/conf", "lib/app/data": "", "lib/other/file": "", "lib/mine": "mine"}),
    # A link to a directory is none.
    (["lib/ opaque", "lib/app/mine=mine", "lib/link>app"], "lib/app/conf",
     {"lib/app/conf": "lib/app/conf", "lib/app/data": "", "lib/app/mine": "mine", "lib/other/file": ""}),
    (["lib/ opaque"], "lib/app", {"lib/app/conf": "lib/app/conf", "lib/other/file": ""}),
    # The same, and directories in it go on hiding what was removed with the rest, as does whatever else is kept of it.
    (["lib/ opaque", "lib/app/mine=mine"], "lib/other", {"lib/app/conf": "", "lib/app/data": "",
     "lib/app/mine": "mine", "lib/other/file": "lib/other/file"}),
    (["lib/ opaque", "lib/app/mine=mine", "lib/other/own/x=mine"], "lib/app/conf",
     {"lib/app/conf": "lib/app/conf", "lib/other/file": "", "lib/other/own/x": "mine"}),
    # Nothing there, in either.
    ([], "conf", {"conf": "conf"}),
    (["lib/mine=mine"], "lib/app/none/at/all", {"lib/mine": "mine", "lib/app/conf": "lib/app/conf"}),
    (["lib/ opaque", "lib/mine=mine"], "lib/none", {"lib/mine": "mine", "lib/app/conf": ""}),
]  # fmt: skip


@pytest.mark.parametrize(("upper", "path", "expected"), PATHS)
def test_a_path_shows_what_the_image_has_and_nothing_else_changes(
    upper: "list[str]", path: str, expected: "dict[str, str]", device: Device
) -> None:
    fill(device.upper, *upper)
    before = device.view()
    _, problems = device.reset(path)
    assert problems == []
    shown = device.view()
    assert {name: shown.get(name, "") for name in expected} == expected
    others = {name for name in before.keys() | shown.keys() if name != path and not name.startswith(path + "/")}
    assert {name: shown.get(name) for name in others} == {name: before.get(name) for name in others}
    assert stamp.is_current(hold(device.backing), IMAGE), "nothing of the other files has to be looked at"


def test_a_path_may_keep_some_of_what_is_in_it(device: Device) -> None:
    fill(device.upper, "lib/app/conf=mine", "lib/app/key=mine", "lib/mine=mine")
    device.reset("lib/app", keep=("lib/app/*.key", "lib/app/key"))
    shown = device.view("lib")
    assert (shown["app/conf"], shown["app/key"], shown["mine"]) == ("lib/app/conf", "mine", "mine")


@pytest.mark.parametrize("path", ["lib/none/x", "lib/other"])
def test_names_that_are_new_in_the_image_are_not_hidden(path: str, device: Device) -> None:
    """In the boot of an update: the user can't have removed what no image had so far."""
    assert imagenames.write(str(device.where), hold(device.backing))
    fill(device.upper, "lib/ opaque", "lib/app/mine=mine", "lib/other/mine")
    fill(device.where, "lib/new", "lib/newdir/x", "lib/none/x")
    assert device.reset(path)[1] == []
    shown = device.view("lib")
    assert {name for name in shown if not name.startswith("other/")} == {"app/mine", "new", "newdir/x", "none/x"}


def test_where_the_image_has_no_such_directory_what_is_hidden_of_others_stays_hidden(device: Device) -> None:
    fill(device.upper, "own/ opaque", "own/x=mine", "own/y")
    device.reset("own/x")
    fill(device.where, "own/x=image", "own/z")
    assert device.view("own") == {"y": "own/y"}


def test_what_a_link_of_the_image_leads_to_is_not_hidden_and_gives_no_mode(device: Device) -> None:
    outside = fill(device.where.parent / "outside", "app/sub/x", "app/y")
    (outside / "app/sub").chmod(0o777)
    shutil.rmtree(device.where / "lib")
    fill(device.where, f"lib>{outside}")
    fill(device.upper, "lib/app/ opaque", "lib/app/mine=mine")
    before = read_tree(device.upper)
    device.reset("lib/app/sub/x", "lib/app/y")
    assert read_tree(device.upper) == before


def test_what_is_kept_of_a_directory_that_hides_the_image_s_goes_on_hiding(device: Device) -> None:
    fill(device.where, "lib/app/keys/old", "lib/app/deep/keys/old")
    fill(device.upper, "lib/ opaque", "lib/app/keys/mine", "lib/app/deep/keys/mine", "lib/app/x=mine")
    device.reset("lib", keep=("lib/app/**/keys",))
    shown = device.view("lib/app")
    assert {name for name in shown if "keys" in name} == {"keys/mine", "deep/keys/mine"}
    assert (shown["conf"], shown["data"], "x" in shown) == ("lib/app/conf", "lib/app/data", False)


def test_what_is_kept_of_a_path_in_a_directory_that_hides_the_image_s_goes_on_hiding(device: Device) -> None:
    fill(device.where, "lib/app/keys/old")
    fill(device.upper, "lib/ opaque", "lib/app/keys/mine", "lib/app/x=mine")
    device.reset("lib/app", keep=("lib/app/keys",))
    assert device.view("lib") == {
        "app/conf": "lib/app/conf", "app/data": "lib/app/data", "app/keys/mine": "lib/app/keys/mine",
    }  # fmt: skip


def test_a_path_that_is_kept_is_left_as_it_is(device: Device) -> None:
    fill(device.upper, "lib/app/ opaque", "lib/app/conf/=", "lib/app/mine=mine")
    before = read_tree(device.upper)
    assert device.reset("lib/app/conf", keep=("lib/app/conf",)) == (0, [])
    assert read_tree(device.upper) == before


def test_marks_in_what_is_passed_through_are_its_owner_s(device: Device) -> None:
    """A container engine has overlays of its own there."""
    made = fill(device.pass_through("lib/docker"), "layer/dir/ opaque", "layer/dir/keep", "layer/dir/x")
    device.reset("lib/docker", keep=("lib/docker/layer/dir/keep",))
    assert os.listdir(made / "layer/dir") == ["keep"]
    assert os.getxattr(made / "layer/dir", OPAQUE) == b"y"


@pytest.mark.parametrize("failing", range(1, 4))
def test_an_error_on_the_way_lists_no_name_that_does_not_exist(
    failing: int, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whiteout without the mark on its directory is listed by the kernel; the mark comes first."""
    fill(device.where, *(f"lib/app/file{number}" for number in range(4)))
    fill(device.upper, "lib/app/ opaque", "lib/app/mine")
    real, calls = os.mknod, iter(range(100))

    def mknod(*arguments: object, **options: object) -> None:
        if next(calls) == failing:
            raise OSError(28, "No space left on device")
        real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("posix.mknod", mknod)
    with pytest.raises(OSError):
        device.reset("lib/app/file1")
    assert ORIGIN in os.listxattr(device.upper / "lib/app")


def test_a_directory_made_anew_for_a_path_is_as_the_image_s(device: Device) -> None:
    app = device.where / "lib/app"
    os.chown(app, 5, 6)
    app.chmod(0o2777)
    os.setxattr(app, "user.note", b"x")
    fill(device.upper, "lib/ opaque")
    device.reset("lib/app/conf")
    kind, *others = describe(device.upper / "lib/app")
    assert (kind, others[:2]) == (oct(0o042777), [5, 6])
    assert os.getxattr(device.upper / "lib/app", "user.note") == b"x"


@pytest.mark.parametrize(("upper", "path", "named"), [
    (["lib!"], "lib/app/conf", "lib"),
    (["lib=mine"], "lib/app/conf", "lib"),
    (["lib/app>elsewhere"], "lib/app/conf", "lib/app"),
    (["lib/app>/etc"], "lib/app/passwd", "lib/app"),
])  # fmt: skip
def test_what_is_in_the_way_is_named(upper: "list[str]", path: str, named: str, device: Device) -> None:
    fill(device.upper, *upper)
    before = read_tree(device.upper)
    count, problems = device.reset(path)
    assert (count, problems) == (0, [f"{path}: {named} was removed or replaced; restore that"])
    assert read_tree(device.upper) == before


@pytest.mark.parametrize("path", ["/etc/passwd", "/", "/variable"])
def test_a_path_elsewhere_is_told(path: str, device: Device) -> None:
    count, problems = reset(str(device.where), hold(device.backing), Staged(paths=(path,)), True)
    assert (count, problems) == (0, [f"{path} is not below {device.where}"])


def test_a_path_that_is_passed_through_goes_as_a_whole(device: Device) -> None:
    made = fill(device.pass_through("lib/docker"), "file")
    assert device.reset("lib/docker") == (1, [])
    assert not made.exists()


def test_of_what_is_passed_through_no_part_is_lost(device: Device, tmp_path: Path) -> None:
    """There is nothing below it to show through, so a part either comes back as the image has it, or stays."""
    fill(device.where, "lib/docker/conf=image", "lib/docker/dir/x")
    made = fill(device.pass_through("lib/docker"), "conf=mine", "mine", f"out>{tmp_path}/outside")
    fill(tmp_path, "outside/file")
    count, problems = device.reset("lib/docker/conf", "lib/docker/out/file")
    assert (made / "conf").exists()
    if (made / "conf").read_text() == "mine":
        assert len(problems) >= 1
    assert (made / "mine").exists()
    assert (tmp_path / "outside/file").exists(), "a link was followed"
    assert count <= 1


@pytest.mark.parametrize("name", ["a\nb", "a\\b", " ", "é", os.fsdecode(b"\xff")])
def test_odd_names(name: str, device: Device) -> None:
    fill(device.where / name, "conf=image")
    fill(device.upper / name, "conf=mine", "mine")
    device.reset(f"{name}/conf")
    assert device.view()[f"{name}/conf"] == "image"
    assert device.view()[f"{name}/mine"] == "mine"


def test_several_paths_in_one_directory_that_hides_the_image_s(device: Device) -> None:
    """The first one opens it, and makes those in it hide what it hid: the list of names is read once for all."""
    assert imagenames.write(str(device.where), hold(device.backing))
    fill(device.upper, "lib/ opaque", "lib/app/mine=mine", "lib/other/own=mine")
    fill(device.where, "lib/third/file")
    assert device.reset("lib/app/conf", "lib/other/file", "lib/third/file")[1] == []
    shown = device.view("lib")
    assert shown == {
        "app/conf": "lib/app/conf", "app/mine": "mine", "other/file": "lib/other/file", "other/own": "mine",
        "third/file": "lib/third/file",
    }  # fmt: skip


def test_the_lists_are_read_once_for_many_paths(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    assert imagenames.write(str(device.where), hold(device.backing))
    fill(device.upper, *(f"{number}/ opaque" for number in range(10)))
    fill(device.where, *(f"{number}/x" for number in range(10)))
    count = 0
    real = imagenames.read

    def read(backing: Folder, directories: "dict[str, set[str]]") -> bool:
        nonlocal count
        count += 1
        return real(backing, directories)

    monkeypatch.setattr(imagenames, "read", read)
    assert device.reset(*(f"{number}/x" for number in range(10)))[1] == []
    assert count == 1
    assert {name for name in device.view() if "/" in name} >= {f"{number}/x" for number in range(10)}
