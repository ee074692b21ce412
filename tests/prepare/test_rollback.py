# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rollback=yes: what is due at a boot, when it is refused, and what a hostile or full disk makes of it."""

import errno
import os
import posix
import shutil
import time
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import commit, freeze, frozen, room, stamp
from overlay_prepare.report import Unusable
from overlay_prepare.rollback import FOLD, NOTHING, STEP_BACK, UNDO, choose
from persistentdevice import NEW, OLD, Device, pretend
from rollbackdevice import THIRD, RollbackDevice, make
from tree import OPAQUE, ORIGIN, dig, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")
A, B, C, UNKNOWN = "IMAGE_VERSION=1\n", "IMAGE_VERSION=2\n", "IMAGE_VERSION=3\n", "on=overlay\n"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch)


@pytest.fixture
def device(tmp_path: Path) -> RollbackDevice:
    return make(tmp_path)


@pytest.mark.parametrize(("rollback", "previous", "image", "committed", "due"), [
    ("yes", B, A, False, STEP_BACK), ("hold", B, A, False, FOLD), ("no", B, A, False, STEP_BACK),
    ("yes", B, B, False, NOTHING), ("hold", B, B, False, NOTHING), ("no", B, B, False, FOLD),
    ("yes", B, C, False, FOLD), ("hold", B, C, False, FOLD), ("no", B, C, False, FOLD),
    ("yes", B, A, True, FOLD), ("yes", B, B, True, FOLD), ("yes", B, C, True, FOLD), ("no", B, A, True, FOLD),
    # The freeze was cut off: the record is still that of A.
    ("yes", A, B, False, UNDO), ("yes", A, C, False, UNDO), ("yes", A, A, False, STEP_BACK),
    ("no", A, B, False, UNDO), ("no", A, A, False, STEP_BACK), ("yes", A, B, True, UNDO),
    # What nobody can tell is no reason for what can't be undone.
    ("yes", B, UNKNOWN, False, NOTHING), ("yes", "", B, False, NOTHING), ("yes", "", A, False, STEP_BACK),
    ("yes", UNKNOWN, C, False, NOTHING), ("no", B, UNKNOWN, False, FOLD),
])  # fmt: skip
def test_what_is_due(rollback: str, previous: str, image: str, committed: bool, due: str) -> None:
    assert choose(rollback, A, previous, image, committed) == due


def test_nothing_happens_where_nothing_has_changed(device: RollbackDevice) -> None:
    device.start()
    before = read_tree(device.backing)
    device.start()
    assert read_tree(device.backing) == before
    device.start(NEW)
    before = read_tree(device.backing)
    device.start()
    assert read_tree(device.backing) == before


@pytest.mark.parametrize(("image", "words", "why"), [
    (NEW, {}, ""),
    (UNKNOWN, {}, "whether this is another image can't be told"),
    (NEW, {"direct": ("lib/docker",)}, "lib/docker is passed through from now on"),
    (NEW, {"direct": ("lib/other",)}, ""),
])  # fmt: skip
def test_when_nothing_is_frozen(
    image: str,
    words: "dict[str, tuple[str, ...]]",
    why: str,
    device: RollbackDevice,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if image == UNKNOWN:
        Device.identity = UNKNOWN
        device.start()
    else:
        device.start(image, **words)
    said = capsys.readouterr().err
    assert bool(why) is not (device.backing / "frozen/image").exists()
    assert ("the data will not go back with the image before this one: " in said) is bool(why)
    assert why in said
    assert device.shown("mine") == "mine"


def test_an_image_that_would_not_step_back_is_not_frozen_for(device: RollbackDevice) -> None:
    (device.backing / "rollback").write_text(THIRD)
    device.start(NEW)
    assert not (device.backing / "frozen/image").exists()
    device.start(OLD)
    assert (device.backing / "frozen/image").read_text() == NEW


@pytest.mark.parametrize("policy", ["refresh", "prune", "reset"])
def test_with_too_little_room_nothing_is_frozen_and_nothing_dropped(
    policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = make(tmp_path, policy)
    before = {path for path in read_tree(device.upper) if path != ".updated"}
    monkeypatch.setattr(room, "find_lack", lambda _backing: "1 inodes are left")
    device.start(NEW)
    assert not (device.backing / "frozen/image").exists()
    assert before <= set(read_tree(device.upper))
    assert device.shown("conf") == "1"


def test_what_is_usually_written_has_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upper = fill(tmp_path / "b/upper", "old", "sub/new")
    (upper / "old").write_bytes(b"x" * 50000)
    (upper / "sub/new").write_bytes(b"x" * 9000)
    os.utime(upper / "old", (1, 1))
    backing = hold(tmp_path / "b")

    def lack(free: int, inodes: int = 1000) -> str:
        info = os.statvfs_result((4096, 4096, 100, free, free, inodes, inodes, inodes, 0, 255))
        monkeypatch.setattr(posix, "statvfs", lambda _fd: info)
        return room.find_lack(backing)

    assert lack(50) == lack(20) == lack(8) == ""
    assert lack(7) == "what was written in the last seven days has about 0 MiB, and 0 MiB are free"
    assert lack(90, inodes=3) == "3 inodes are left"
    os.utime(upper / "old")
    assert lack(8) != ""


def test_a_disk_that_is_full_at_the_freeze_keeps_all(device: RollbackDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(freeze, "_copy", refuse)
    before = read_tree(device.upper)
    before.pop(".updated")
    device.start(NEW)
    assert not (device.backing / "frozen/image").exists()
    assert before.keys() <= read_tree(device.upper).keys()
    assert (device.backing / "contents").exists()
    assert stamp.is_current(hold(device.backing), NEW)


def test_a_fold_that_fails_is_tried_again(device: RollbackDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    device.use_b()
    (device.backing / "commit").touch()
    rename = posix.rename

    def refuse(source: str, *rest: object, **options: object) -> None:
        if source in ("more", "er"):
            raise OSError(5, "Input/output error")
        rename(source, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(posix, "rename", refuse)
    for image in (NEW, THIRD, OLD):
        device.start(image)
        assert (device.shown("own"), device.shown("deep/er/more"), device.shown("linked")) == ("b", "b", "a"), image
    with pytest.raises(Unusable, match="can't be folded"):
        device.boot()
    monkeypatch.setattr(posix, "rename", rename)
    device.boot()
    assert not (device.backing / "frozen").exists()
    assert (device.shown("own"), device.shown("deep/er/more"), device.shown("linked")) == ("b", "b", "a")


def test_a_staged_reset_that_two_layers_are_in_the_way_of_is_refused(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(5, "Input/output error")

    device.use_b()
    device.stage("path /VAR/linked\n")
    monkeypatch.setattr("overlay_prepare.fold.fold", refuse)
    device.start()
    assert (device.backing / "reset.refused").exists()
    assert device.shown("linked") == "a"


def test_a_staged_restore_acts_on_both_layers(device: RollbackDevice) -> None:
    device.use_b()
    device.stage("path /VAR/conf\npath /VAR/own\n")
    device.start()
    assert (device.shown("conf"), device.shown("own"), device.shown("linked")) == ("2", "", "a")


@pytest.mark.parametrize("frozen_as", ["kept", "upper"])
def test_a_reset_leaves_nothing_that_could_come_back(frozen_as: str, tmp_path: Path) -> None:
    device = make(tmp_path, "keep" if frozen_as == "upper" else "prune")
    device.use_b()
    device.start(OLD)
    device.start(NEW)
    device.stage("all\n")
    device.start()
    shutil.rmtree(device.backing / "trash")
    files = [path for path in device.backing.rglob("*") if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if path.read_bytes() in (b"a", b"b", b"mine")]


@pytest.mark.parametrize(
    "name", ["frozen", "frozen/kept", "frozen/upper", "frozen/undoing", "undone", "rollback", "good"]
)
@pytest.mark.parametrize("what", ["link", "fifo", "file", "directory"])
def test_a_hostile_disk_leads_nowhere(name: str, what: str, device: RollbackDevice, tmp_path: Path) -> None:
    """Whatever stands at one of the names, a boot comes through, and nothing outside is touched."""
    outside = fill(tmp_path / "outside", "file=outside", "directory/file=outside")
    before = read_tree(outside)
    for steps in ((), (NEW,), (NEW, OLD)):
        for step in steps:
            device.start(step)
        path = device.backing / name
        if path.is_dir() and not path.is_symlink():
            path.rename(tmp_path / f"aside-{len(steps)}")
        else:
            path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        {
            "link": lambda path=path: path.symlink_to(outside),
            "fifo": lambda path=path: os.mkfifo(path),
            "file": lambda path=path: path.write_text("something"),
            "directory": lambda path=path: fill(path, "in/it=here"),
        }[what]()  # type: ignore[no-untyped-call]
        for image in (NEW, OLD, THIRD):
            device.start(image)
            assert (device.backing / "frozen/upper").is_dir()
            assert not (device.backing / "frozen/upper").is_symlink()
        (device.backing / "commit").touch()
        device.start()
        assert read_tree(outside) == before


def test_layers_deeper_than_any_path_are_folded(device: RollbackDevice) -> None:
    fill(device.upper, "tmp/")
    dig(device.upper / "tmp", 60)
    device.start(NEW)
    fill(device.upper, "tmp/")
    dig(device.upper / "tmp", 70)
    (device.backing / "commit").touch()
    try:
        device.start()
        assert not (device.backing / "frozen/image").exists()
        at, depth = os.open(device.upper / "tmp", os.O_RDONLY), 0
        while os.listdir(at):
            inner = os.open(os.listdir(at)[0], os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at, depth = inner, depth + 1
        os.close(at)
        assert depth == 70
    finally:
        os.system(f"rm -rf '{device.backing}'")  # what shutil can't


FOLDS = [
    # What is frozen, what is on top, what becomes of it.
    (["x=a"], ["x=b"], {"x": "b"}), (["x=a"], ["x!"], {}), (["x!"], ["x!"], {"x": "!"}), (["x!"], ["x=b"], {"x": "b"}),
    (["conf=a"], ["conf!"], {"conf": "!"}), (["d/x=a"], ["d!"], {}), (["d/x=a"], ["d=b"], {"d": "b"}),
    (["d=a"], ["d/x=b"], {"d": "opaque", "d/x": "b"}), (["d!"], ["d/x=b"], {"d": "opaque", "d/x": "b"}),
    (["d/x=a", "d/y=a"], ["d/x=b"], {"d": "", "d/x": "b", "d/y": "a"}),
    (["d/x=a"], ["d/ opaque", "d/y=b"], {"d": "opaque", "d/y": "b"}),
    (["d/ opaque", "d/x=a"], ["d/y=b"], {"d": "opaque", "d/x": "a", "d/y": "b"}),
    ([], ["d/x=b", "d/y!"], {"d": "", "d/x": "b", "d/y": "!"}),
    (["d/e/x=a"], ["d/e/x!", "d/e/y>x"], {"d": "", "d/e": "", "d/e/y": ">x"}),
    (["lib/app/one=a"], ["lib/app/one!"], {"lib": "", "lib/app": "", "lib/app/one": "!"}),
    # Of the frozen directory nothing shows, and the other takes its place as a whole.
    (["d/x=a", "d/y!"], ["d/x=b", "d/y=b", "d/z/v=b"], {"d": "", "d/x": "b", "d/y": "b", "d/z": "", "d/z/v": "b"}),
    (["d/ opaque", "d/x=a"], ["d/x=b"], {"d": "opaque", "d/x": "b"}),
    (["d/e/x=a"], ["d/e/x=b", "d/y=b"], {"d": "", "d/e": "", "d/e/x": "b", "d/y": "b"}),
    # Not so here: a directory over a file would show what the image has.
    (["d/x=a"], ["d/x/v=b"], {"d": "", "d/x": "opaque", "d/x/v": "b"}),
    (["d/x=a", "d/y=a"], ["d/x=b", "d/y!"], {"d": "", "d/x": "b"}),
]  # fmt: skip


def test_a_fold_of_what_was_all_written_again_costs_little(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"lib/many/{number}/{name}" for number in range(5) for name in range(100)]
    fill(device.upper, *(f"{name}=a" for name in names))
    device.start(NEW)
    fill(device.upper, *(f"{name}=b" for name in names))
    (device.backing / "commit").touch()
    renames = []
    rename = posix.rename

    def count(*arguments: object, **options: object) -> None:
        renames.append(arguments)
        rename(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(posix, "rename", count)
    device.start()
    assert {(device.upper / name).read_text() for name in names} == {"b"}
    assert len(renames) < 50


@pytest.mark.parametrize(("below", "above", "expected"), FOLDS)
def test_what_a_fold_makes_of_two_layers(
    below: "list[str]", above: "list[str]", expected: "dict[str, str]", tmp_path: Path
) -> None:
    Device.identity = OLD
    device = RollbackDevice(tmp_path)
    device.start()
    fill(device.upper, *below)
    device.start(NEW)
    shutil.rmtree(device.upper)
    fill(device.upper, *above)
    for path in sorted(device.upper.rglob("*")):
        if not path.is_symlink() and not path.is_char_device():
            path.chmod(0o750)
            os.utime(path, (5, 7))
    device.upper.chmod(0o711)
    (device.backing / "commit").touch()
    device.start()
    found = {}
    for path in sorted(device.upper.rglob("*")):
        name = str(path.relative_to(device.upper))
        if path.is_char_device():
            found[name] = "!"
        elif path.is_symlink():
            found[name] = f">{path.readlink()}"
        elif path.is_dir():
            found[name] = "opaque" if OPAQUE in os.listxattr(path) else ""
            assert not [word for word in os.listxattr(path) if word not in (OPAQUE, ORIGIN)]
        else:
            found[name] = path.read_text()
        if path.is_dir() and name in {entry.rstrip("/") for entry in above} | {"d"} and "d/x=b" in above:
            assert (path.stat().st_mode & 0o777, path.stat().st_mtime) == (0o750, 7)
    assert found == expected
    assert device.upper.stat().st_mode & 0o777 == 0o711


def test_the_mark_of_a_good_boot_is_made_once_and_where_something_is_frozen(
    device: RollbackDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit.mark(hold(device.backing))
    assert not (device.backing / "good").exists()
    device.start(NEW)
    now = int(time.time())
    commit.mark(hold(device.backing))
    image, since = frozen.read_good(hold(device.backing))
    assert image == NEW
    assert now <= since <= now + 5
    monkeypatch.setattr("time.time", lambda: 5.0)
    commit.mark(hold(device.backing))
    assert frozen.read_good(hold(device.backing)) == (NEW, since)


@pytest.mark.parametrize(
    "text", [b"", b"TIME=\nx", b"TIME=-5\nx", b"TIME=9999999999999999999\nx", b"\xff\xfe", b"x" * 70000]
)
def test_a_mark_that_says_nothing(text: bytes, device: RollbackDevice) -> None:
    (device.backing / "good").write_bytes(text)
    assert frozen.read_good(hold(device.backing)) == ("", 0)


@pytest.mark.parametrize("name", ["read_good", "can_step_back"])
def test_a_note_that_can_not_be_read_costs_no_writable_directory(
    name: str, device: RollbackDevice, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    device.start()
    if name == "read_good":
        device.start(NEW)
    with monkeypatch.context() as patched:
        patched.setattr(frozen, name, fail)
        device.start(NEW, commit="good")
    assert stamp.is_current(hold(device.backing), NEW)
    said = capsys.readouterr().err
    assert ("it is not known whether the data are confirmed: Input/output error" in said) == (name == "read_good")
    assert ("the data will not go back with the image before this one: Input/output error" in said) == (
        name == "can_step_back"
    )
