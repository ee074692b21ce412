# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prepares an overlay that was planned in memory, though another generator, a unit, a drop-in or a script may have
mounted something else.

What is mounted decides. On a disk the upper layer is persistent. The overlay's mount unit has the options for memory,
with which the next image update would cost the disk its data (ESTALE), so the overlay is mounted here, with those for
a disk. To PID 1 the mount unit is active then, and the unit's condition keeps it from mounting a second time.
"""

from overlay_generator.names import unkept_unit
from overlay_generator.render import OPTIONS_PERSISTENT
from overlay_prepare import fitness, labels
from overlay_prepare.layers import make_layers, open_backing
from overlay_prepare.patience import Patience
from overlay_prepare.report import WARNING, Unusable, describe, say
from overlay_prepare.request import Request

_BIND = "bind,private,ro,nosuid,nodev,noexec"


def prepare(request: Request) -> str:
    """Make the layers on whatever is mounted, and the mounts that depend on it. Returns "" if the planned memory or a
    disk holds the layers, else why other memory had to be mounted. Raises OSError.
    """
    reason = ""
    is_disk = False
    try:
        mounted = fitness.find_mounted(request.mount)
    except Unusable as error:
        reason = str(error)
        _mount_memory(request)
    else:
        is_disk = mounted.fstype != "tmpfs"
        if is_disk:
            reason = _prepare_disk(request, mounted.fstype)
            is_disk = not reason
    if not is_disk:
        with open_backing(request) as backing:
            make_layers(request, backing)
    # If this is a bind mount, lower would propagate to the mount it was made from, and keep that one busy.
    fitness.run("/bin/mount", "-n", "--make-private", request.mount)
    fitness.run("/bin/mount", "-n", "-o", _BIND, request.where, f"{request.backing}/lower")
    if is_disk:
        path = request.backing
        layers = f"lowerdir={path}/lower,upperdir={path}/upper,workdir={path}/work"
        options = f"{request.flags}{layers},{OPTIONS_PERSISTENT}"
        command = ("/bin/mount", "-n", "-t", "overlay", "-o", options, "overlay", request.where)
        if request.mounter:
            # Mounted from mount(8)'s SELinux domain it would be of use to nobody, see selinux.py; this process's own
            # domain could write the layers.
            with labels.OwnDomain():
                fitness.run(*command)
        else:
            fitness.run(*command)
    return reason


def raise_failure(where: str) -> None:
    """Let a unit fail for `where`, for which the generator had no reason to write one."""
    try:
        # Nobody waits: PID 1 may be waiting for this process.
        fitness.run("/bin/systemctl", "--no-block", "start", unkept_unit(where))
    except OSError as error:
        say(WARNING, f"{where}: no unit fails because of it: {describe(error)}")


def _prepare_disk(request: Request, fstype: str) -> str:
    """Make a persistent upper layer. Returns "", or why that failed; memory then takes the place of the disk."""
    from overlay_prepare.persistent import make_persistent

    try:
        with Patience():
            mounted = fitness.find_mounted(request.mount)
            fitness.verify(mounted, "")
            with open_backing(request) as backing:
                make_persistent(request, backing)
                fitness.warn_of_projects(mounted, backing, request.where)
    except Exception as error:
        # Any exception, see main.py. Not mounted on top of the disk: with a device below the tmpfs, the shutdown hangs
        # (systemd 257).
        fitness.run("/bin/umount", request.mount)
        _mount_memory(request)
        return describe(error)
    text = f"{fstype} is mounted at {request.mount}, where memory was planned: the upper layer is persistent"
    say(WARNING, f"{request.where}: {text}")
    return ""


def _mount_memory(request: Request) -> None:
    fitness.run("/bin/mkdir", "-p", request.mount)
    fitness.run("/bin/mount", "-n", "-t", "tmpfs", "-o", request.fallback, "tmpfs", request.mount)
