# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""x-systemd.device-timeout= without a limit: the overlay does not make a boot wait for ever."""

import subprocess
from pathlib import Path

import pytest

from overlay_generator.decide import decide
from overlay_generator.endless import is_endless, name_device
from overlay_generator.model import Directory, FstabEntry, Inputs, Request, UnitFile
from overlay_generator.render import render

BACKING = "/run/buildroot/mounts/var"
LABEL = "dev-disk-by\\x2dlabel-data.device"


def find_limits(*entries: "tuple[str, str, str]") -> "list[str]":
    """The devices that get a limit."""
    lines = tuple(FstabEntry(what, where, "ext4", options, "/etc/fstab") for what, where, options in entries)
    plan = decide(Inputs(Request("/proc/cmdline", ("/var",)), lines, directories={"/var": Directory("directory")}))
    files = [file for file in render(plan) if isinstance(file, UnitFile) and ".device.d/" in file.path]
    assert all("\nJobRunningTimeoutSec=90s\n" in file.text for file in files)
    return [file.path.partition(".d/")[0] for file in files]


@pytest.mark.parametrize("span", ["0", "infinity", "0s", "00", "0min 0s", " infinity"])
def test_what_sets_no_limit(span: str) -> None:
    assert is_endless(span)
    if not span.startswith(" "):
        assert find_limits(("LABEL=data", BACKING, f"nofail,x-systemd.device-timeout={span}")) == [LABEL]


@pytest.mark.parametrize("span", ["30s", "0.5s", "05", "1", "", "infinitys", "0min 30s"])
def test_what_sets_one(span: str) -> None:
    assert not is_endless(span)
    assert find_limits(("LABEL=data", BACKING, f"nofail,x-systemd.device-timeout={span}")) == []


def test_the_last_one_counts() -> None:
    options = "nofail,x-systemd.device-timeout=0,x-systemd.device-timeout=5s"
    assert find_limits(("LABEL=data", BACKING, options)) == []


@pytest.mark.parametrize("options", ["nofail", "noauto"])
def test_also_behind_other_lines(options: str) -> None:
    lines = (("LABEL=data", "/data", f"{options},x-systemd.device-timeout=0"), ("/data/up", BACKING, "bind,nofail"))
    assert find_limits(*lines) == [LABEL]


def test_a_required_disk_is_waited_for_as_without_the_overlay() -> None:
    assert find_limits(("LABEL=data", BACKING, "x-systemd.device-timeout=0")) == []
    lines = (("LABEL=data", "/data", "x-systemd.device-timeout=0"), ("/data/up", BACKING, "bind,nofail"))
    assert find_limits(*lines) == []


def test_a_circle_of_lines_comes_to_an_end() -> None:
    lines = (("/b", "/a", "bind,nofail,x-systemd.device-timeout=0"), ("/a", "/b", "bind,nofail"))
    assert find_limits(*lines, ("/a/up", BACKING, "bind,nofail")) == []


@pytest.mark.parametrize(
    "what",
    [
        "LABEL=data", "LABEL=a\\040b", 'LABEL="q\\040q"', "UUID=AB-cd", "PARTLABEL=\u00e4/x", "PARTUUID=1-2",
        "/dev/sda1", "/dev//sda1/", "/dev/mapper/a-b", "LABEL=a\\134b", "LABEL=x'y", "LABEL=(1)",
    ],
)  # fmt: skip
def test_the_device_has_systemd_s_name(what: str, tmp_path: Path) -> None:
    generator = Path("/usr/lib/systemd/system-generators/systemd-fstab-generator")
    if not generator.exists():
        pytest.skip(f"{generator} is not there")
    (tmp_path / "fstab").write_text(f"{what} /m ext4 nofail,x-systemd.device-timeout=0\n")
    environ = {"SYSTEMD_FSTAB": str(tmp_path / "fstab"), "SYSTEMD_PROC_CMDLINE": "quiet", "SYSTEMD_SCOPE": "system",
               "SYSTEMD_IN_INITRD": "0", "PATH": "/usr/bin:/bin"}  # fmt: skip
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run([generator, out, out, out], env=environ, check=True, capture_output=True)
    (found,) = [path.name for path in out.iterdir() if path.name.endswith(".device.d")]
    given = what.replace("\\040", " ").replace("\\134", "\\")
    assert found == f"{name_device(given)}.d"
