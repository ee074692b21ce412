# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Directories that are passed through: what they are filled with, once, and that no data of the user is lost."""

import os
import posix
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hold import hold
from lossydisk import WAYS, cut_off_lossy
from overlay_generator.names import backing_name
from overlay_prepare import imagecopy
from overlay_prepare.passthrough import TOP, link, list_others, make_direct
from powercut import CHANGING, cut_everywhere, cut_off
from tree import OPAQUE, ORIGIN, describe, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and device nodes need root")


class Device:
    """An image's directory `var`, a backing directory, and the path var/lib/docker that is passed through."""

    def __init__(self, top: Path) -> None:
        self.where, self.backing = top / "var", top / "backing"
        self.path = self.where / "lib/docker"
        self.upper = self.backing / "upper/lib/docker"
        (self.backing / "upper").mkdir(parents=True)
        self.where.mkdir()

    def make(self) -> None:
        make_direct(str(self.where), hold(self.backing), str(self.path))

    @property
    def made(self) -> Path:
        """The one directory that was made."""
        (found,) = (self.backing / TOP).iterdir()
        assert not found.name.endswith((".new", ".full"))
        return found

    def names(self) -> "set[str]":
        return {path.relative_to(self.made).as_posix() for path in self.made.rglob("*")}


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr("posix.sync", lambda: None)  # of no use to these tests, and slow
    return Device(tmp_path)


def test_it_takes_over_all_that_the_image_has(device: Device) -> None:
    path = fill(device.path, "file", "empty=", "dir/deep/file", "link>../outside", "dangling>nowhere", "emptydir/")
    os.mkfifo(path / "fifo")
    os.mknod(path / "device", stat.S_IFBLK | 0o660, os.makedev(7, 3))
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(path)
        made.bind("socket")
        os.chdir(before)
    for name, owner in (("dir", 5), ("file", 6), ("dir/deep", 7), ("fifo", 8)):
        os.chown(path / name, owner, owner + 1)
    os.chown(path / "link", 9, 9, follow_symlinks=False)
    (path / "file").chmod(0o4751)
    (path / "dir").chmod(0o3771)
    path.chmod(0o2710)
    os.chown(path, 3, 4)
    os.setxattr(path / "file", "user.note", b"\0\xff")
    os.setxattr(path / "dir/deep", "user.note", b"")
    os.setxattr(path / "link", "trusted.note", b"l", follow_symlinks=False)
    for name in ("file", "dir", "link", "fifo", "."):
        os.utime(path / name, ns=(1_000_000_007, 2_000_000_009), follow_symlinks=False)
    device.make()
    assert read_tree(device.made) == read_tree(path)
    assert describe(device.made) == describe(path)
    for name in ("file", "dir", "link", "fifo", "dir/deep/file", "emptydir"):
        assert (device.made / name).lstat().st_mtime_ns == (path / name).lstat().st_mtime_ns, name
    assert (device.backing / TOP).stat().st_mode & 0o777 == 0o700


def test_hard_links_stay_together(device: Device) -> None:
    fill(device.path, "one", "dir/")
    os.link(device.path / "one", device.path / "dir/two")
    device.make()
    assert (device.made / "one").stat().st_ino == (device.made / "dir/two").stat().st_ino


def test_a_large_and_a_sparse_file_come_whole(device: Device) -> None:
    fill(device.path, "sparse=")
    data = os.urandom(3 << 20)
    (device.path / "large").write_bytes(data)
    os.truncate(device.path / "sparse", 5 << 20)
    device.make()
    assert (device.made / "large").read_bytes() == data
    assert (device.made / "sparse").stat().st_size == 5 << 20


def test_what_the_image_has_not_is_empty_and_root_s(device: Device) -> None:
    device.make()
    assert device.names() == set()
    info = device.made.stat()
    assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (0, 0o755)


def test_it_is_made_once(device: Device) -> None:
    fill(device.path, "conf=1")
    device.make()
    fill(device.made, "conf=mine", "mine")
    fill(device.path, "conf=2", "news")
    device.make()
    assert device.names() == {"conf", "mine"}
    assert (device.made / "conf").read_text() == "mine"


def test_what_the_user_had_there_comes_first(device: Device) -> None:
    fill(device.path, "changed=1", "same", "deleted", "dir/one", "dir/two", "gone/x", "replaced/x", "file/x", "turned")
    fill(device.upper, "changed=mine", "deleted!", "dir/two!", "dir/mine", "gone!", "replaced/ opaque", "replaced/mine")
    fill(device.upper, "file", "turned/in", "own/x")
    os.setxattr(device.upper / "changed", ORIGIN, b"x")
    device.make()
    assert device.names() == {
        "changed", "same", "dir", "dir/one", "dir/mine", "replaced", "replaced/mine", "file", "turned", "turned/in",
        "own", "own/x",
    }  # fmt: skip
    assert (device.made / "changed").read_text() == "mine"
    for path in (device.made, *device.made.rglob("*")):
        assert not [name for name in os.listxattr(path) if name.startswith("trusted.overlay.")], path
    assert not device.upper.exists()


def test_an_opaque_directory_takes_nothing_of_the_image(device: Device) -> None:
    fill(device.path, "image")
    fill(device.upper, "mine")
    os.setxattr(device.upper, OPAQUE, b"y")
    device.make()
    assert device.names() == {"mine"}


@pytest.mark.parametrize("empty", [True, False])
def test_mode_and_owner_that_the_user_gave_stay(empty: bool, device: Device) -> None:
    fill(device.path, "dir/file")
    fill(device.upper, "dir/" if empty else "dir/mine")
    for number, path in enumerate((device.upper, device.upper / "dir"), 5):
        path.chmod(0o711)
        os.chown(path, number, number)
    before = [describe(path) for path in (device.upper, device.upper / "dir")]
    device.make()
    assert [describe(path) for path in (device.made, device.made / "dir")] == before
    assert (device.made / "dir/file").exists()


@pytest.mark.parametrize("what", ["file", "gone!", "link>/etc"])
def test_what_the_user_put_in_the_place_of_the_directory_is_left_where_it_is(what: str, device: Device) -> None:
    fill(device.path, "image")
    _, mark, rest = what.partition(">")
    fill(device.upper.parent, f"docker{mark}{rest}" if mark else "docker!" if what.endswith("!") else "docker=mine")
    before = describe(device.upper)
    device.make()
    assert device.names() == set(), "it hides the image's"
    assert describe(device.upper) == before


@pytest.mark.parametrize("target", ["../outside", "inside"])
def test_a_link_of_the_user_above_it_is_not_followed(target: str, device: Device) -> None:
    fill(device.backing, "outside/docker/file", "upper/inside/docker/file")
    (device.backing / "upper/lib").symlink_to(target)
    fill(device.path, "image")
    device.make()
    assert device.names() == set(), "it hides the image's"
    assert (device.backing / "outside/docker/file").exists()
    assert (device.backing / "upper/inside/docker/file").exists()


def test_links_of_the_image_are_copied_and_not_followed(device: Device, tmp_path: Path) -> None:
    fill(tmp_path, "outside/file")
    fill(device.path, f"out>{tmp_path}/outside", "root>/")
    device.make()
    assert device.names() == {"out", "root"}


@pytest.mark.parametrize("name", ["a\nb", "a\\b", "é", " ", "100%", os.fsdecode(b"\xff\xfe")])
def test_odd_names(name: str, device: Device) -> None:
    fill(device.path / name, name)
    device.path = device.path / name if "\n" not in name and "\udcff" not in name else device.path
    device.make()
    assert name in {path.name for path in device.made.rglob("*")}


@pytest.mark.parametrize("state", ["", "~filling", "~filled", ".full", ".taken"])
@pytest.mark.parametrize("what", ["link", "file", "fifo", "dangling"])
def test_somebody_else_s_thing_in_the_place_of_a_directory_is_put_aside(
    state: str, what: str, device: Device, tmp_path: Path
) -> None:
    """A link would lead off the disk: what is there would lose its marks, or get the image's files."""
    victim = fill(tmp_path, "victim/dir/ opaque", "victim/file") / "victim"
    before = read_tree(victim)
    fill(device.path, "image")
    fill(device.upper, "mine")
    place = fill(device.backing, "direct/") / "direct" / (backing_name(str(device.path)) + state)
    if what == "fifo":
        os.mkfifo(place)
    elif what == "file":
        place.touch()
    else:
        place.symlink_to(victim if what == "link" else "nowhere")
    device.make()
    assert read_tree(victim) == before
    made = device.backing / "direct" / backing_name(str(device.path))
    assert sorted(os.listdir(made)) == ["image", "mine"]


def test_the_units_find_it_by_a_link(tmp_path: Path) -> None:
    for _ in range(2):
        link("var", "/run/buildroot/mounts/var", str(tmp_path))
    assert (tmp_path / "var.direct").readlink() == Path("/run/buildroot/mounts/var/direct")


def _fill_both(device: Device) -> None:
    fill(device.path, "changed=1", "same=22", "deleted", "dir/one", "dir/two", "link>x", "new/in")
    os.link(device.path / "same", device.path / "dir/linked")
    os.chown(device.path / "new", 5, 6)
    (device.path / "new").chmod(0o2750)
    fill(device.upper, "changed=mine", "deleted!", "dir/mine", "own/ opaque", "own/x", "closed/")
    (device.upper / "dir").chmod(0o700)


def test_cut_off_at_any_call_it_comes_to_the_same(tmp_path: Path) -> None:
    made: list[Device] = []

    def prepare() -> "Callable[[], object]":
        made.append(Device(tmp_path / str(len(made))))
        _fill_both(made[-1])
        return made[-1].make

    def look() -> object:
        names = read_tree(made[-1].made)
        links = {name: (made[-1].made / name).lstat().st_nlink for name in ("same", "dir/linked")}
        return describe(made[-1].made), names, links, sorted(os.listdir(made[-1].backing / "upper/lib"))

    assert cut_everywhere(prepare, look) > 50


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mine", [True, False])
def test_what_was_not_synced_before_a_power_cut_is_made_again(way: str, mine: bool, tmp_path: Path) -> None:
    """Files that are empty for good, and whiteouts that came back, were each seen on a real disk."""
    made: list[Device] = []

    def prepare() -> "Callable[[], object]":
        made.append(Device(tmp_path / str(len(made))))
        _fill_both(made[-1])
        if not mine:
            os.system(f"rm -r '{made[-1].upper}'")
        return made[-1].make

    def look() -> object:
        return read_tree(made[-1].made)

    assert cut_everywhere(prepare, look, lambda step, after: cut_off_lossy(step, after, way, tmp_path)) > 20


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("passed", [True, False])
def test_after_a_cut_and_back_on_the_other_image_it_is_no_mixture(way: str, passed: bool, tmp_path: Path) -> None:
    """`passed`: the other image has Passthrough= as well; else the user's files are there, or a message says where."""
    after, done = 0, False
    while not done:
        device = Device(tmp_path / str(after))
        fill(device.path, *(f"{name}=1" for name in ("a", "b", "dir/c", "dir/d", "changed")))
        fill(device.upper, "changed=mine", "dir/own=mine", "deleted!")
        done = cut_off_lossy(device.make, after, way, tmp_path)
        for path in device.path.rglob("*"):
            if path.is_file():
                path.write_text("2")
        if passed:
            device.make()
            found = {path.read_text() for path in device.made.rglob("*") if path.is_file()}
            assert found in ({"mine", "1"}, {"mine", "2"}), f"cut off at call {after}"
            top = device.made
        else:
            others = list_others(hold(device.backing), ())
            top = device.upper if device.upper.exists() else Path(others[0][1])
            assert device.upper.exists() or [path for path, _ in others] == [str(device.path)]
        assert ((top / "changed").read_text(), (top / "dir/own").read_text()) == ("mine", "mine")
        assert not [path for path in device.backing.rglob("*new-by*") if device.upper in path.parents]
        after += 1
    assert after > 20


def test_a_path_that_is_no_longer_passed_through_is_told(device: Device) -> None:
    fill(device.path, "image")
    device.make()
    backing, where = str(device.backing), str(device.where)
    assert list_others(hold(backing), ()) == [(str(device.path), str(device.made))]
    assert list_others(hold(backing), (str(device.path),)) == []
    make_direct(where, hold(backing), f"{where}/empty")
    assert [path for path, _ in list_others(hold(backing), ())] == [str(device.path)]


@pytest.mark.parametrize("mine", [True, False])
def test_on_a_full_disk_what_the_user_had_can_still_be_seen(
    mine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is mounted then, and the upper layer shows: what was moved out of it has to be there again."""
    monkeypatch.setattr("posix.sync", lambda: None)
    taking = [
        name for name in CHANGING if name in ("mkdir", "mknod", "open", "sendfile", "symlink", "link", "setxattr")
    ]
    after = -1
    done = False
    while not done:
        after += 1
        device = Device(tmp_path / str(after))
        _fill_both(device)
        if not mine:
            os.system(f"rm -r '{device.upper}'")
        with monkeypatch.context() as patch:
            _fill_disk(patch, taking, after)
            try:
                device.make()
                done = True
            except OSError:
                pass
        if mine and not done:
            assert (device.upper / "changed").read_text() == "mine", f"full after {after}"
            assert (device.upper / "own/x").exists()
            assert (device.upper / "deleted").is_char_device()
            # What is written in the meantime counts.
            (device.upper / "changed").write_text("later")
        device.make()
        assert {"same", "dir/one", "new/in"} <= device.names()
        if mine and not done:
            assert (device.made / "changed").read_text() == "later", f"full after {after}"
            assert "deleted" not in device.names()
    assert after > 10


def _fill_disk(patch: pytest.MonkeyPatch, taking: "list[str]", after: int) -> None:
    """Let each call that takes room fail from number `after` on."""
    calls = 0

    def limited(name: str, call: "Callable[..., object]") -> "Callable[..., object]":
        def one(*arguments: object, **options: object) -> object:
            nonlocal calls
            if name == "open" and not int(str(arguments[1])) & os.O_CREAT:
                return call(*arguments, **options)
            calls += 1
            if calls > after:
                raise OSError(28, "No space left on device")
            return call(*arguments, **options)

        return one

    for name in taking:
        patch.setattr(posix, name, limited(name, getattr(posix, name)))


def test_cut_off_on_a_full_disk_nothing_is_lost(device: Device) -> None:
    """Both at once: what is moved has to come to one of the places where the next boot looks."""
    _fill_both(device)
    assert not cut_off(device.make, 12)
    device.make()
    assert (device.made / "changed").read_text() == "mine"


def test_a_link_with_two_names_stays_one_link(device: Device) -> None:
    fill(device.path, "one>/etc/passwd", "dir/")
    os.link(device.path / "one", device.path / "dir/two", follow_symlinks=False)
    device.make()
    assert (device.made / "dir/two").readlink() == Path("/etc/passwd")
    assert (device.made / "one").lstat().st_ino == (device.made / "dir/two").lstat().st_ino


def test_marks_go_from_a_link_and_not_from_what_it_leads_to(device: Device) -> None:
    outside = fill(device.backing / "upper", "file=x") / "file"
    fill(device.upper, f"link>{outside}")
    os.setxattr(device.upper / "link", ORIGIN, b"x", follow_symlinks=False)
    os.setxattr(outside, ORIGIN, b"x")
    device.make()
    assert ORIGIN not in os.listxattr(device.made / "link", follow_symlinks=False)
    assert os.getxattr(outside, ORIGIN) == b"x"


def test_nothing_stays_open(device: Device) -> None:
    fill(device.path, "file", "dir/other", "link>file")
    fill(device.upper, "mine", "dir/own")
    before = set(os.listdir("/proc/self/fd"))
    device.make()
    assert set(os.listdir("/proc/self/fd")) == before
    with pytest.raises(FileNotFoundError):
        imagecopy._copy_content("/nowhere", os.open("/dev/null", os.O_WRONLY))
    assert set(os.listdir("/proc/self/fd")) == before
