# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Text from outside in unit files: whatever names and fields a machine has, none of them becomes a line of a unit.

Random machines with control characters, bytes that are not UTF-8 and names of drop-ins, on a real file system.
"""

import os
import re
import shutil
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import fakeroot
from overlay_generator import boot
from overlay_generator.dryrun import show
from overlay_generator.model import UnitFile
from overlay_generator.names import can_be_value, find_fault
from overlay_generator.render import render

# Keys that we write, and no others.
KEYS = (
    "Description|Documentation|SourcePath|DefaultDependencies|Conflicts|Before|After|Wants|RequiresMountsFor|What|Where"
    "|Type|Options|Nice|RemainAfterExit|SyslogIdentifier|LogExtraFields|StandardError|ExecStart|ExecStop|Condition[A-Za-z]+"
    "|TimeoutStartSec|StartLimit[A-Za-z]+|NotifyAccess|SELinuxContext|NoNewPrivileges|CapabilityBoundingSet"
    "|ReadWritePaths|MemoryDenyWriteExecute|(Protect|Private|Restrict|SystemCall)[A-Za-z]+"
)
LINE = re.compile(rf"#.*|\[(Unit|Service|Mount)\]|({KEYS})=.*|")
INJECTED = "[Service]\nExecStart=/evil\n"

NASTY = st.sampled_from([
    "\n", "\r", "\t", "\x0b", "\x0c", "\x1b[2J", "\x7f", "\x85", "\x9b", "\u2028", "\udc9b", "\udcff", "\\", '"', "'",
    "%", "%%", "%i", "$", "$$", ";", " ", "#", "=", "[", "]", ",", "ext4", "a", "Ä", "\u202e", INJECTED, "\\\n",
])  # fmt: skip
TEXT = st.lists(NASTY, max_size=6).map("".join)
NAME = TEXT.map(lambda text: f"{text}.conf".encode("utf-8", "surrogateescape")[-255:]).filter(
    lambda name: name[:1] != b"."
)


Units = Callable[[str, bytes, str, str], "list[UnitFile]"]


@pytest.fixture(scope="module")
def units_of(tmp_path_factory: pytest.TempPathFactory) -> Units:
    """What a machine with this fstab, a drop-in of that name and value, and that command line gives."""
    root = tmp_path_factory.mktemp("machine") / "root"
    fakeroot.build(fakeroot.CASES / "20-persistent", root)
    dropins = root / "etc/overlay-generator.conf.d"

    def look(fstab: str, name: bytes, value: str, cmdline: str) -> "list[UnitFile]":
        shutil.rmtree(dropins, ignore_errors=True)
        dropins.mkdir()
        (root / "etc/fstab").write_bytes(fstab.encode("utf-8", "surrogateescape"))
        with open(os.fsencode(dropins) + b"/" + name, "wb") as stream:
            stream.write(f"[/var]\nPassthrough=/var/lib/{value} /var/log\n".encode("utf-8", "surrogateescape"))
        environ = {"SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "0", "SYSTEMD_PROC_CMDLINE": cmdline}
        plan = boot.make_plan(str(root), environ)
        files = render(plan) if plan else []
        assert show(files).encode()
        return [file for file in files if isinstance(file, UnitFile)]

    return look


def check(files: "list[UnitFile]") -> None:
    for file in files:
        file.path.encode()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", file.text), (file.path, file.text)
        for line in file.text.split("\n"):
            assert LINE.fullmatch(line), (file.path, line)
            assert not line.startswith("ExecStart=/evil")
            assert len(line) - len(line.rstrip("\\")) in (0, 2), (file.path, line)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(fstype=TEXT, what=TEXT, options=TEXT, name=NAME, value=TEXT, word=TEXT)
@example(fstype="ext4\udcff", what="", options="", name=b"a.conf", value="", word="")
@example(fstype="ext4", what="", options="", name=f"a\n{INJECTED}.conf".encode(), value="", word="")
@example(fstype="ext4\x1b[2J", what="", options="", name=b"\xff\x9b.conf", value="", word="")
def test_no_line_is_from_outside(
    units_of: Units, fstype: str, what: str, options: str, name: bytes, value: str, word: str
) -> None:
    fstab = f"/dev/{what} /run/buildroot/mounts/var {fstype} defaults,{options} 0 2\n"
    files = units_of(fstab, name.replace(b"/", b"-").replace(b"\0", b""), value, f"overlayfs.mounts=/var,/{word} quiet")
    assert files
    check(files)


@pytest.mark.parametrize("fstype", ["ext4\udcff", "ext4\x1b[2J", "ext4\x7f", "e\x01"])
def test_a_type_that_can_not_be_written_is_left_out(fstype: str, units_of: Units) -> None:
    files = units_of(
        f"/dev/x /run/buildroot/mounts/var {fstype} defaults 0 2\n", b"a.conf", "", "overlayfs.mounts=/var"
    )
    text = "".join(file.text for file in files)
    assert "--type=" not in text
    assert "\ufffd" not in text
    check(files)


@pytest.mark.parametrize("name", [b"a\nb.conf", b"\xff.conf", b"\x1b.conf", "ä ö.conf".encode()])
def test_the_name_of_a_drop_in(name: bytes, units_of: Units) -> None:
    files = units_of("/dev/x /run/buildroot/mounts/var ext4 defaults 0 2\n", name, "app", "overlayfs.mounts=/var")
    (unit,) = (file for file in files if file.path == "var-lib-app.mount")
    assert ("SourcePath=" in unit.text) == name.decode("utf-8", "surrogateescape").isprintable()
    check(files)


VALUES = [
    ("/etc/fstab", True), ("a b", True), ("ä\u00a0\u2028", True), ("", True), ("a ", False), ("a\\", False),
    ("a\nb", False), ("\t", False), ("\x7f", False), ("\x9b", False), ("\udcff", False), ("\r", False),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_what_a_line_can_hold(text: str, expected: bool) -> None:
    assert can_be_value(text) is expected
    if text.startswith("/"):
        assert not find_fault(text)
