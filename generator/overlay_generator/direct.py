# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The mounts of what is passed through: binds from the file system that holds the upper layer, on top of the overlay.

Pure.
"""

from overlay_generator.model import OverlayMount, Word
from overlay_generator.names import backing_name, mount_unit, prepare_unit, quote_value, write_head


def passthrough_mount(mount: OverlayMount, word: Word, context: str) -> str:
    """The text of the unit for the path `word`; `context` is the line on the domain of mount(8), or ""."""
    backing = mount.backing
    # A path outside of the backing mount: for one below it systemd would add Requires= for that mount, and if that is
    # nofail and missing, memory takes its place.
    source = f"/run/overlay-generator/{mount.name}.direct/{backing_name(word.text)}"
    prepare = prepare_unit(mount.where)
    return (
        write_head(f"{word.text} beside the overlay on {mount.where}", word.source)
        + f"""Wants={prepare}
After={prepare} {mount_unit(mount.where)} {mount_unit(backing.mount)}
Before=local-fs.target
ConditionPathIsMountPoint={quote_value(mount.where)}
ConditionPathIsDirectory={source}

[Mount]
What={source}
Where={quote_value(word.text)}
Type=none
Options=bind
{context}"""
    )
