# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The unit that reports what the generator has found to the journal, with fields: the kernel log has none. Pure.

Written only if there is something to report. It waits until the boot is over, and no boot waits for it.
"""

from overlay_generator.model import Plan, UnitFile, UnitLink
from overlay_generator.names import quote_word, write_head
from overlay_generator.render import ONLY_TELLS, PYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = "overlay-events.service"


def render_events(plan: Plan) -> "list[UnitFile | UnitLink]":
    """The unit for `plan` and the link that starts it; none if there is nothing to report."""
    words = list(_find_words(plan))
    if not words:
        return []
    command = " ".join(map(quote_word, (f"{plan.library}/prepare", "--tell", *words)))
    text = (
        write_head("Report what was found about overlays", plan.source)
        + f"""DefaultDependencies=no
After=multi-user.target
Conflicts=umount.target
Before=umount.target

[Service]
Type=oneshot
Nice=19
SyslogIdentifier=overlay-generator
{ONLY_TELLS}ExecStart=-{PYTHON} {command}
"""
    )
    link = UnitLink("normal", f"local-fs.target.wants/{_NAME}", f"../{_NAME}", "events")
    return [UnitFile("normal", _NAME, text, "events"), link]


def _find_words(plan: Plan) -> "Iterator[str]":
    """EVENT LEVEL WHERE TEXT REASON of each, see telling.py of prepare."""
    for skipped in plan.skipped:
        if skipped.level == "error":
            yield from ("not-overlaid", "error", skipped.where, str(skipped), skipped.reason)
    for mount in plan.mounts:
        lost = mount.backing.lost
        if lost:
            text = f"{mount.where}: NOT persistent: {lost}; all that is written is lost at the next boot"
            yield from ("fell-back", "warning", mount.where, text, lost)
    for one in plan.storage:
        level = "warning" if one.storage.fails else "notice"
        yield from ("not-passed-through", level, one.where, str(one), one.storage.effect)
