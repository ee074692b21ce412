# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which numbers mean somebody else in the new image."""

from pathlib import Path

import pytest

from overlayctl.preview.owners import Names, Owners, _read_names

CASES = {
    "nobody has moved": ({990: "app"}, {990: "app"}, {}),
    "another has the number": ({990: "app"}, {990: "ntp"}, {990: ("app", "ntp")}),
    "another number": ({990: "app"}, {991: "app"}, {990: ("app", "")}),
    "two have changed places": (
        {990: "app", 991: "ntp"}, {990: "ntp", 991: "app"}, {990: ("app", "ntp"), 991: ("ntp", "app")},
    ),
    # Nobody else gets its files.
    "gone": ({990: "app"}, {}, {}),
    "new": ({}, {990: "app"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_moved(name: str) -> None:
    old, new, moved = CASES[name]
    owners = Owners(Names(old, old), Names(new, new))
    assert (owners.users, owners.groups, owners.wanted) == (moved, moved, bool(moved))


def test_what_is_read(tmp_path: Path) -> None:
    for name, text in (("etc/passwd", "a:x:1:\nbad line\n:x:5:\nb:x:two:\n"), ("usr/lib/passwd", "c:x:1:\nd:x:3:\n")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    # Out of the tree, where this machine's own would be.
    (tmp_path / "etc/group").symlink_to("/etc/group")
    assert _read_names(str(tmp_path), {}) == Names({1: "a", 3: "d"}, {})
    assert _read_names(str(tmp_path), {"passwd": b"mine:x:1:\n"}).users == {1: "mine", 3: "d"}
