# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a step back (Rollback=yes) keeps aside: all that was written or deleted since the update."""

import os
import stat
from collections.abc import Callable, Iterator

from overlayctl.layers.directory import Directory
from overlayctl.layers.marks import is_whiteout
from overlayctl.preview.finding import UNDONE, Finding

Report = Callable[[bytes, OSError], None]


def list_undone(top: Directory, start: bytes, report: Report) -> "Iterator[Finding]":
    """A finding for each entry of the upper layer `top` at `start` and below it that is not a directory.

    `report` is given what can't be read.
    """
    *parts, last = start.split(b"/")
    above = top.descend(parts if last else [])
    if above is None:
        return
    pending: list[tuple[bytes, Directory, list[bytes]]] = [
        (b"/".join(parts), above, [last] if last else _list(b"", above, report))
    ]
    while pending:
        path, directory, names = pending[-1]
        if not names:
            pending.pop()
            continue
        name = names.pop()
        at = b"%b/%b" % (path, name) if path else name
        try:
            info = os.lstat(name, dir_fd=directory.fd)
            if stat.S_ISDIR(info.st_mode):
                inner = directory.enter(name)
                pending.append((at, inner, _list(at, inner, report)))
            elif is_whiteout(b"%b/%b" % (directory.path, name), info):
                yield Finding(UNDONE, at, what=("deleted",))
            else:
                yield Finding(UNDONE, at, info, size=info.st_size if stat.S_ISREG(info.st_mode) else 0)
        except FileNotFoundError:
            continue  # not there, or somebody has just removed it
        except OSError as error:
            report(at, error)


def _list(path: bytes, directory: Directory, report: Report) -> "list[bytes]":
    """The names in `directory`, the first one last."""
    try:
        return sorted(directory.names(), reverse=True)
    except OSError as error:
        report(path, error)
        return []
