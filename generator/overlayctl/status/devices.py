# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What udev knows of the disk below a file system, asked by pyudev."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A block device as people know it; what udev has not seen is ""."""

    node: str
    label: str = ""
    uuid: str = ""
    fstype: str = ""
    partition: str = ""
    model: str = ""


class Missing(Exception):
    """pyudev is not there, or does not work; the text says so."""


def find(device: str) -> "Device | None":
    """The block device `device` (major:minor), None if it is not one. Raises Missing."""
    major, _, minor = device.partition(":")
    # Major 0: file systems without a disk, kernel's Documentation/admin-guide/devices.txt.
    if major == "0" or not major.isdigit() or not minor.isdigit():
        return None
    import os

    try:
        import pyudev  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError as error:
        raise Missing("pyudev is missing (Debian: python3-pyudev): labels of disks are not shown") from error
    try:
        found = pyudev.Devices.from_device_number(pyudev.Context(), "block", os.makedev(int(major), int(minor)))
        properties = found.properties
        return Device(
            found.device_node or f"/dev/block/{device}",
            label=_decode(properties.get("ID_FS_LABEL_ENC") or properties.get("ID_FS_LABEL", "")),
            uuid=properties.get("ID_FS_UUID", ""),
            fstype=properties.get("ID_FS_TYPE", ""),
            partition=_decode(properties.get("ID_PART_ENTRY_NAME", "")),
            model=_decode(properties.get("ID_MODEL_ENC") or properties.get("DM_NAME", "")).strip(),
        )
    except pyudev.DeviceNotFoundError:
        return None
    except (ImportError, OSError) as error:  # no libudev on this machine
        raise Missing(f"pyudev can't ask udev ({error}): labels of disks are not shown") from error


def _decode(text: str) -> str:
    """`text` with udev's \\x escapes resolved (encode_devnode_name() in systemd's src/basic/device-nodes.c)."""
    head, *rest = text.split("\\x")
    data = head.encode("utf-8", "surrogateescape")
    for part in rest:
        try:
            data += bytes((int(part[:2], 16),)) + part[2:].encode("utf-8", "surrogateescape")
        except ValueError:
            data += f"\\x{part}".encode("utf-8", "surrogateescape")
    return data.decode("utf-8", "surrogateescape")
