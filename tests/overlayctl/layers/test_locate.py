# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""From paths to layers: what mountinfo may say, and overlays that are not ours."""

import argparse
import os
from pathlib import Path

import pytest

from overlayctl import mounts
from overlayctl.errors import Failure
from overlayctl.layers import locate
from overlayctl.layers.change import Layers

BACKING = "/run/buildroot/mounts/var"
OURS = f"lowerdir={BACKING}/lower,upperdir={BACKING}/upper,workdir={BACKING}/work"


def options(**given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    locate.add_arguments(parser)
    found = parser.parse_args([])
    vars(found).update(given)
    return found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/a", ["/a"]),
        ("/a:/b", ["/a", "/b"]),
        (r"/a\:b:/c", ["/a:b", "/c"]),
        (r"/a\\:/c", ["/a\\", "/c"]),
        (r"/a\,b", ["/a,b"]),
        ("/a::/data", ["/a", "", "/data"]),
        ("", [""]),
    ],
)
def test_split_lower(value: str, expected: "list[str]") -> None:
    assert locate.split_lower(value) == expected


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directories for layers; what is mounted is what write_mounts() says."""
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(locate, "_require_root", lambda: None)
    return tmp_path


def write_mounts(machine: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    text = "".join(
        f"{number} {number - 1} 0:{number} / {where} rw - {rest}\n"
        for number, (where, rest) in enumerate(map(_split, lines), 2)
    )
    table = mounts.parse(f"1 0 0:1 / / rw - ext4 /dev/x rw\n{text.replace('TOP', str(machine))}")
    monkeypatch.setattr(mounts, "read", lambda: table)


def _split(line: str) -> "tuple[str, str]":
    where, _, rest = line.partition(" ")
    return where, rest


FOREIGN = "/x overlay o rw,lowerdir=TOP/lower,upperdir=TOP/upper,workdir=TOP/work"


def test_the_overlay_that_holds_a_path(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mounts(machine, monkeypatch, FOREIGN)
    (target,) = locate.find_targets(options(), ["/x/a/b"])
    assert (target.where, target.start, target.spell(b"a/b")) == ("/x", b"a/b", "/x/a/b")
    assert target.layers == Layers(os.fsencode(machine / "upper"), os.fsencode(machine / "lower"))
    (target,) = locate.find_targets(options(), ["/x/"])
    assert (target.start, target.spell(b"")) == (b"", "/x")


@pytest.mark.parametrize(
    ("more", "default", "indexed"),
    [(",index=on", "N", True), (",index=off", "Y", False), ("", "Y", True), ("", "N", False), ("", "", False),
     (",nfs_export=on", "N", True)],
)  # fmt: skip
def test_index(more: str, default: str, indexed: bool, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel does not show an option that is its default."""
    write_mounts(machine, monkeypatch, FOREIGN + more)
    if default:
        (machine / "index").write_text(f"{default}\n")
    monkeypatch.setattr(locate, "_DEFAULT_OF_INDEX", str(machine / "index"))
    (target,) = locate.find_targets(options(), ["/x"])
    assert target.layers.links == (os.fsencode(machine / "work/index") if indexed else b"")


WRONG = {
    "several lower layers": (
        FOREIGN.replace("/lower,", "/lower:/other,"),
        "does not have one lower and one upper layer",
    ),
    "no upper layer": ("/x overlay o ro,lowerdir=TOP/lower:/other", "does not have one lower and one upper layer"),
    "user attributes": (f"{FOREIGN},userxattr", "mounted with userxattr"),
    "no overlay": ("/x tmpfs t rw", "lies on tmpfs mounted at /x, and not on an overlay"),
    "covered": ("/x/a ext4 /dev/y rw", "lies on ext4 mounted at /x/a, and not on an overlay"),
    "layers of another namespace": (FOREIGN.replace("TOP/upper", "/gone"), "/gone: there is no such directory here"),
}


@pytest.mark.parametrize("name", WRONG)
def test_overlays_that_are_not_read(name: str, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, expected = WRONG[name]
    write_mounts(machine, monkeypatch, *([FOREIGN] if name == "covered" else []), line)
    with pytest.raises(Failure) as raised:
        locate.find_targets(options(), ["/x/a"])
    assert expected in str(raised.value)


def test_the_image_is_no_longer_mounted(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory in its place would make everything look added."""
    write_mounts(machine, monkeypatch, f"/var overlay o rw,{OURS}")
    with pytest.raises(Failure, match="no longer mounted at /run/buildroot/mounts/var/lower"):
        locate.find_targets(options(), [])


def test_nothing_is_mounted(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mounts(machine, monkeypatch)
    with pytest.raises(Failure, match="no overlay is mounted"):
        locate.find_targets(options(), [])


def test_a_path_that_is_a_link(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link itself is meant; links on the way to it are followed."""
    write_mounts(machine, monkeypatch, FOREIGN.replace("/x ", "TOP/x "))
    (machine / "x").mkdir()
    (machine / "x/link").symlink_to("/etc")
    (machine / "way").symlink_to("x")
    (target,) = locate.find_targets(options(), [str(machine / "way/link")])
    assert target.start == b"link"


def test_given_layers_need_each_other(machine: Path) -> None:
    with pytest.raises(Failure, match="need each other"):
        locate.find_targets(options(upper=str(machine / "upper")), [])


def test_others_than_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Failure, match="try it as root"):
        locate.find_targets(options(), [])
