"""Which image an upper layer belongs to: what tells two images apart, and that the note survives being written."""

import os
import posix
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from overlay_prepare import stamp
from powercut import cut_off


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "image/etc").mkdir(parents=True)
    (tmp_path / "image/usr/lib").mkdir(parents=True)
    return tmp_path / "image"


def test_the_words_of_os_release_are_taken(image: Path) -> None:
    (image / "etc/os-release").write_text("NAME=x\nIMAGE_ID=a\nIMAGE_VERSION=7\nBUILD_ID=b\nVERSION_ID=1\n")
    (image / "usr/lib/os-release").write_text("IMAGE_ID=other\n")
    identity = stamp.identify(str(image), str(image))
    assert identity.startswith("IMAGE_ID=a\nIMAGE_VERSION=7\nBUILD_ID=b\n")
    assert "NAME" not in identity
    (image / "etc/os-release").unlink()
    assert stamp.identify(str(image), str(image)).startswith("IMAGE_ID=other\n")


def test_another_version_is_another_image(image: Path) -> None:
    (image / "etc/os-release").write_text("IMAGE_VERSION=1\n")
    before = stamp.identify(str(image), str(image))
    assert stamp.identify(str(image), str(image)) == before
    (image / "etc/os-release").write_text("IMAGE_VERSION=2\n")
    assert stamp.identify(str(image), str(image)) != before


def test_the_stamp_is_current_only_for_its_image(tmp_path: Path) -> None:
    backing = str(tmp_path)
    assert not stamp.is_current(backing, "one\n")
    stamp.write(backing, "one\n")
    assert stamp.is_current(backing, "one\n")
    assert not stamp.is_current(backing, "two\n")
    stamp.mark_changing(backing)
    assert not stamp.is_current(backing, "one\n")
    assert os.listdir(tmp_path) == ["image"]


def test_a_stamp_cut_off_in_mid_write_is_no_image_s(tmp_path: Path) -> None:
    """Written in place: the old one, the new one, or torn; never that of another image."""
    old, new = "IMAGE_VERSION=1\nsquashfs=0:aa\n", "IMAGE_VERSION=22\nsquashfs=0:bb\n"

    def prepare() -> "Callable[[], object]":
        (tmp_path / stamp.NAME).write_text(old)
        return lambda: stamp.write(str(tmp_path), new)

    after = 0
    while not cut_off(prepare(), after):
        text = (tmp_path / stamp.NAME).read_text()
        assert text in (old, new) or not stamp.is_current(str(tmp_path), old)
        assert text == new or not stamp.is_current(str(tmp_path), new)
        after += 1
    assert after >= 4
    assert stamp.is_current(str(tmp_path), new)


def test_who_it_was_is_known_while_it_changes(tmp_path: Path) -> None:
    backing = str(tmp_path)
    assert stamp.read_previous(backing) == ""
    stamp.write(backing, "one\n")
    for _ in range(3):
        stamp.mark_changing(backing)
        assert stamp.read_previous(backing) == "one\n"
        assert not stamp.is_current(backing, "one\n")


def test_the_uuids_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert stamp.read_uuids(str(tmp_path)) is None
    for uuids in (["aa", "bb"], [], ["00"]):
        stamp.write_uuids(str(tmp_path), uuids)
        assert stamp.read_uuids(str(tmp_path)) == uuids
    (tmp_path / "uuids").write_bytes(b"\xff\xfe torn")
    assert stamp.read_uuids(str(tmp_path)) != ["torn"]


def test_on_a_full_disk_no_uuids_are_better_than_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp.write_uuids(str(tmp_path), ["aa"])

    def refuse(*_arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(posix, "write", refuse)
    stamp.write_uuids(str(tmp_path), ["aa", "bb"])
    assert stamp.read_uuids(str(tmp_path)) is None
    stamp.write(str(tmp_path), "one\n")


MAKE = {
    "squashfs": "mksquashfs {tree} {image} -quiet -no-progress -noappend -mkfs-time {time} -all-time 1",
    "ext4": "mkfs.ext4 -q -F -U {uuid} -d {tree} {image} 8M",
    "erofs": "mkfs.erofs -U {uuid} -T 1 {image} {tree}",
}


@pytest.mark.skipif(os.geteuid() != 0, reason="loop devices need root")
@pytest.mark.parametrize("kind", MAKE)
def test_another_build_of_an_image_is_told_by_its_file_system(kind: str, tmp_path: Path) -> None:
    """Also with a UUID that never changes, as reproducible builds have it, and the same inode for every directory."""
    identities = []
    for number, content in enumerate(("one", "", "two and longer")):
        tree, image = tmp_path / f"tree{number}", tmp_path / f"image{number}"
        (tree / "var").mkdir(parents=True)
        (tree / "var/file").write_text(content * 5000)
        uuid = "8d9d2f83-6a1a-4c5e-9e56-1f0f2e0a7b11"
        words = MAKE[kind].format(tree=tree, image=image, time=1, uuid=uuid).split()
        environ = {**os.environ, "E2FSPROGS_FAKE_TIME": "1", "SOURCE_DATE_EPOCH": "1"}
        if kind == "squashfs":
            environ.pop("SOURCE_DATE_EPOCH")
        try:
            if content:
                subprocess.run(words, check=True, capture_output=True, env=environ)
            else:
                shutil.copy(tmp_path / "image0", image)  # the other slot of the device
        except FileNotFoundError:
            pytest.skip(f"{words[0]} is not installed")
        script = 'mount -o loop,ro "$1" "$2" && shift 2 && exec "$@"'
        code = "import sys; from overlay_prepare.stamp import identify; print(identify(sys.argv[1], '/nowhere'))"
        source = str(Path(stamp.__file__).parents[1])
        at = tmp_path / "at"
        at.mkdir(exist_ok=True)
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", script, "sh", image, at, "/usr/bin/python3", "-c", code, at / "var"],
            env={**os.environ, "PYTHONPATH": source},
            capture_output=True,
            text=True,
            check=True,
        )
        identities.append(done.stdout)
    assert identities[0].startswith(f"{kind}=")
    assert identities[0] == identities[1]
    assert identities[0] != identities[2]


def test_only_what_is_not_zero_is_noted() -> None:
    assert stamp._spell(b"\0" * 32 + b"abc" + b"\0" * 45, 0, 80) == "20:" + (b"abc" + b"\0" * 13).hex()
    assert stamp._spell(b"x" * 40, 16, 24) == "10:" + (b"x" * 8).hex()
