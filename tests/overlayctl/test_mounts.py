# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""mountinfo: which mount is seen where, which overlay is ours, and what is covered. Cases are data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlayctl import mounts
from overlayctl.mounts import Table
from overlayctl.status import devices

B = "/run/buildroot/mounts"
ROOT = "21 1 254:0 / / ro,relatime shared:1 - squashfs /dev/root ro"
RUN = "23 21 0:21 / /run rw,nosuid,nodev - tmpfs tmpfs rw,size=20%"
DISK = f"30 23 8:1 / {B}/var rw - ext4 /dev/sda1 rw"
LOWER = f"31 30 254:0 /var {B}/var/lower ro - squashfs /dev/root ro"
VAR = f"32 21 0:40 / /var rw shared:9 - overlay overlay rw,lowerdir={B}/var/lower,upperdir={B}/var/upper,workdir=w"
LOG = "33 32 8:2 / /var/log rw - ext4 /dev/sda2 rw"
EARLY = "29 21 8:3 / /var/early rw - ext4 /dev/sda3 rw"
HOME = f"34 21 0:41 / /home rw - overlay overlay ro,upperdir={B}/home/upper"
FOREIGN = "35 21 0:42 / /opt rw - overlay overlay rw,lowerdir=/a,upperdir=/b/upper,workdir=/b/work"
VOLATILE = "36 21 0:43 / /srv rw - overlay overlay rw,upperdir=/run/buildroot/volatile/srv/upper"
BIND = "37 21 254:0 /x /var rw - squashfs /dev/root ro"
ON_TOP = "38 32 0:44 / /var rw - tmpfs tmpfs rw"
FALLBACK = f"39 30 0:45 / {B}/var rw - tmpfs tmpfs rw"
SPACES = "40 21 0:46 / /a\\040b\\134c rw - tmpfs tmpfs rw"


def table(*lines: str) -> Table:
    return mounts.parse("".join(f"{line}\n" for line in lines))


OURS = [
    ((ROOT, RUN, DISK, LOWER, VAR), ["/var"]),
    ((ROOT, RUN, DISK, LOWER, VAR, LOG, HOME), ["/home", "/var"]),
    ((ROOT, FOREIGN), []),
    ((ROOT, VOLATILE), ["/srv"]),
    ((ROOT, VAR, ON_TOP), []),
    ((ROOT, BIND), []),
    ((), []),
]


@pytest.mark.parametrize(("lines", "wheres"), OURS)
def test_overlays_of_ours(lines: "tuple[str, ...]", wheres: "list[str]") -> None:
    assert table(*lines).overlays() == wheres


HOLDING = [
    ("/var/lib/x", 32),
    ("/var/log/messages", 33),
    ("/var/early/x", 32),
    ("/var", 32),
    ("/variable", 21),
    ("/", 21),
    (f"{B}/var/upper/x", 39),
    (f"{B}/other", 23),
    ("/a b\\c/d", 40),
]


@pytest.mark.parametrize(("path", "number"), HOLDING)
def test_what_holds_a_path(path: str, number: int) -> None:
    found = table(ROOT, RUN, EARLY, DISK, FALLBACK, LOWER, VAR, LOG, SPACES).holding(path)
    assert found is not None
    assert found.number == number


def test_in_a_chroot_the_root_is_no_mount() -> None:
    found = table(VAR, LOG)
    assert found.overlays() == ["/var"]
    assert found.holding("/etc") is None


HIDDEN = [
    ((ROOT, RUN, DISK, LOWER, VAR, LOG), []),
    ((ROOT, RUN, EARLY, DISK, LOWER, VAR, LOG), ["/var/early"]),
    ((ROOT, BIND, VAR.replace("32 21", "32 37")), ["/var"]),
]


@pytest.mark.parametrize(("lines", "wheres"), HIDDEN)
def test_what_an_overlay_covers(lines: "tuple[str, ...]", wheres: "list[str]") -> None:
    found = table(*lines)
    overlay = found.overlay("/var")
    assert overlay is not None
    assert [mount.where for mount in found.hidden_by(overlay)] == wheres


def test_read_only_by_mount_or_superblock() -> None:
    found = table(ROOT, VAR, HOME)
    assert {mount.where: mount.read_only for mount in found.mounts} == {"/": True, "/var": False, "/home": True}


def test_garbage_is_left_out() -> None:
    found = table(
        "", "a b c", "1 2 3 4 5 6", "x 21 0:1 / /x rw - tmpfs tmpfs rw", "1 2 3:4 / /ok rw - t s o", "\0\udcff - a b c"
    )
    assert [mount.where for mount in found.mounts] == ["/ok"]


def test_a_loop_of_parents_ends() -> None:
    found = table("1 2 0:1 / /var rw - tmpfs a rw", "2 1 0:2 / /var rw - tmpfs b rw")
    assert found.holding("/var") is None
    assert len(found.hidden_by(found.mounts[0])) <= 1


FIELD = st.sampled_from(
    ["1", "2", "3", "0:1", "/", "/var", "/var/log", "rw", "-", "overlay", "tmpfs", f"upperdir={B}/var/upper"]
)
LINE = st.lists(FIELD, min_size=6, max_size=12).map(" ".join) | st.tuples(
    *(st.integers(1, 4).map(str),) * 2, st.sampled_from(["/", "/var", "/var/log"])
).map(lambda words: f"{words[0]} {words[1]} 0:9 / {words[2]} rw - overlay o rw,upperdir={B}/var/upper")


@given(st.lists(LINE | st.text(), max_size=8))
def test_no_mounts_are_too_odd(lines: "list[str]") -> None:
    found = mounts.parse("\n".join(lines))
    for where in found.overlays():
        overlay = found.overlay(where)
        assert overlay is not None
        assert found.holding(f"{where}/x") is not None
        assert len(found.hidden_by(overlay)) < len(lines)


LABELS = [
    ("data", "data"),
    (r"my\x20data", "my data"),
    (r"\xc3\xa4", "ä"),
    (r"a\xzz", r"a\xzz"),
    ("", ""),
    (r"\x5cx41", r"\x41"),
]


@pytest.mark.parametrize(("encoded", "label"), LABELS)
def test_labels_as_udev_encodes_them(encoded: str, label: str) -> None:
    assert devices._decode(encoded) == label


@pytest.mark.parametrize("device", ["0:40", "", "x:y", "8"])
def test_what_is_no_disk(device: str) -> None:
    assert devices.find(device) is None
