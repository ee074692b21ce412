# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a kernel has overlayfs, from what modules.builtin, modules.dep and /proc/filesystems say."""

import pytest

from overlay_generator.look import find_module, is_built_in, is_registered


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"kernel/fs/overlayfs/overlay.ko\n", True),
        (b"kernel/fs/ext4/ext4.ko\nkernel/fs/overlayfs/overlay.ko\nkernel/lib/crc.ko\n", True),
        (b"", False),
        (b"kernel/fs/ext4/ext4.ko\n", False),
        (b"kernel/drivers/of/of_overlay.ko\n", False),
        (b"kernel/fs/overlayfs/\n", False),
        (b"kernel/fs/myoverlay.ko\n", False),
        (b"\xff\xfe\x00", False),
    ],
)
def test_is_built_in(text: bytes, expected: bool) -> None:
    assert is_built_in(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"kernel/fs/overlayfs/overlay.ko:\n", "kernel/fs/overlayfs/overlay.ko"),
        (
            b"kernel/fs/overlayfs/overlay.ko.xz: kernel/fs/exportfs/exportfs.ko.xz\n",
            "kernel/fs/overlayfs/overlay.ko.xz",
        ),
        (b"kernel/a.ko:\nkernel/fs/overlayfs/overlay.ko.zst:\nkernel/b.ko:\n", "kernel/fs/overlayfs/overlay.ko.zst"),
        (b"extra/overlay.ko.gz: kernel/a.ko\n", "extra/overlay.ko.gz"),
        (b"", ""),
        (b"kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko\n", ""),
        (b"kernel/drivers/of/of_overlay.ko:\n", ""),
        (b"garbage \xff\n", ""),
    ],
)
def test_find_module(text: bytes, expected: str) -> None:
    assert find_module(text) == expected


def test_a_module_that_only_needs_overlayfs_is_not_it() -> None:
    text = b"extra/shiftfs.ko: kernel/fs/overlayfs/overlay.ko\nkernel/fs/overlayfs/overlay.ko:\n"
    assert find_module(text) == "kernel/fs/overlayfs/overlay.ko"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"nodev\tsysfs\nnodev\toverlay\n\text4\n", True),
        (b"nodev\tsysfs\n\text4\n", False),
        (b"nodev\toverlayfs\n", False),
        (b"nodev\tmyoverlay\n", False),
        (b"", False),
    ],
)
def test_is_registered(text: bytes, expected: bool) -> None:
    assert is_registered(text) is expected
