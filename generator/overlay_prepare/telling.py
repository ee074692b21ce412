# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reports to the journal what the generator has found and could only write to the kernel log: run by
overlay-events.service.

A generator runs before journald does, and what it writes to the kernel log has no fields.
"""

from overlay_prepare.events import BY_NAME
from overlay_prepare.report import ERROR, NOTICE, WARNING, say, tell

_LEVELS = {"error": ERROR, "warning": WARNING, "notice": NOTICE}


def tell_all(words: "list[str]") -> int:
    """Report events, EVENT LEVEL WHERE TEXT REASON of each, one after the other; 0, or 1 if that is not understood."""
    if len(words) % 5 or not {*words[::5]} <= BY_NAME.keys() or not {*words[1::5]} <= _LEVELS.keys():
        say(ERROR, "prepare: --tell: not known; it is run by its unit alone")
        return 1
    for position in range(0, len(words), 5):
        event, level, where, text, reason = words[position : position + 5]
        tell(BY_NAME[event], _LEVELS[level], text, {"where": where, "reason": reason}, console=False)
    return 0
