# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a test image has masked: what no scenario is about, as each process takes its time under emulation."""

from __future__ import annotations

from pathlib import Path

from pack import change_tree, make_link
from values import File

UNIT_DIR = "etc/systemd/system"
OURS = "overlay-metrics.timer"  # off, unless a scenario wants it

# Slow, or failing without D-Bus. Timers are masked one by one below.
UNITS = (
    "getty.target", "systemd-logind.service", "dbus-org.freedesktop.login1.service",
    "systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service",
    "systemd-resolved.service", "systemd-timesyncd.service", "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service", "e2scrub_reap.service", "ldconfig.service",
    "systemd-firstboot.service", "systemd-ask-password-console.path", "systemd-ask-password-wall.path",
)  # fmt: skip
# A login prompt on the console of the machine, asked for by its console= word.
GENERATORS = ("systemd-getty-generator",)
# A fifth of a boot, and none of it touches /var or what the product makes. Left in where a scenario is about units or
# times of a usual Debian. modprobe@loop and modprobe@dm_mod stay: they make what disks are found on.
UNITS_OF_NO_MATTER = (
    "modprobe@configfs.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service",
    "sys-kernel-config.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-fs-fuse-connections.mount",
    "dev-hugepages.mount", "dev-mqueue.mount", "proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service",
    "systemd-sysctl.service", "systemd-udev-load-credentials.service", "systemd-hostnamed.socket",
    "systemd-update-utmp-runlevel.service", "xfs_healer_start.service",
)  # fmt: skip
# Without that of the factory reset: its target is one that a reset of ours waits for (258 and later).
GENERATORS_OF_NO_MATTER = (
    "systemd-bless-boot-generator", "systemd-clonesetup-generator", "systemd-integritysetup-generator",
    "systemd-rc-local-generator", "systemd-run-generator", "systemd-ssh-generator", "systemd-sysv-generator",
    "systemd-tpm2-generator", "systemd-veritysetup-generator",
)  # fmt: skip
# At the start udev looks only at what disks, volumes of UBI and the result port need; else a sixth of a boot is spent
# on consoles, memory and buses.
COLDPLUG = "systemd-udev-trigger.service.d/boot-test.conf"
FEW_DEVICES = """\
[Service]
ExecStart=
ExecStart=-udevadm trigger --action=add --subsystem-match=block --subsystem-match=ubi --subsystem-match=virtio \
    --subsystem-match=virtio-ports
"""


def mask(tree: Path, whole: bool) -> None:
    """Mask units and generators in the tree of an image; if whole, only those that cannot run in a test."""
    timers = {path.name for path in (tree / "usr/lib/systemd/system").glob("*.timer")}
    units = [*UNITS, *sorted(timers - {OURS})]
    generators = [*GENERATORS]
    if not whole:
        units += UNITS_OF_NO_MATTER
        generators += GENERATORS_OF_NO_MATTER
        change_tree(tree, File(f"{UNIT_DIR}/{COLDPLUG}", "text", FEW_DEVICES))
    for unit in units:
        make_link(tree / UNIT_DIR / unit, "/dev/null")
    for generator in generators:
        make_link(tree / "etc/systemd/system-generators" / generator, "/dev/null")
