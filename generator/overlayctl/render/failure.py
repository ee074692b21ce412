# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The unit that fails where a directory is not persistent, for an image without Python. Pure."""

from overlay_generator.failure import unkept_service
from overlay_generator.model import UnitFile, UnitLink
from overlay_generator.names import unkept_unit
from overlayctl.render.services import name_service
from overlayctl.render.text import parse, spell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_generator.model import OverlayMount


def make_failing(mount: "OverlayMount", directory: str, shell: bool, flags: "list[str]") -> "list[UnitFile | UnitLink]":
    """The unit and the link that starts it, below `directory`; none where its owner wants a notice alone."""
    if (mount.backing.volatile and not mount.backing.lost) or mount.settings.notify != "fail":
        return []
    name = unkept_unit(mount.where)
    sections = parse(unkept_service(mount, shell))
    sections["Unit"] += [f"After={name_service(mount, 'warn')}", *flags]
    link = UnitLink(directory, f"local-fs.target.wants/{name}", f"../{name}", mount.where)
    return [UnitFile(directory, name, spell(sections), mount.where), link]
