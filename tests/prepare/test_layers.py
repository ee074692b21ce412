# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The directories of an overlay: made in an empty backing directory, kept in one that has them."""

import os
from pathlib import Path

import pytest

from hold import hold
from overlay_generator.names import backing_name
from overlay_prepare import labels, layers
from overlay_prepare.layers import make_layers
from overlay_prepare.request import Request
from tree import describe, fill, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and attributes need root")


class Device:
    def __init__(self, top: Path) -> None:
        self.where, self.backing, self.state = top / "var", top / "mounts/var", top / "state"
        self.where.mkdir()
        self.backing.mkdir(parents=True)

    def make(self, *direct: str) -> None:
        paths = tuple(f"{self.where}/{path}" for path in direct)
        make_layers(Request(str(self.where), str(self.backing), str(self.backing), direct=paths), hold(self.backing))


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr(layers, "STATE", str(tmp_path / "state"))
    monkeypatch.setattr("posix.sync", lambda: None)  # of no use to these tests, and slow
    return Device(tmp_path)


def test_they_are_made_once_and_closed_to_others(device: Device) -> None:
    device.make()
    assert sorted(os.listdir(device.backing)) == ["lower", "upper", "work"]
    for name in ("lower", "work"):
        assert (device.backing / name).stat().st_mode & 0o7777 == 0o700
    fill(device.backing, "upper/mine", "work/work/")
    before = read_tree(device.backing)
    device.make()
    assert read_tree(device.backing) == before
    assert not device.state.exists(), "only what is passed through has a link there"


LABELS = [
    ("security.selinux", b"system_u:object_r:var_t:s0\0"),
    ("security.SMACK64", b"_"),
    ("user.note", b"x"),
    ("trusted.note", b"x"),
]


@pytest.mark.parametrize(("name", "value"), LABELS)
def test_labels_of_the_image_s_directory_come_along(name: str, value: bytes, device: Device) -> None:
    try:
        os.setxattr(device.where, name, value)
    except OSError as error:
        pytest.skip(f"{name} can't be set here: {error.strerror}")
    device.make()
    assert os.getxattr(device.backing / "upper", name) == value
    assert describe(device.backing / "upper") == describe(device.where)


def test_what_is_passed_through_has_a_name_for_the_units(device: Device) -> None:
    fill(device.where, "lib/docker/file", "log/")
    device.make("lib/docker", "log/journal")
    found = {path.name.rpartition("-")[2]: path for path in (device.state / "var.direct").iterdir()}
    assert sorted(found) == ["docker", "journal"]
    assert os.listdir(found["docker"]) == ["file"]
    device.make("lib/docker", "log/journal")


def test_one_that_can_not_be_passed_through_is_told_and_the_boot_goes_on(
    device: Device, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(28, "No space left on device", "/x")

    with monkeypatch.context() as patch:
        patch.setattr("overlay_prepare.passthrough._fill", refuse)
        fill(device.where, "lib/docker/file", "lib/other/")
        device.make("lib/docker")
    assert (
        capsys.readouterr().err == f"<3>{device.where}/lib/docker is not passed through: /x: No space left on device\n"
    )
    assert not list(device.backing.glob("direct/*docker"))
    device.make("lib/docker", "lib/other")
    assert len(list(device.backing.glob("direct/*[a-z]"))) == 2


@pytest.mark.parametrize(("rollback", "labelled"), [
    ("no", ["lower", "work"]), ("yes", ["lower", "work", "frozen", "frozen/upper"]),
    ("hold", ["lower", "work", "frozen", "frozen/upper"]),
])  # fmt: skip
def test_what_is_made_is_labelled_like_the_image(
    rollback: str, labelled: "list[str]", device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(labels, "follow", lambda source, made: found.append((source, made.path)))
    backing = str(device.backing)
    make_layers(Request(str(device.where), backing, backing, rollback=rollback), hold(backing))
    assert found == [(str(device.where), f"{backing}/{name}") for name in labelled]
    for name in labelled:
        assert (device.backing / name).stat().st_mode & 0o7777 == 0o700


def test_what_the_upper_layer_can_not_have_is_said(
    device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(layers, "make_upper", lambda _where, _backing: ["one", "two"])
    device.make()
    assert capsys.readouterr().err == "<4>one\n<4>two\n"


def test_the_backing_directory_is_made_below_the_mount_point_alone(tmp_path: Path) -> None:
    with layers.open_backing(Request("/var", str(tmp_path), str(tmp_path))) as folder:
        assert folder.path == str(tmp_path)
    assert os.listdir(tmp_path) == []
    with layers.open_backing(Request("/var", f"{tmp_path}/a/b", str(tmp_path))) as folder:
        assert folder.path == f"{tmp_path}/a/b"
    assert (tmp_path / "a").stat().st_mode & 0o7777 == (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o700
    with pytest.raises(FileNotFoundError):
        layers.open_backing(Request("/var", f"{tmp_path}/none/b", f"{tmp_path}/none"))


def test_what_is_in_the_way_of_a_directory_that_is_passed_through_is_put_aside(
    device: Device, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_after: list[tuple[str, str, str]] = []
    monkeypatch.setattr(
        "overlay_prepare.storage.look_after", lambda where, path, place: looked_after.append((where, path, place.path))
    )
    name = backing_name(f"{device.where}/lib/docker")
    fill(device.backing, f"direct/{name}>../outside", "outside/")
    device.make("lib/docker")
    assert (device.backing / "direct" / name).is_dir()
    assert (device.backing / "direct" / f"{name}.refused").is_symlink()
    assert device.state.stat().st_mode & 0o777 == 0o755
    assert looked_after == [(str(device.where), f"{device.where}/lib/docker", f"{device.backing}/direct/{name}")]
    assert "is not passed through" not in capsys.readouterr().err
