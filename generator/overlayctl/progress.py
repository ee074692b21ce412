# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One line on standard error that tells a person how far a long walk has come."""

import sys
import time

_QUIET = 2.0  # seconds before anything is shown
_EVERY = 0.5
_LOOK_AT = 256  # changes between two looks at the clock


class Progress:
    """Shows nothing if standard error is not a terminal, or if not `wanted`."""

    def __init__(self, wanted: bool = True, what: str = "changes") -> None:
        self._what = what
        self._wanted = wanted and sys.stderr.isatty()
        self._shown = False
        self._count = self._look_at = 0
        self._due = time.monotonic() + _QUIET

    def advance(self, count: int) -> None:
        """Note `count` more changes."""
        self._count += count
        if self._wanted and self._count >= self._look_at:
            self._look_at = self._count + _LOOK_AT
            now = time.monotonic()
            if now > self._due:
                self._due = now + _EVERY
                sys.stderr.write(f"\r{self._count:,} {self._what} ...\033[K")
                sys.stderr.flush()
                self._shown = True

    def end(self) -> None:
        """Erase the line."""
        if self._shown:
            self._shown = False
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
