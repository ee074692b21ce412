# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl reset and restore on real overlays: what is staged, what is refused, what the next boot makes of it."""

import functools
import posix
import tarfile
import time
from pathlib import Path

import pytest

from device import VAR, Device, needs_mounts
from overlay_prepare.resetrequest import Staged
from overlayctl.errors import Failure
from overlayctl.stage import request as staging
from product import Run

pytestmark = needs_mounts


@pytest.fixture
def device(run: Run, image: Path, tmp_path: Path) -> Device:
    made = Device(run, image, tmp_path)
    made.add_disk()
    return made


def said(device: Device, script: str, **boot: object) -> str:
    """What the commands of `script` say on the device, on both streams; the script prints their exit statuses."""
    text = device.boot(f"exec >/tmp/said 2>&1; {script}", **boot)  # type: ignore[arg-type]
    assert "Traceback" not in text
    return (device.root / "tmp/said").read_text()


def test_a_path_is_staged_shown_and_taken_back(device: Device) -> None:
    text = said(
        device,
        f"""
        echo mine >/var/lib/app/conf; echo mine >/var/lib/app/other
        overlayctl restore /var/lib/app/conf; cat {VAR}/reset; stat -c %a {VAR}/reset
        cd /var/lib/app; overlayctl restore other; cat {VAR}/reset
        overlayctl restore --cancel /var/lib/app/conf; cat {VAR}/reset
        overlayctl reset --cancel; test ! -e {VAR}/reset
        cat conf
        """,
    )
    assert text == (
        "/var/lib/app/conf: at the next boot it is as the image has it\n"
        "path /var/lib/app/conf\n600\n"
        "/var/lib/app/conf: at the next boot it is as the image has it\n"
        "/var/lib/app/other: at the next boot it is as the image has it\n"
        "path /var/lib/app/conf\npath /var/lib/app/other\n"
        "/var/lib/app/other: at the next boot it is as the image has it\n"
        "path /var/lib/app/other\n"
        "/var: nothing is staged\n"
        "mine\n"
    )


def test_the_next_boot_restores_and_only_that(device: Device) -> None:
    device.boot("rm /var/lib/app/conf; echo mine >/var/lib/app/other; overlayctl restore /var/lib/app/conf")
    script = f"cat /var/lib/app/conf /var/lib/app/other; test ! -e {VAR}/reset"
    assert said(device, script) == "from the image\nmine\n"


def test_the_next_boot_resets_but_for_what_is_kept(device: Device) -> None:
    device.boot(
        """mkdir -p /var/lib/keys/deep /var/lib/gone; echo k >/var/lib/keys/deep/a; echo g >/var/lib/gone/a
        echo mine >/var/lib/app/conf; overlayctl reset --keep '/var/lib/keys/**' /var"""
    )
    script = "cat /var/lib/app/conf /var/lib/keys/deep/a; test ! -e /var/lib/gone; overlayctl status --json"
    text = said(device, script)
    assert text.startswith("from the image\nk\n{")
    assert '"staged": null' in text


def test_a_dry_run_tells_and_stages_nothing(device: Device) -> None:
    text = said(
        device,
        f"""mkdir /var/new; touch /var/new/a; rm /var/lib/app/conf; echo x >/var/lib/app/other
        overlayctl reset --dry-run --keep '/var/lib/app/o*'; test ! -e {VAR}/reset
        overlayctl restore --dry-run /var/new; test ! -e {VAR}/reset""",
    )
    assert text == (
        "/var: at the next boot the upper layer is emptied\n"
        "  but what matches /var/lib/app/o* is kept\n"
        "  goes  /var/lib/app/conf\n"
        "  stays /var/lib/app/other\n"
        "  goes  /var/new/\n"
        "/var/new: at the next boot it is as the image has it\n"
    )


REFUSED = [
    ("restore /etc/fstab", "/etc/fstab is not below an overlay; those that persist: /var"),
    ("restore /var", "/var is the whole overlay; overlayctl reset /var empties it"),
    (
        "restore /var/lib/app/conf",
        "/var/lib/app/conf can't be restored alone: /var/lib/app was deleted; restore /var/lib/app",
    ),
    (
        "restore /var/log/deep/file",
        "/var/log/deep/file can't be restored alone: /var/log was replaced by a file; restore /var/log",
    ),
    ("restore --cancel /var/lib/app", "/var/lib/app is not staged: see overlayctl status"),
    ("reset --keep lib", "--keep lib: not an absolute path; nothing is staged"),
    ("reset --keep /etc/keys", "--keep /etc/keys: matches nothing below /var; nothing is staged"),
    ("reset --keep /var/../etc", '"keep /var/../etc" is not a request to reset something; nothing is staged'),
    ("reset --cancel --backup /tmp/x", "--cancel goes with paths alone"),
    (
        "reset --backup /var/backup.tar",
        "/var/backup.tar lies in /var, which is to be reset; write the backup somewhere else",
    ),
    (
        "reset --backup /nowhere/backup.tar",
        "the backup could not be made (/nowhere/backup.tar: No such file or directory); nothing is staged",
    ),
]


def test_what_is_refused_and_why(device: Device) -> None:
    commands = "".join(f"overlayctl {words} || echo $?\n" for words, _text in REFUSED)
    text = said(device, f"rm -r /var/lib/app /var/log; echo x >/var/log\n{commands} test ! -e {VAR}/reset")
    assert text.splitlines() == [line for _words, text in REFUSED for line in (f"overlayctl: {text}", "3")]


def test_what_was_deleted_and_made_anew_hides_the_image(device: Device) -> None:
    text = said(
        device,
        """rm -r /var/lib/app; mkdir /var/lib/app; echo own >/var/lib/app/own
        overlayctl restore /var/lib/app/conf || echo $?
        overlayctl restore /var/lib/app/own
        overlayctl restore /var/lib/app/nothing""",
    )
    assert text == (
        "overlayctl: /var/lib/app/conf can't be restored alone: /var/lib/app was deleted and made anew; "
        "restore /var/lib/app\n3\n"
        "/var/lib/app/own: at the next boot it is as the image has it\n"
        "warning: /var/lib/app/nothing: nothing was changed there, it is as the image has it\n"
        "/var/lib/app/own: at the next boot it is as the image has it\n"
        "/var/lib/app/nothing: at the next boot it is as the image has it\n"
    )


def test_what_is_mounted_on_top_is_no_part_of_it(device: Device) -> None:
    text = said(
        device,
        "mount -t tmpfs log /var/log; overlayctl restore /var/log/x || echo $?; overlayctl restore /var/log || true",
    )
    assert text.startswith(
        "overlayctl: /var/log/x lies on /var/log, which is mounted on top of the overlay and is not part of it\n3\n"
        "overlayctl: /var/log lies on /var/log, "
    )


def test_links_on_the_way_are_followed(device: Device) -> None:
    text = said(
        device, "rm /var/lib/app/conf; ln -s var/lib /state; cd /state/app; overlayctl restore conf /state/app/conf"
    )
    assert text == "/var/lib/app/conf: at the next boot it is as the image has it\n"


def test_memory_is_empty_anyway(device: Device) -> None:
    device.fstab("")
    text = said(device, "overlayctl reset || echo $?; overlayctl restore /var/lib || echo $?", disk=False)
    sentence = "/var is in memory: it is empty at each boot, and nothing needs to be reset"
    assert text == f"overlayctl: there is nothing to reset: {sentence}\n3\noverlayctl: {sentence}\n3\n"


def test_a_missing_disk_takes_nothing(device: Device) -> None:
    text = said(device, "overlayctl reset || echo $?", disk=False)
    assert text == (
        "overlayctl: there is nothing to reset: /var: its disk is missing and memory is in its place: "
        "fix that first, see overlayctl status\n3\n"
    )


def test_in_a_volatile_boot_the_disk_can_be_reset(device: Device) -> None:
    device.boot("touch /var/mine")
    device.cmdline += " overlayfs.upper=volatile"
    device.boot(f"overlayctl reset /var; grep all {VAR}/reset; test -e {VAR}/upper/mine")


def test_only_root(device: Device) -> None:
    text = said(device, "chmod 1777 /tmp; setpriv --reuid=65534 --clear-groups overlayctl reset || echo $?")
    assert text == "overlayctl: only root may look into upper layers and stage a reset; try it as root\n3\n"


def test_a_read_only_disk_takes_nothing(device: Device) -> None:
    text = said(device, f"mount -o remount,ro {VAR}; overlayctl reset || echo $?")
    assert f"{VAR} is mounted read-only, and nothing can be staged on it\n3\n" in text


def test_a_backup_has_everything(device: Device) -> None:
    said(
        device,
        """
        mkdir /var/d; echo one >/var/d/a; ln /var/d/a /var/d/b; ln -s a /var/d/c; mkfifo /var/d/p; rm /var/lib/app/conf
        chown 7:8 /var/d/a; /usr/bin/python3 -c "import os; os.setxattr('/var/d/a', 'user.x', b'y')"
        /usr/bin/python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('/var/d/s')"
        rm -r /var/log; mkdir /var/log
        overlayctl reset --backup /tmp/backup.tar /var
        """,
    )
    path = device.root / "tmp/backup.tar"
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        found = {entry.name: entry for entry in archive}
        assert sorted(found) == sorted(
            [
                "var",
                "var/d",
                "var/d/a",
                "var/d/b",
                "var/d/c",
                "var/d/p",
                "var/lib",
                "var/lib/app",
                "var/lib/app/conf",
                "var/log",
            ]
        )
        content = archive.extractfile("var/d/b")
        assert content is not None
        assert content.read() == b"one\n"
    assert (found["var/d/b"].islnk(), found["var/d/b"].linkname) == (True, "var/d/a")
    assert (found["var/d/a"].uid, found["var/d/a"].gid) == (7, 8)
    assert found["var/d/a"].pax_headers["SCHILY.xattr.user.x"] == "y"
    assert found["var/lib/app/conf"].ischr()
    assert found["var/log"].pax_headers["SCHILY.xattr.trusted.overlay.opaque"] == "y"
    assert not path.with_suffix(".tar.new").exists()


def test_a_failed_backup_stages_nothing(device: Device) -> None:
    device.boot(
        f"touch /var/x; mkdir /tmp/dir; ! overlayctl reset --backup /tmp/dir 2>/tmp/said; test ! -e {VAR}/reset"
    )
    assert (device.root / "tmp/said").read_text() == "overlayctl: /tmp/dir exists already and is not a file\n"


MERGES = [
    (None, Staged(paths=("/var/a",)), Staged(paths=("/var/a",))),
    (Staged(paths=("/var/a",)), Staged(paths=("/var/a/b", "/var/c")), Staged(paths=("/var/a", "/var/c"))),
    (Staged(paths=("/var/a/b",)), Staged(paths=("/var/a",)), Staged(paths=("/var/a",))),
    (Staged(paths=("/var/a",)), Staged(True, (), ("/var/k",)), Staged(True, (), ("/var/k",))),
    (Staged(True, (), ("/var/k",)), Staged(paths=("/var/a",)), Staged(True, (), ("/var/k",))),
    (Staged(True, (), ("/var/k",)), Staged(True, (), ("/var/l", "/var/k")), Staged(True, (), ("/var/k", "/var/l"))),
]


@pytest.mark.parametrize(("before", "more", "after"), MERGES)
def test_requests_come_together(before: "Staged | None", more: Staged, after: Staged) -> None:
    merged = staging.merge(before, more)
    assert (merged.whole, merged.paths, merged.keep) == (after.whole, after.paths, after.keep)


def test_a_full_disk_stages_nothing_by_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = staging.Place("/var", str(tmp_path))
    staging.write(place, lambda _place: Staged(paths=("/var/a",)))

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("unlink", "write"):
        monkeypatch.setattr(posix, name, refuse)
    for request in (Staged(paths=("/var/b",)), None):
        with pytest.raises(Failure, match=r"can't be written \(No space left on device\); nothing is staged"):
            staging.write(place, functools.partial(lambda given, _place: given, request))
    assert (tmp_path / "reset").read_text() == "path /var/a\n"
    assert time.time() - (tmp_path / "reset").stat().st_mtime < 60
