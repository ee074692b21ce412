# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How the machine bears on the reading of fstab: its systemd, its links, what is mounted there already."""

from pathlib import Path

import pytest

from overlay_generator.entries import find_version
from overlay_generator.gather import read_entries
from overlay_generator.model import FstabEntry, Mounted, Problem, Request

EXTRA = FstabEntry("/dev/b", "/run/buildroot/mounts/var", "ext4", "", "/proc/cmdline (systemd.mount-extra=)")
REQUEST = Request("/proc/cmdline", ("/var",), entries=(EXTRA,))


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (b"", 0),
        (b"x\0libsystemd-shared-247.so\0getmntent", 247),
        (b"x\0libsystemd-shared-262.so\0", 262),
        (b"getmntent\0", 0),
        (b"getmntent\0rd.systemd.mount-extra\0", 254),
        (b"libmount_parse_full\0rd.systemd.mount-extra\0", 259),
    ],
)
def test_the_version_is_that_of_what_reads_fstab(data: bytes, version: int) -> None:
    assert find_version(data) == version


@pytest.mark.parametrize(("data", "known"), [(b"libsystemd-shared-252.so", False), (b"libsystemd-shared-254.so", True)])
def test_what_an_old_systemd_does_not_know_mounts_nothing(data: bytes, known: bool, tmp_path: Path) -> None:
    generators = tmp_path / "usr/lib/systemd/system-generators"
    generators.mkdir(parents=True)
    (generators / "systemd-fstab-generator").write_bytes(data)
    text = "systemd.mount-extra= came with systemd 254, this is 252: it mounts nothing"
    expected = ([EXTRA], []) if known else ([], [Problem(text, "/proc/cmdline", hides=(EXTRA.where,))])
    assert read_entries(str(tmp_path), {}, REQUEST) == expected


def test_without_a_systemd_to_look_at_it_is_believed(tmp_path: Path) -> None:
    assert read_entries(str(tmp_path), {}, REQUEST) == ([EXTRA], [])


@pytest.mark.parametrize(("mounted", "where"), [((), "/srv/x"), ((Mounted("/net", "nfs", ""),), "/net/link/x")])
def test_nothing_is_looked_for_on_what_is_mounted(mounted: "tuple[Mounted, ...]", where: str, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/fstab").write_text("server:/x /net nfs\n/dev/b /net/link/x ext4 defaults\n")
    (tmp_path / "net").mkdir()
    (tmp_path / "net/link").symlink_to("/srv")
    entries, _ = read_entries(str(tmp_path), {}, Request("/proc/cmdline", ("/var",)), list(mounted))
    assert [entry.where for entry in entries] == ["/net", where]
    assert entries[1].written == ("" if mounted else "/net/link/x")
