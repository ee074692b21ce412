# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl reset and restore: what is passed through goes as well, so it is told, and is in the backup; a backup that
the reset would take away, and what stays although nobody wants it.
"""

import tarfile
from pathlib import Path

import pytest

from device import Device, needs_mounts
from product import Run

pytestmark = needs_mounts
DOCKER = "/var/lib/docker"
ALSO = f"  {DOCKER}, which is passed through, is as the image has it as well\n"


@pytest.fixture
def device(run: Run, image: Path, tmp_path: Path) -> Device:
    made = Device(run, image, tmp_path)
    made.add_disk()
    (made.root / "var/lib/docker").mkdir()
    (made.root / "var/lib/docker/base").write_text("image\n")
    (made.root / "etc/overlay-generator.conf").write_text(f"[/var]\nPassthrough={DOCKER}\n")
    made.boot(f"mkdir {DOCKER}/d; echo precious >{DOCKER}/d/data; setfattr -n trusted.overlay.opaque -v y {DOCKER}/d")
    return made


def said(device: Device, *commands: str) -> str:
    """What the commands say on the device, on both streams."""
    device.boot("exec >/tmp/said 2>&1; " + "; ".join(f"{command} || echo status $?" for command in commands))
    text = (device.root / "tmp/said").read_text()
    assert "Traceback" not in text
    return text


def test_a_reset_tells_and_saves_it(device: Device) -> None:
    text = said(device, "overlayctl reset --dry-run /var", "overlayctl reset --backup /tmp/b.tar /var")
    assert f"{ALSO}  goes  {DOCKER}/\n" in text
    assert text.endswith(ALSO)
    with tarfile.open(device.root / "tmp/b.tar") as archive:
        found = {member.name: member for member in archive.getmembers()}
        data = archive.extractfile("var/lib/docker/d/data")
        assert data is not None
        assert data.read() == b"precious\n"
    assert found["var/lib/docker/d"].pax_headers["SCHILY.xattr.trusted.overlay.opaque"] == "y", "an engine's own"
    assert said(device, f"ls {DOCKER}") == "base\n"


def test_what_is_kept_of_it_is_told(device: Device) -> None:
    text = said(device, f"overlayctl reset --dry-run --keep '{DOCKER}/d/**' /var")
    assert f"  goes  {DOCKER}/base\n  stays {DOCKER}/d/data\n" in text
    text = said(device, f"overlayctl reset --keep {DOCKER} /var")
    assert ALSO not in text
    assert said(device, f"cat {DOCKER}/d/data") == "precious\n"


def test_it_can_be_restored_whole_and_only_so(device: Device) -> None:
    text = said(device, f"overlayctl restore {DOCKER}/d/data", "overlayctl restore --dry-run /var/lib")
    assert text == (
        f"overlayctl: {DOCKER}/d/data lies in {DOCKER}, which is passed through; that can only be restored whole\n"
        "status 3\n"
        "warning: /var/lib: nothing was changed there, it is as the image has it\n"
        "/var/lib: at the next boot it is as the image has it\n"
        f"  but {DOCKER}, which is passed through, stays\n"
    )
    assert said(device, f"overlayctl restore {DOCKER}") == f"{DOCKER}: at the next boot it is as the image has it\n"
    assert said(device, f"ls {DOCKER}") == "base\n"


@pytest.mark.parametrize("place", ["/var/lib", "/home", DOCKER, "/srv", "/run/buildroot/mounts/var"])
def test_a_backup_that_the_reset_would_take_away(place: str, device: Device) -> None:
    """By whatever way it is named: /home and /srv are bind mounts of the overlay and of the disk."""
    for name in ("home", "srv", "var/home"):
        (device.root / name).mkdir()
    binds = "mount --bind /var/home /home; mount --bind /run/buildroot/mounts/var/upper /srv"
    text = said(device, binds, f"overlayctl reset --backup {place}/b.tar /var", f"ls {place} | grep b.tar")
    assert text == (
        f"overlayctl: {place}/b.tar lies in /var, which is to be reset; write the backup somewhere else\n"
        "status 3\nstatus 1\n"
    )


def test_a_backup_beside_it_on_the_same_disk(device: Device) -> None:
    """The disk's own root, which is not reset, of a backing directory that is below it."""
    (device.root / "mnt").mkdir()
    conf = f"[/var]\nPassthrough={DOCKER}\n"
    (device.root / "etc/overlay-generator.conf").write_text(conf)
    text = said(device, "mount -t tmpfs tmpfs /mnt", "overlayctl reset --backup /mnt/b.tar /var", "test -s /mnt/b.tar")
    assert "status" not in text
    assert "/mnt/b.tar: " in text


def test_a_backup_by_a_link_that_lies_there(device: Device) -> None:
    text = said(device, "ln -s /tmp/stick /var/lib/link", "overlayctl reset --backup /var/lib/link /var",
                "test ! -e /tmp/stick")  # fmt: skip
    assert text == (
        "overlayctl: /var/lib/link lies in /var, which is to be reset; write the backup somewhere else\nstatus 3\n"
    )


def test_a_glob_that_keeps_nothing_as_of_now(device: Device) -> None:
    text = said(device, "overlayctl reset --dry-run --keep '/var/lib/NetwrokManager/**' --keep '/var/l?b/x' /var")
    assert text.startswith(
        "overlayctl: --keep /var/lib/NetwrokManager/**: /var/lib/NetwrokManager is not there, so that it keeps nothing"
        " as of now\n/var: "
    )


def test_a_name_with_a_bracket(device: Device) -> None:
    text = said(device, "mkdir '/var/lib/a[1]'", "overlayctl reset --keep '/var/lib/a[1]' /var")
    wanted = "[...] stands for one sign; write [[] for [ itself; nothing is staged\nstatus 3\n"
    assert text == f"overlayctl: --keep /var/lib/a[1]: {wanted}"
    said(device, "overlayctl reset --keep '/var/lib/a[[]1]' /var")
    assert said(device, "ls /var/lib") == "a[1]\napp\ndocker\n"


def test_what_lies_too_deep_stays_and_is_told(device: Device) -> None:
    """Where everything has to be looked at for what is kept."""
    deep = "/".join("d" * 310)
    script = f"mkdir -p /var/x/{deep}; echo s >/var/x/{deep}/secret"
    text = said(device, script, "overlayctl reset --dry-run --keep '/var/**/keepme' /var")
    assert "\n  stays /var/x/d/d/" in text
    device.boot("overlayctl reset --keep '/var/**/keepme' /var")
    text = said(device, f"cat /var/x/{deep}/secret")
    assert text == "s\n"


def test_more_than_anybody_passes_through(device: Device) -> None:
    """The disk is somebody else's work: a reset is staged all the same, and a backup is not made."""
    make = "for i in $(seq 1100); do mkdir /run/buildroot/mounts/var/direct/var-$i; done"
    told = "/run/buildroot/mounts/var/direct has more than 1000 directories"
    text = said(device, make, "overlayctl reset /var", "overlayctl reset --backup /tmp/b.tar /var", "ls /tmp/b.tar")
    assert text.startswith(f"overlayctl: /var: {told}\n/var: at the next boot the upper layer is emptied\n")
    assert f"overlayctl: the backup could not be made ({told}); nothing is staged\nstatus 3\n" in text
    assert text.endswith("status 2\n")
