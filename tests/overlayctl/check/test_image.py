# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reading the tree of an image: links stay inside, nothing raises. pyfakefs stands in for the tree."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay_generator import inside
from overlayctl.check import cmdline, kernel, unitfiles
from overlayctl.check.cmdline import CommandLine
from overlayctl.check.image import Image
from overlayctl.check.unitfiles import UnitText, read_all
from overlayctl.check.units import find_ordered, find_use, is_early
from overlayctl.status import units

if TYPE_CHECKING:
    from pyfakefs.fake_filesystem import FakeFilesystem

LINKS = [
    ("/etc/file", "/etc/file"),
    ("/lib/x", "/usr/lib/x"),
    ("/var/run/y", "/run/y"),
    ("/absolute", "/etc/file"),
    ("/deep/../etc//./file", "/etc/file"),
    ("/up/file", "/etc/file"),
    ("/loop", ""),
    ("/dangling", "/nowhere/at/all"),
    ("/../../etc/file", "/etc/file"),
]


@pytest.fixture
def image(fs: "FakeFilesystem", monkeypatch: pytest.MonkeyPatch) -> Image:
    monkeypatch.setattr(inside, "posix", os)  # which is what the fake stands in for
    fs.create_file("/image/etc/file", st_mode=0o100644, contents="of the image")
    fs.create_file("/etc/file", contents="of the machine that looks")
    fs.create_symlink("/image/lib", "usr/lib")
    fs.create_symlink("/image/var/run", "/run")
    fs.create_symlink("/image/absolute", "/etc/file")
    fs.create_symlink("/image/up", "../../../etc")
    fs.create_symlink("/image/loop", "/loop")
    fs.create_symlink("/image/dangling", "/nowhere/at/all")
    return Image("/image")


@pytest.mark.parametrize(("path", "target"), LINKS)
def test_links_stay_inside(path: str, target: str, image: Image) -> None:
    assert image.resolve(path) == target


def test_content_is_the_images(image: Image) -> None:
    assert image.text("/absolute") == image.text("/up/file") == "of the image"
    assert image.read("/missing") is None
    assert image.read("/etc") is None
    assert image.text("/loop") == ""
    assert not image.exists("/nowhere")
    assert image.names("/etc") == ["file"]
    assert image.names("/etc/file") == image.names("/missing") == []


def test_this_machine_has_no_prefix() -> None:
    assert Image().outside("/proc/self/mountinfo") == Image().resolve("/proc/self/mountinfo")


def test_units_and_their_drop_ins(fs: "FakeFilesystem") -> None:
    fs.create_file("/i/usr/lib/systemd/system/a.service", contents="[Unit]\nAfter=x\\\n  y\n# no\nAfter=z\n")
    fs.create_file("/i/etc/systemd/system/a.service.d/1.conf", contents="[Unit]\nAfter=\nAfter=w\n")
    fs.create_file("/i/usr/lib/systemd/system/hidden.service", contents="[Unit]\n")
    fs.create_symlink("/i/etc/systemd/system/hidden.service", "/dev/null")
    fs.create_symlink("/i/etc/systemd/system/alias.service", "/usr/lib/systemd/system/a.service")
    fs.create_file("/i/usr/lib/systemd/system/notes.txt", contents="x")
    fs.create_symlink("/i/lib", "usr/lib")
    found = read_all(Image("/i"))
    assert sorted(found) == ["a.service"]
    assert found["a.service"].words("After") == ["w"]
    assert found["a.service"].settings["After"][0] == ("x y", "/usr/lib/systemd/system/a.service", 2)
    assert found["a.service"].settings["After"][1][2] == 5


USES = [
    ("ExecStart", "-/usr/bin/x --dir=/var/lib/x", "/var/lib/x"),
    ("ExecStart", "/usr/bin/x /srv/var/x", None),
    ("ExecStart", "sh -c 'echo >/var/x'", "/var/x"),
    ("ConditionPathExists", "!/var/x", "/var/x"),
    ("ReadWritePaths", "-/var", "/var"),
    ("BindPaths", "/var/a:/opt", "/var/a"),
    ("Environment", '"STATE=/var/s"', "/var/s"),
    ("ExecStart", "/bin/x %S/y", "/var/lib/y"),
    ("ExecStart", "/bin/x /variable", None),
    ("Description", "Looks after /var/x", None),
    ("PrivateTmp", "disconnected", "/var/tmp"),
    ("PrivateTmp", "yes", None),
]


@pytest.mark.parametrize(("key", "value", "path"), USES)
def test_paths_that_a_unit_uses(key: str, value: str, path: "str | None") -> None:
    unit = UnitText("x.service", "/x.service", {key: [(value, "/x.service", 3)]})
    assert find_use(unit, "/var") == (None if path is None else (path, "/x.service", 3))


EARLY = {"DefaultDependencies": [("no", "", 1)]}
ORDERED = [
    ({}, True),
    (EARLY, False),
    ({**EARLY, "After": [("local-fs.target", "", 1)]}, True),
    ({**EARLY, "After": [("local-fs-pre.target", "", 1)]}, False),
    ({**EARLY, "After": [("var.mount", "", 1)]}, True),
    ({**EARLY, "After": [("other.service", "", 1)]}, True),
    ({**EARLY, "After": [("early.service", "", 1)]}, False),
    ({**EARLY, "RequiresMountsFor": [("/srv /var/x", "", 1)]}, True),
    ({**EARLY, "RequiresMountsFor": [("/varied", "", 1)]}, False),
    ({**EARLY, "StateDirectory": [("x:y", "", 1)]}, True),
    ({**EARLY, "RuntimeDirectory": [("x", "", 1)]}, False),
    ({**EARLY, "PrivateTmp": [("yes", "", 1)]}, True),
    ({**EARLY, "PrivateTmp": [("disconnected", "", 1)]}, False),
]


@pytest.mark.parametrize(("settings", "expected"), ORDERED)
def test_what_orders_a_unit(settings: "dict[str, list[tuple[str, str, int]]]", expected: bool) -> None:
    found = {
        "x.service": UnitText("x.service", "", settings),
        "early.service": UnitText("early.service", "", EARLY),
        "other.service": UnitText("other.service", "", {**EARLY, "RequiresMountsFor": [("/var", "", 1)]}),
    }
    assert ("x.service" in find_ordered(found, "/var")) is expected
    assert is_early(found["x.service"]) is ("DefaultDependencies" in settings)


def test_a_circle_of_units_ends() -> None:
    found = {
        name: UnitText(name, "", {**EARLY, "After": [(other, "", 1)]})
        for name, other in (("a.service", "b.service"), ("b.service", "a.service"))
    }
    assert not {"a.service", "b.service"} & find_ordered(found, "/var")


def test_a_real_tree_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "usr/lib/systemd/system").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/system/bad.service").write_bytes(b"\xff\0[Unit\n=\n")
    assert find_use(read_all(Image(str(tmp_path)))["bad.service"], "/var") is None


@given(st.lists(st.text(st.sampled_from("ab.-_=/\\ \t\"'[]#;\n\0é\udcff")), max_size=6))
def test_no_text_is_too_odd(parts: "list[str]") -> None:
    text = "CONFIG_".join(parts)
    assert all(finding.rule == "kernel-option" for finding in kernel.check(text, "config", True, ("ext4",)))
    assert isinstance(cmdline.check([CommandLine(f"ov{text} rd.overlayfs.{text}", "x")]), list)
    unit = UnitText("x.service", "x.service")
    unitfiles._add(unit, text, "x.service")
    assert "x.service" not in find_ordered({"x.service": unit}, "/var") or not is_early(unit)
    assert units.parse(text) == {}
