# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machines that a test image can be built for and booted on, each by Debian's name of its architecture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from steps import StepFailed


@dataclass(frozen=True)
class Architecture:
    """One kind of machine.

    machine is what uname(2) calls it, triplet what its libraries' directory is called; kernels are Debian's packages by
    kind of base, and a kind that is missing is not available; words and cpu are QEMU's, the latter for emulation;
    longest_cmdline is COMMAND_LINE_SIZE of its kernel without the zero at the end: the rest is cut off. modules are
    those that no other architecture has.
    """

    name: str
    machine: str
    triplet: str
    qemu: str
    cpu: str
    console: str
    kernels: Mapping[str, str]
    words: tuple[str, ...] = ()
    longest_cmdline: int = 2047
    modules: tuple[str, ...] = ()


# The kernel for virtual machines starts sooner, but has few file systems. That of "tiny" is built, see kernel.py.
ARCHITECTURES = {
    item.name: item
    for item in (
        # Not "max": C libraries choose their widest vector code, which is the slowest to emulate.
        Architecture(
            "amd64", "x86_64", "x86_64-linux-gnu", "qemu-system-x86_64", "qemu64", "ttyS0",
            {"small": "linux-image-cloud-amd64", "early": "linux-image-cloud-amd64", "full": "linux-image-amd64",
             "rauc": "linux-image-amd64", "tiny": "",
             **dict.fromkeys(("selinux", "podman", "apparmor"), "linux-image-cloud-amd64")},
            modules=("aesni_intel",),
        ),
        Architecture(
            "arm64", "aarch64", "aarch64-linux-gnu", "qemu-system-aarch64", "cortex-a57", "ttyAMA0",
            {"small": "linux-image-cloud-arm64", "early": "linux-image-cloud-arm64", "full": "linux-image-arm64"},
            ("-M", "virt"),
        ),
        Architecture(
            "armhf", "armv7l", "arm-linux-gnueabihf", "qemu-system-arm", "cortex-a15", "ttyAMA0",
            dict.fromkeys(("small", "early", "full"), "linux-image-armmp-lpae"),
            ("-M", "virt"),
            longest_cmdline=1023,
        ),
    )
}  # fmt: skip


def host_architecture() -> Architecture:
    """Return the architecture that this machine is of.

    Raises StepFailed if no test image can be built for it.
    """
    machine = os.uname().machine
    for item in ARCHITECTURES.values():
        if item.machine == machine:
            return item
    raise StepFailed(f"step 'choose an architecture': {machine} is none of {', '.join(ARCHITECTURES)}")
