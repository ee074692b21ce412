# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What fstab requires, and only counts as wanted with an overlay, as memory takes its place: without the overlay the
boot is well. Here: lines that a unit of ours is to require (x-systemd.required-by=), for which nothing else asks; in
untangle.py: disks that may wait for the overlay itself. Pure.
"""

from overlay_generator.fstab import find_hooks, find_mounts, is_automount, is_required
from overlay_generator.model import Inputs, OverlayMount, Problem, UnitLink, Value
from overlay_generator.names import fallback_unit, mount_unit, prepare_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_generator.model import UnitFile


class Softened(Value):
    """The unit `wanted` of a line of fstab, which `unit` is to require and the overlay on `where` may be without."""

    __slots__ = ("unit", "wanted", "where")

    def __init__(self, unit: str, wanted: str, where: str) -> None:
        self.unit = unit
        self.wanted = wanted
        self.where = where


def find_softened(
    inputs: Inputs, mounts: "tuple[OverlayMount, ...]", problems: "list[Problem]"
) -> "tuple[Softened, ...]":
    """What the lines of `inputs` have to be spared; a problem for each."""
    ours: dict[str, str] = {}
    for mount in mounts:
        names = [mount_unit(mount.where), prepare_unit(mount.where)]
        if mount.backing.tmpfs:
            names.append(mount_unit(mount.backing.path))
        if mount.backing.nofail:
            names.append(fallback_unit(mount.backing.mount))
        for name in names:
            ours.setdefault(name, mount.where)
    found = []
    for entry in find_mounts(inputs.entries).values():
        # A line that local-fs.target requires as well ends in emergency mode with and without us, and an automount
        # point is there without its disk.
        if is_required(entry) or is_automount(entry):
            continue
        for unit, kind in find_hooks(entry):
            if kind == "requires" and unit in ours:
                found.append(Softened(unit, mount_unit(entry.where), ours[unit]))
                text = (
                    f"x-systemd.required-by={unit} would end the boot in emergency mode if {entry.what} is missing, "
                    f"which the same fstab alone does not do; it counts as x-systemd.wanted-by={unit}: write that"
                )
                problems.append(Problem(text, entry.source, entry.line))
    return tuple(found)


def render_softened(softened: "tuple[Softened, ...]") -> "list[UnitFile | UnitLink]":
    """The links that mask what systemd-fstab-generator has made for each of `softened`, and those that want it."""
    files: list[UnitFile | UnitLink] = []
    for one in softened:
        # A link of the same name, to nothing, in a directory that comes first (src/core/load-dropin.c, 247 to 262).
        files.append(UnitLink("early", f"{one.unit}.requires/{one.wanted}", "/dev/null", one.where))
        files.append(UnitLink("normal", f"{one.unit}.wants/{one.wanted}", f"../{one.wanted}", one.where))
    return files
