# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl preview on a device with a mounted overlay, and what the boot of the new image then does."""

import json
from pathlib import Path

import pytest

import schemas
from device import Device, needs_mounts
from product import Run
from tree import fill

pytestmark = needs_mounts

USE = "echo mine >/var/lib/app/conf; rm /var/lib/app/other; mkdir /var/new"


@pytest.fixture
def device(run: Run, image: Path, tmp_path: Path) -> Device:
    return Device(run, image, tmp_path)


def boot(device: Device, script: str, **options: object) -> "list[str]":
    lines = device.boot(script, **options).splitlines()  # type: ignore[arg-type]
    return [line for line in lines if not line.startswith("skipped ")]


def make_next(device: Device) -> None:
    """The next image, in a directory of the device."""
    top = device.root / "next"
    fill(top, "var/lib/app/conf=2", "var/lib/app/other=2", "etc/os-release=IMAGE_VERSION=2")
    fill(top, "usr/lib/overlay-generator.conf=[/var]\nPolicy=prune\n")


def test_with_a_disk(device: Device) -> None:
    device.add_disk()
    make_next(device)
    lines = boot(device, f"{USE}; overlayctl preview /next --json; overlayctl preview /next --policy keep /var/lib")
    found = [json.loads(line) for line in lines if line.startswith("{")]
    for one in found:
        schemas.validate("preview", one)
    summary = found.pop()
    assert {(one["kind"], one["path"]) for one in found} == {
        ("dropped", "/var/lib/app/conf"),
        ("dropped", "/var/lib/app/other"),
    }
    assert (summary["policy"], summary["asked_by"]) == ("prune", "the new image's configuration")
    assert summary["free"]["size"] > 1 << 20
    text = [line for line in lines if not line.startswith("{")]
    assert [line.split()[0] for line in text[:2]] == ["hidden", "deleted"]
    # And that is what the boot does.
    (device.root / "etc/os-release").write_text("IMAGE_VERSION=2\n")
    (device.root / "etc/overlay-generator.conf").write_text("[/var]\nPolicy=prune\n")
    fill(device.root, "var/lib/app/conf=2", "var/lib/app/other=2")
    lines = boot(device, "cat /run/buildroot/mounts/var/dropped; ls /var")
    assert sorted(lines[1:3]) == ["/var/lib/app/conf", "deleted /var/lib/app/other"]
    assert "new" in lines


def test_in_memory_there_is_nothing_to_tell(device: Device) -> None:
    make_next(device)
    lines = boot(device, f"{USE}; overlayctl preview /next 2>&1 || echo $?")
    assert lines == [
        "overlayctl: /var: is in memory, and empty at each boot: no update can change what was written there", "3",
    ]  # fmt: skip
