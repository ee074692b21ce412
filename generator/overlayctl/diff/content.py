# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What changed in a file, line by line: a unified diff as diff(1) and git write it."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing

from overlayctl.layers.change import CHANGED, DELETED, Change, Layers
from overlayctl.layers.held import Held

# Beyond that difflib takes minutes on a small machine, and nobody reads it on a terminal.
LONGEST = 1 << 20
_BINARY_WITHIN = 8000  # as git looks for a NUL (buffer_is_binary(), xdiff-interface.c)
_NO_NEWLINE = "\\ No newline at end of file\n"


def differ(change: Change, layers: Layers, old_name: str, new_name: str) -> Iterator[str]:
    """The lines of the unified diff of `change`, each with its line break; none if no content changed.

    Of what is not text, or longer than LONGEST bytes, one line says that it differs. Raises OSError.
    """
    if not _has_content(change):
        return
    old = _read_old(change)
    new = _read_new(change, layers)
    if old is None or new is None:
        yield f"Files {old_name} and {new_name} differ, too long to be compared by lines\n"
        return
    if b"\0" in old[:_BINARY_WITHIN] or b"\0" in new[:_BINARY_WITHIN]:
        yield f"Binary files {old_name} and {new_name} differ\n"
        return
    from difflib import unified_diff

    yield from map(
        _end_line,
        unified_diff(
            _split(old),
            _split(new),
            old_name if change.old_info else os.devnull,
            new_name if change.info else os.devnull,
        ),
    )


def _has_content(change: Change) -> bool:
    """True for the change of a file or a link, not of a directory, a device or mere metadata."""
    if change.kind not in (CHANGED, DELETED) and change.old_info is not None:
        # Replaced by another type: one of the two has no lines, and a diff would tell nothing.
        return False
    info = change.info or change.old_info
    return info is not None and (stat.S_ISREG(info.st_mode) or stat.S_ISLNK(info.st_mode))


def _read_old(change: Change) -> "bytes | None":
    if change.old is None or change.old_info is None:
        return b""
    with closing(Held(change.old)) as held:
        return _read(held, change.old_info, held.open)


def _read_new(change: Change, layers: Layers) -> "bytes | None":
    if change.real is None or change.info is None:
        return b""
    with closing(Held(change.real)) as held:
        attributes = held.read_all_attributes()
        return _read(held, change.info, lambda: held.open_data(attributes, layers.data, change.below))


def _read(held: Held, info: os.stat_result, open_it: "Callable[[], int]") -> "bytes | None":
    """The content of a file, the target of a link; None if it is longer than LONGEST."""
    if stat.S_IFMT(held.info.st_mode) != stat.S_IFMT(info.st_mode):
        raise OSError(errno.ESTALE, "it was replaced while it was read")
    if stat.S_ISLNK(info.st_mode):
        return held.read_target()
    if held.info.st_size > LONGEST:
        return None
    with os.fdopen(open_it(), "rb") as stream:
        data = stream.read(LONGEST + 1)
    return data if len(data) <= LONGEST else None


def _split(data: bytes) -> "list[str]":
    # Not splitlines(): a form feed does not end a line of a unified diff.
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    last = lines.pop()
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def _end_line(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}"
