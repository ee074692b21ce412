# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a verb writes to: standard output, or a pager on a terminal, with colours where they make sense."""

import os
import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from subprocess import Popen

_ODD = re.compile(r"[^ -~]")
COLOURS = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2"}


class Output:
    """Takes the text of a verb. `colour`: escape sequences for colours may be written; `terminal`: a person reads."""

    def __init__(self, when: str = "auto", pager: bool = False) -> None:
        """`when` is auto, always or never; `pager`: long output is to be paged where a terminal shows it."""
        self.terminal = sys.stdout.isatty()
        self.colour = choose_colour(when, self.terminal)
        self._paged = pager and self.terminal
        self._pager: Popen[bytes] | None = None
        # Names of files are bytes: with --null those that are not UTF-8 come out as they are.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")

    def write(self, text: str) -> None:
        """Write `text`. Raises BrokenPipeError when nobody reads any more."""
        if self._paged:
            # At the first text and not before: a verb that fails says so without a pager.
            self._paged = False
            self._pager = _start_pager(self.colour)
        if self._pager and self._pager.stdin:
            self._pager.stdin.write(text.encode("utf-8", "surrogateescape"))
        else:
            sys.stdout.write(text)

    def flush(self) -> None:
        """Write out what is buffered. Raises BrokenPipeError when nobody reads any more."""
        if self._pager and self._pager.stdin:
            self._pager.stdin.flush()
        else:
            sys.stdout.flush()

    def paint(self, text: str, *names: str) -> str:
        """`text` in the colours `names` of COLOURS, as it is where there are none."""
        if not self.colour or not names or not text:
            return text
        return f"\033[{';'.join(COLOURS[name] for name in names)}m{text}\033[m"

    def close(self) -> None:
        """Write out what is buffered and wait until the pager has ended. Raises BrokenPipeError."""
        if self._pager is None:
            sys.stdout.flush()
            return
        pager, self._pager = self._pager, None
        try:
            if pager.stdin:
                pager.stdin.close()
        except BrokenPipeError:
            pass  # a pager that the user quits early has shown what was wanted
        finally:
            _wait_for(pager)


def choose_colour(when: str, terminal: bool) -> bool:
    """Whether colours are written: as asked, else on a terminal that has them (no-color.org, terminfo's dumb)."""
    if when != "auto":
        return when == "always"
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def printable(text: str) -> str:
    """`text` with control characters, and bytes that are not UTF-8, spelt out: the name of a file must not control the
    terminal that shows it, and to an 8-bit one such a byte may be a control character.
    """
    if text.isprintable():
        return text
    return _ODD.sub(lambda found: _spell(found[0]), text)


@lru_cache(1024)
def _spell(character: str) -> str:
    if character.isprintable():
        return character
    # Any other half of a surrogate pair does not stand for a byte of a name, but may come in JSON.
    how = "surrogateescape" if 0xDC80 <= ord(character) <= 0xDCFF else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", how))


def _find_pager() -> str:
    """The command of the pager, "" for none; as git finds it (git-var(1), GIT_PAGER)."""
    for name in ("OVERLAYCTL_PAGER", "PAGER"):
        command = os.environ.get(name)
        if command is not None:
            return "" if command.strip() in ("", "cat") else command
    from shutil import which

    return "less" if which("less") else ""


def _start_pager(colour: bool) -> "Popen[bytes] | None":
    command = _find_pager()
    if not command:
        return None
    import subprocess

    environ = dict(os.environ)
    # F: no pager for what fits on the screen, R: colours, X: what was shown stays there.
    environ.setdefault("LESS", "FRX" if colour else "FX")
    sys.stdout.flush()
    return subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=environ)


def _wait_for(pager: "Popen[bytes]") -> None:
    while True:
        try:
            pager.wait()
            return
        except KeyboardInterrupt:
            continue  # the pager gets that key, too, and goes on until the user quits it
