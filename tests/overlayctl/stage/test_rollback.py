# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rollback=yes on real overlays, by the emitted units: data go back with the image, and what overlayctl says of it."""

import json
import tarfile
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path

import pytest

from device import VAR, Device, needs_mounts
from product import REPOSITORY, Run

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
    text = said(
        device, f"{mark}; grep -c '^TIME=' {VAR}/good; sleep 1.1; overlayctl rollback --dry-run; overlayctl status"
    )
    word = "is confirmed, as this boot is good: every image finds the newer data from the next boot on\n"
    assert (word in text) == kept
    assert ("which come back with that image" in text) != kept
    assert ("kept for good from the next boot on, as this" in text) == kept
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


def read_kinds(text: str) -> "dict[str, str]":
    """By the names in /var/lib/app, the kinds of change in the JSON of diff."""
    top = "/var/lib/app/"
    found = {change["path"]: change["kind"] for change in map(json.loads, text.splitlines())}
    return {path[len(top) :]: kind for path, kind in found.items() if path.startswith(top)}


def test_diff_sees_both_layers(device: Device) -> None:
    use(device)
    text = said(device, "overlayctl diff --json; echo; overlayctl diff --since-update --json")
    both, since = map(read_kinds, text.split("\n\n"))
    assert both == {"conf": "deleted", "d": "added", "data": "added", "new": "added", "other": "deleted"}
    assert since == {"conf": "deleted", "data": "changed", "new": "added"}
    text = said(device, "overlayctl diff --since-update --content /var/lib/app/data")
    assert "--- before/var/lib/app/data\n+++ now/var/lib/app/data\n" in text
    assert "-one\n+two\n" in text


@pytest.mark.parametrize("policy", ["prune", "reset"])
def test_diff_since_an_update_that_dropped_something(policy: str, device: Device) -> None:
    """Compared with what the update left: what it dropped came back with the other image alone."""
    configure(device, f"Rollback=yes\nPolicy={policy}\n")
    use(device)
    text = said(device, "overlayctl diff --json; echo; overlayctl diff --since-update --json")
    both, since = map(read_kinds, text.split("\n\n"))
    left = {"d": "added"} if policy == "prune" else {}
    assert both == {"conf": "deleted", "data": "added", "new": "added", **left}
    assert since == {"conf": "deleted", "data": "changed" if policy == "prune" else "added", "new": "added"}


def test_diff_since_an_update_where_none_was(device: Device) -> None:
    device.boot("echo one >/var/lib/app/conf")
    text = said(device, "overlayctl diff --since-update || echo status $?")
    assert text.startswith("overlayctl: /var: no update has frozen anything there")
    assert text.endswith("status 3\n")


def test_export_has_both_layers(device: Device) -> None:
    use(device)
    said(device, "overlayctl export --deletions /tmp/gone /tmp/x.tar")
    with tarfile.open(device.root / "tmp/x.tar") as archive:
        names = {name for name in archive.getnames() if name.startswith("var/lib/app/")}
        data = archive.extractfile("var/lib/app/data")
        assert data is not None
        assert data.read() == b"two\n"
    assert names == {f"var/lib/app/{name}" for name in ("d", "data", "new")}
    assert (device.root / "tmp/gone").read_text() == "var/lib/app/conf\nvar/lib/app/other\n"


def test_restore_of_what_is_in_either_layer(device: Device) -> None:
    use(device)
    text = said(device, "overlayctl restore /var/lib/app/conf /var/lib/app/other /var/lib/app/none")
    assert text == (
        "warning: /var/lib/app/none: nothing was changed there, it is as the image has it\n"
        "/var/lib/app/conf: at the next boot it is as the image has it\n"
        "/var/lib/app/other: at the next boot it is as the image has it\n"
        "/var/lib/app/none: at the next boot it is as the image has it\n"
        "  this ends the way back: from then on the image before the update finds the same in /var\n"
    )
    now = "conf=from the image\ndata=two\nother=from image {}\nnew=two\n"
    assert said(device, LIST) == now.format(2)
    become(device, 1)
    assert said(device, LIST) == now.format(1)


def test_restore_below_what_hides_the_image(device: Device) -> None:
    """Deleted before the update and made anew after it: no mark in one layer alone tells that it hides the image's."""
    device.boot("rm -r /var/lib/app")
    become(device, 2)
    device.boot("mkdir /var/lib/app; echo two >/var/lib/app/conf")
    text = said(device, "overlayctl restore /var/lib/app/conf || echo status $?")
    assert text == (
        "overlayctl: /var/lib/app/conf can't be restored alone: /var/lib/app was deleted and made anew; "
        "restore /var/lib/app\nstatus 3\n"
    )


def test_the_backup_is_the_one_layer_that_the_two_will_be(device: Device) -> None:
    use(device)
    said(device, "mkdir /var/lib/late; rm -r /var/lib/app/d; mkdir /var/lib/app/d; touch /var/lib/app/d/x")
    text = said(
        device, "overlayctl reset --dry-run --keep /var/lib/app/none /var; overlayctl reset --backup /tmp/b.tar /var"
    )
    assert "  goes  /var/lib/app/other\n" in text, "deleted before the update"
    assert "  goes  /var/lib/app/new\n" in text, "written after it"
    with tarfile.open(device.root / "tmp/b.tar") as archive:
        found = {member.name: member for member in archive.getmembers()}
    marked = {name for name, member in found.items() if member.pax_headers.get("SCHILY.xattr.trusted.overlay.opaque")}
    assert {name: found[f"var/lib/app/{name}"].type for name in ("conf", "other", "data", "new", "d/x")} == {
        "conf": tarfile.CHRTYPE, "other": tarfile.CHRTYPE, "data": tarfile.REGTYPE, "new": tarfile.REGTYPE,
        "d/x": tarfile.REGTYPE,
    }  # fmt: skip
    assert "var/lib/app/d" in marked
    assert "var/lib/app" not in marked
    empty = "conf=from the image\ndata=\nother=from image 2\nnew=\n"
    assert said(device, LIST) == empty


def test_preview_of_the_image_before_lists_what_rollback_does(device: Device) -> None:
    use(device)
    make = "mkdir -p /tmp/old/var /tmp/old/etc; printf 'IMAGE_ID=test\\nIMAGE_VERSION=1\\n' >/tmp/old/etc/os-release"
    found = said(device, f"{make}; overlayctl preview --json /tmp/old | grep undone").splitlines()
    *findings, summary = [json.loads(line) for line in found]
    assert summary["rollback"] == "back"
    listed = said(device, "overlayctl rollback --dry-run").splitlines()[1:]
    assert [one["path"] for one in findings] == [line.strip() for line in listed]


def test_what_would_go_back_is_shown(device: Device) -> None:
    use(device)
    text = said(device, "overlayctl rollback --dry-run")
    assert text.startswith("/var: version 1, if booted now, finds its data of ")
    assert text.splitlines()[1:] == ["  /var/lib/app/conf", "  /var/lib/app/data", "  /var/lib/app/new"]


def test_a_fold_that_has_begun_is_told_and_nothing_goes_back(device: Device) -> None:
    """A file that somebody has made immutable keeps it from its end."""
    use(device)
    fixed = f"{VAR}/upper/lib/app/new"
    said(device, f"chattr +i {fixed}; overlayctl commit; overlayctl commit --cancel; overlayctl commit")
    asked = ("status", "rollback --dry-run", "commit --cancel", "diff --since-update")
    text = said(device, "; ".join(f"overlayctl {words} || :" for words in asked))
    assert (
        "  frozen    what an update froze and what came after it are being folded: the next boot goes on with that\n"
        in text
    )
    assert "which come back with that image" not in text
    assert "/var: is being folded: every image finds the newer data from the next boot on\n" in text
    assert "overlayctl: /var: a boot has begun to fold what the update froze, and nothing takes that back\n" in text
    assert "overlayctl: /var: what came after the update is being folded, and can't be told apart any more\n" in text
    (found,) = json.loads(said(device, f"overlayctl status --json || :; chattr -i {fixed}"))["directories"]
    assert (found["frozen"]["folding"], found["frozen"]["from_version"]) == (True, "1")
    assert said(device, f"{LIST}; test ! -e {VAR}/frozen/image") == TWO
    become(device, 1)
    assert said(device, LIST) == TWO


def test_what_is_staged_is_told(device: Device) -> None:
    """The step back comes first, and what is staged after it."""
    use(device)
    make = "mkdir -p /tmp/old/var /tmp/old/etc; printf 'IMAGE_ID=test\\nIMAGE_VERSION=1\\n' >/tmp/old/etc/os-release"
    asked = ("rollback --dry-run", "preview /tmp/old", "restore --cancel /var/lib/app/data", "preview /tmp/old")
    script = "; ".join(f"overlayctl {words} || :" for words in ("restore /var/lib/app/data", *asked))
    text, again = said(device, f"{make}; {script}").split("nothing is staged", 1)
    assert "  /var/lib/app/new\n  after that what is staged is reset, see overlayctl status\n" in text
    note = "what overlayctl reset or restore has staged is done at that boot as well, and not foreseen here"
    assert note in text
    assert note not in again
    reset = ("reset /var", "rollback --dry-run", "preview --fail-on hidden,undone /tmp/old", "status")
    text = said(device, "; ".join(f"overlayctl {words} || :" for words in reset))
    assert "note: a reset is staged: all that was written is gone at that boot, whichever image it is of\n" in text
    assert "undone" not in text
    assert "refused by --fail-on" not in text
    assert "/var: a reset is staged: no image finds what was written, before the update or since\n" in text
    assert "with what is staged below no image finds them again\n" in text
    become(device, 1)
    assert said(device, f"{LIST}; test ! -e {VAR}/undone") == "conf=from the image\ndata=\nother=from image 1\nnew=\n"


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


EXAMPLES = REPOSITORY / "packaging/examples"
# A stand-in for sqlite3(1), which not every machine has: Python's own library does the same.
SQLITE = """#!/usr/bin/python3
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2].split(";"):
    for row in database.execute(statement):
        print(*row, sep="|")
"""
DATABASE = "/var/lib/app/app.db"
ASK = f"sqlite3 {DATABASE} 'PRAGMA user_version; SELECT * FROM log; PRAGMA integrity_check'"


@pytest.fixture
def application(device: Device) -> "Callable[[int, str], str]":
    """What a script of the application in one image says, after what app-migrate.service does before it starts."""
    (device.root / "etc/bin").mkdir()
    (device.root / "etc/bin/sqlite3").write_text(SQLITE)
    (device.root / "etc/bin/sqlite3").chmod(0o755)
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(EXAMPLES / "app-migrate.service")
    condition, program = unit["Unit"]["ConditionPathExists"], unit["Service"]["ExecStart"]
    assert unit["Install"]["RequiredBy"] == unit["Unit"]["Before"], "without its migration it does not start"
    newer = (EXAMPLES / program.rpartition("/")[2]).read_text()
    # The older version of the application knows nothing of what comes after it.
    older = newer.replace("wanted=2", "wanted=1").rpartition('[ "$found" -ge 2 ]')[0]
    assert "wanted=1" in older
    for version, text in ((1, older), (2, newer)):
        (device.root / f"etc/app-migrate-{version}").write_text(text)

    def start(version: int, script: str) -> str:
        become(device, version)
        migrate = f"sh /etc/app-migrate-{version}"
        return said(device, f"PATH=/etc/bin:$PATH; [ ! -e {condition} ] || {migrate} || exit 0; {script}")

    return start


def test_a_database_that_an_update_has_migrated_goes_back(application: "Callable[[int, str], str]") -> None:
    """The older program never sees the newer schema, and the newer one finds its own again where it is undone."""
    make = f"sqlite3 {DATABASE} \"CREATE TABLE log (text); INSERT INTO log VALUES ('of 1'); PRAGMA user_version = 1\""
    assert application(1, f"{make}; {ASK}") == "1\nof 1\nok\n"
    more = f"sqlite3 {DATABASE} \"INSERT INTO log VALUES ('of 2', 'info')\""
    assert application(2, f"{more}; {ASK}") == "2\nof 1|None\nof 2|info\nok\n"
    assert application(2, ASK) == "2\nof 1|None\nof 2|info\nok\n", "migrated once"
    assert application(1, ASK) == "1\nof 1\nok\n"
    kept = f"sqlite3 {VAR}/undone/lib/app/app.db 'SELECT count(*) FROM log'"
    assert application(1, f"{ASK}; {kept}") == "1\nof 1\nok\n2\n"


def test_without_rollback_the_older_application_does_not_start(
    device: Device, application: "Callable[[int, str], str]"
) -> None:
    """The control, and what the example is for in itself."""
    configure(device, "")
    make = f"sqlite3 {DATABASE} 'CREATE TABLE log (text); PRAGMA user_version = 1'"
    assert application(1, f"{make}; echo started") == "started\n"
    assert application(2, "echo started") == "started\n"
    text = application(1, "echo started")
    assert text == f"<3>{DATABASE} has version 2, and this image (1, a step back: yes) knows 1\n"
