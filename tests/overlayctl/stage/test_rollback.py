# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rollback=yes on real overlays, by the emitted units: data go back with the image, and what overlayctl says of it."""

import json
import tarfile
from pathlib import Path

import pytest

from device import VAR, Device, needs_mounts
from product import Run

pytestmark = needs_mounts


@pytest.fixture
def device(run: Run, image: Path, tmp_path: Path) -> Device:
    made = Device(run, image, tmp_path)
    made.add_disk()
    configure(made, "Rollback=yes\n")
    return made


def configure(device: Device, text: str) -> None:
    """Let the section of /var be `text`."""
    (device.root / "etc/overlay-generator.conf").write_text(f"[/var]\n{text}")


def become(device: Device, version: int) -> None:
    """Another image is there at the next boot."""
    (device.root / "etc/os-release").write_text(f"IMAGE_ID=test\nIMAGE_VERSION={version}\n")
    (device.root / "var/lib/app/other").write_text(f"from image {version}\n")


def said(device: Device, script: str, **boot: object) -> str:
    """What the commands of `script` say on the device, both streams."""
    device.boot(f"exec >/tmp/said 2>&1; {script}", **boot)  # type: ignore[arg-type]
    text = (device.root / "tmp/said").read_text()
    assert "Traceback" not in text
    return text


def use(device: Device) -> None:
    """Image 1 is used, then image 2."""
    device.boot("echo one >/var/lib/app/conf; echo one >/var/lib/app/data; rm /var/lib/app/other; mkdir /var/lib/app/d")
    become(device, 2)
    device.boot("echo two >/var/lib/app/data; echo two >/var/lib/app/new; rm /var/lib/app/conf")


LIST = "cd /var/lib/app; for name in conf data other new; do printf '%s=' $name; cat $name 2>/dev/null || echo; done"
ONE = "conf=one\ndata=one\nother=\nnew=\n"
TWO = "conf=\ndata=two\nother=\nnew=two\n"


def test_back_on_the_old_image_its_data_are_there_again(device: Device) -> None:
    use(device)
    assert said(device, LIST) == TWO
    become(device, 1)
    assert said(device, f"{LIST}; cat /run/overlay-generator/var.changed /run/overlay-generator/var.rollback") == (
        f'{ONE}FROM_ID="test"\nTO_ID="test"\nFROM_VERSION="2"\nTO_VERSION="1"\nSTEP_BACK="yes"\nDATA="stepped-back"\n'
        'EVENT="stepped-back"\nFROM_VERSION="2"\nTO_VERSION="1"\n'
    )
    text = said(device, f"{LIST}; overlayctl export --undone /tmp/undone.tar; test ! -e {VAR}/frozen/image")
    assert text == ONE
    with tarfile.open(device.root / "tmp/undone.tar") as archive:
        assert "var/lib/app/new" in archive.getnames()


def test_what_is_committed_stays(device: Device) -> None:
    use(device)
    assert said(device, f"overlayctl commit; {LIST}") == (
        f"/var: what was written since the update is kept for good at the next boot\n{TWO}"
    )
    assert said(device, f"{LIST}; cat {VAR}/upper/lib/app/data; ls {VAR}/frozen/upper") == f"{TWO}two\n"
    become(device, 1)
    assert said(device, LIST) == TWO


@pytest.mark.parametrize(("commit", "kept"), [("good", True), ("next-update", False), ("30d", False), ("1s", True)])
def test_a_good_boot_commits_as_it_is_configured(commit: str, kept: bool, device: Device) -> None:
    configure(device, f"Rollback=yes\nCommit={commit}\n")
    use(device)
    mark = "python3 -ISB /usr/lib/overlay-generator/prepare --boot-good"
    said(device, f"{mark}; grep -c '^TIME=' {VAR}/good; sleep 1.1")
    said(device, LIST)
    become(device, 1)
    assert said(device, LIST) == (TWO if kept else ONE)


def test_overlayfs_rollback_no_keeps_the_newer_data(device: Device) -> None:
    use(device)
    become(device, 1)
    device.cmdline += " overlayfs.rollback=no"
    assert said(device, LIST) == TWO
    device.cmdline = device.cmdline.replace(" overlayfs.rollback=no", "")
    assert said(device, LIST) == TWO


def test_a_third_image_ends_the_trial_of_the_second(device: Device) -> None:
    use(device)
    become(device, 3)
    assert said(device, f"{LIST}; echo three >data") == TWO
    become(device, 2)
    assert said(device, LIST) == TWO
    become(device, 1)
    assert said(device, LIST) == TWO


@pytest.mark.parametrize(("version", "shown"), [(1, ONE), (2, TWO), (3, TWO)])
def test_without_the_setting_there_is_one_layer_again(version: int, shown: str, device: Device) -> None:
    """An image whose owner no longer wants it, or never did, finds nothing hidden in a layer that it does not mount."""
    use(device)
    configure(device, "")
    become(device, version)
    assert said(device, f"{LIST}; test ! -e {VAR}/frozen") == shown


def test_the_first_update_to_it_is_not_frozen(device: Device) -> None:
    """The image before has one layer, and would find what was written since alone."""
    configure(device, "")
    device.boot("echo one >/var/lib/app/data")
    configure(device, "Rollback=yes\n")
    become(device, 2)
    text = said(device, f"test ! -e {VAR}/frozen/image; cat /run/overlay-generator/var.rollback; cat /var/lib/app/data")
    assert text == 'EVENT="refused"\nFROM_VERSION="1"\nTO_VERSION="2"\none\n'


def test_status_tells_it(device: Device) -> None:
    configure(device, "Rollback=yes\nCommit=7d\nPassthrough=/var/lib/docker\n")
    use(device)
    text = said(device, "overlayctl status --json || :")
    (found,) = json.loads(text)["directories"]
    assert found["rollback"] == "yes"
    assert found["commit"] == "604800"
    frozen = found["frozen"]
    assert (frozen["from_version"], frozen["to_version"], frozen["staged"], frozen["good"]) == ("1", "2", False, 0)
    assert frozen["since"] > 1_000_000_000
    assert frozen["files"] == 3
    text = said(device, "overlayctl status || :")
    assert "the data of version 1, which come back with that image\n" in text
    assert "kept for good 7d after the first good boot\n" in text
    assert "what is passed through is shared by all images, and never goes back\n" in text


def test_verbs_that_know_one_layer_refuse(device: Device) -> None:
    use(device)
    why = "an update has frozen what was written before it, and this sees one layer alone"
    for verb in ("diff", "export /tmp/x.tar", "restore /var/lib/app/conf", "reset --backup /tmp/b.tar /var"):
        text = said(device, f"overlayctl {verb} || echo status $?")
        assert f"overlayctl: /var: {why}" in text, verb
        assert text.endswith("status 3\n")
    assert said(device, "overlayctl rollback || echo status $?").endswith("status 3\n")


def test_what_would_go_back_is_shown(device: Device) -> None:
    use(device)
    text = said(device, "overlayctl rollback --dry-run")
    assert text.startswith("/var: version 1, if booted now, finds its data of ")
    assert text.splitlines()[1:] == ["  /var/lib/app/conf", "  /var/lib/app/data", "  /var/lib/app/new"]


def test_with_nothing_frozen_all_verbs_work(device: Device) -> None:
    device.boot("echo one >/var/lib/app/conf")
    text = said(device, "overlayctl diff; overlayctl rollback --dry-run || :; overlayctl commit || :")
    assert "/var/lib/app/conf" in text
    assert text.count("no update has frozen anything there") == 2


@pytest.mark.parametrize("words", ["/var", "--keep /var/lib/app/new /var"])
def test_a_reset_acts_on_both_layers(words: str, device: Device) -> None:
    use(device)
    device.boot(f"overlayctl reset {words}")
    shown = "conf=from the image\ndata=\nother=from image 2\nnew=" + ("two\n" if "keep" in words else "\n")
    assert said(device, f"{LIST}; test ! -e {VAR}/undone") == shown
    become(device, 1)
    assert said(device, LIST) == shown.replace("image 2", "image 1"), "nothing of it comes back"


MAKE = """
import sqlite3
with sqlite3.connect("/var/lib/app/app.db") as made:
    made.executescript("CREATE TABLE log (text); INSERT INTO log VALUES ('of 1'); PRAGMA user_version = 1")
"""
# As the example app-migrate does it.
MIGRATE = """
import sqlite3
with sqlite3.connect("/var/lib/app/app.db") as made:
    made.executescript("ALTER TABLE log ADD COLUMN level; INSERT INTO log VALUES ('of 2', 1); PRAGMA user_version = 2")
"""
ASK = """
import sqlite3
made = sqlite3.connect("/var/lib/app/app.db")
for question in ("PRAGMA user_version", "SELECT * FROM log", "PRAGMA integrity_check"):
    print(made.execute(question).fetchall())
"""


def test_a_database_that_an_update_has_migrated_goes_back(device: Device) -> None:
    """The older program never sees the newer schema, which app-migrate of packaging/examples alone can only refuse."""
    for name, text in (("make", MAKE), ("migrate", MIGRATE), ("ask", ASK)):
        (device.root / "etc" / name).write_text(text)
    assert said(device, "python3 /etc/make; python3 /etc/ask") == "[(1,)]\n[('of 1',)]\n[('ok',)]\n"
    become(device, 2)
    script = "test -e /run/overlay-generator/var.changed; python3 /etc/migrate; python3 /etc/ask"
    assert said(device, script) == "[(2,)]\n[('of 1', None), ('of 2', 1)]\n[('ok',)]\n"
    become(device, 1)
    assert said(device, "python3 /etc/ask") == "[(1,)]\n[('of 1',)]\n[('ok',)]\n"
