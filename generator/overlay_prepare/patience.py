# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long prepare may take with a disk, however much somebody has put on it.

systemd ends what takes longer than TimeoutStartSec= says (render.py), and whoever is ended by that leaves no word, and
makes no fallback.
"""

import _signal  # type: ignore[import-not-found]

SECONDS = 14 * 60  # a minute less than systemd waits
_AGAIN = 5  # seconds, where nobody has taken the first for its end


class Late(Exception):
    """It takes too long."""


class Patience:
    """While it is entered, what goes on for longer than SECONDS ends in Late, at whatever call. For the main thread."""

    def __enter__(self) -> None:
        """From now on."""
        _signal.signal(_signal.SIGALRM, self._end)
        _signal.alarm(SECONDS)

    def __exit__(self, *_: object) -> None:
        """No longer."""
        _signal.alarm(0)

    @staticmethod
    def _end(*_: object) -> None:
        _signal.alarm(_AGAIN)
        raise Late(f"it is not done after {SECONDS // 60} minutes")
