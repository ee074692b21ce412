# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leaves the metrics in the directory of node_exporter's textfile collector, which reads whatever ends in .prom."""

import os

from overlayctl.errors import Failure

NAME = "overlay.prom"


def write(folder: str, text: str) -> None:
    """Put `text` into the file NAME of `folder`, whole or not at all, readable by all. Raises Failure.

    Nothing is synced: after a power cut the next run writes it anew.
    """
    if not folder:
        raise Failure("--textfile: give a directory")
    scratch = f"{folder}/.{NAME}.{os.urandom(8).hex()}"
    try:
        # O_EXCL: a link that somebody has put there is not followed.
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "w", encoding="utf-8") as stream:
                stream.write(text)
                os.fchmod(fd, 0o644)
            os.rename(scratch, f"{folder}/{NAME}")
        except BaseException:
            os.unlink(scratch)
            raise
    except OSError as error:
        raise Failure(f"--textfile {folder}: {_explain(error)}") from error


def _explain(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such directory; make it, or give the one that node_exporter reads"
    if isinstance(error, NotADirectoryError):
        return "not a directory"
    if isinstance(error, IsADirectoryError):
        return f"{NAME} is a directory; remove it"
    if isinstance(error, PermissionError) and os.geteuid() != 0:
        return f"{error.strerror}; try it as root"
    import errno

    advice = {
        errno.EROFS: "give a directory that can be written to",
        errno.ENOSPC: "what is there is the older one",
        errno.EDQUOT: "what is there is the older one",
    }
    hint = advice.get(error.errno or 0)
    return f"{error.strerror}; {hint}" if hint else str(error.strerror)
