"""What an update of the image does to the upper layer where its owner has asked for more than keeping it.

prune: all that hides something of the new image goes, the user's own files stay. refresh: what is the same as in the
image before follows the new one. What goes is listed in the file `dropped` beside the upper layer.
"""

import errno
import posix

from overlay_generator.model import Value
from overlay_generator.names import escape_line
from overlay_prepare import manifest
from overlay_prepare.files import NO_SPACE, find_kind, is_too_long, list_attributes, list_entries
from overlay_prepare.normalise import OPAQUE, is_whiteout, remove

_LOG = "dropped"
_LONGEST = 1 << 20  # bytes of the log before it is put aside; one older one is kept
_DEEPEST = 400  # directories; what lies deeper is kept, as nothing here may end in a RecursionError


class Change(Value):
    """An upper layer under a new image: `where` shows the image, `old` what the one before had, by path."""

    __slots__ = ("log", "old", "upper", "where")

    def __init__(self, where: str, upper: str, old: "dict[str, str]", log: int) -> None:
        self.where = where
        self.upper = upper
        self.old = old
        self.log = log


def apply(policy: str, where: str, backing: str, title: str) -> "tuple[int, str]":
    """Carry out `policy`, prune or refresh; how many entries went, and why none could, or "". Raises OSError.

    Doing it twice, or half and then whole, comes to the same. `title` stands above what is listed in the log.
    """
    old: dict[str, str] = {}
    if policy == "refresh":
        found = manifest.read(backing)
        if found is None:
            return 0, "the list of what the image before had was not finished, so all of the upper layer was kept"
        old = found
    log = _open_log(backing)
    try:
        _note(log, f"# {policy}: {title}\n")
        change = Change(where, f"{backing}/upper", old, log)
        return (_prune if policy == "prune" else _refresh)(change, ""), ""
    finally:
        posix.close(log)


def _open_log(backing: str) -> int:
    path = f"{backing}/{_LOG}"
    try:
        if posix.stat(path).st_size > _LONGEST:
            posix.rename(path, path + ".old")
    except OSError as error:
        # Not there yet, or last written to after 2038, which 32 bits of time can't say.
        if error.errno not in (errno.ENOENT, errno.EOVERFLOW):
            raise
    try:
        return posix.open(path, posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC, 0o600)
    except OSError as error:
        # What goes makes room on a full disk; that it is listed is worth less.
        if error.errno not in NO_SPACE:
            raise
        return posix.open("/dev/null", posix.O_WRONLY | posix.O_CLOEXEC)


def _note(log: int, line: str) -> None:
    try:
        posix.write(log, line.encode("utf-8", "surrogateescape"))
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise


def _prune(change: Change, directory: str) -> int:
    """Drop what hides the image in the directory of the upper layer; the number of entries."""
    count = 0
    for entry in list_entries(change.upper + directory) if directory.count("/") < _DEEPEST else ():
        path = f"{directory}/{entry.name}"
        if is_too_long(entry.path):
            continue
        kind = find_kind(change.where + path)
        if not entry.is_dir(follow_symlinks=False):
            whiteout = is_whiteout(entry)
            if kind or whiteout:
                # A whiteout of nothing hides nothing yet; it would hide what comes with a later image.
                count += _drop(change, path, "deleted " if whiteout else "", bool(kind))
        elif kind in ("", "d"):
            if kind:
                _open(entry.path)
            count += _prune(change, path)
            if kind:
                _follow_directory(change, path)
        else:
            count += _drop_below(change, path)
    return count


def _refresh(change: Change, directory: str) -> int:
    """Drop what is as the image before had it; the number of entries."""
    count = 0
    for entry in list_entries(change.upper + directory) if directory.count("/") < _DEEPEST else ():
        path = f"{directory}/{entry.name}"
        before = change.old.get(path[1:]) if not is_too_long(entry.path) else None
        if entry.is_dir(follow_symlinks=False):
            # What an opaque directory would show of the image is hidden: nothing in it follows.
            if is_too_long(entry.path) or OPAQUE in posix.listxattr(entry.path):
                continue
            count += _refresh(change, path)
            if before is not None and manifest.describe(entry.path, before) == before:
                _follow_directory(change, path)
        elif before is not None and not is_whiteout(entry) and manifest.describe(entry.path, before) == before:
            count += _drop(change, path)
    return count


def _follow_directory(change: Change, path: str) -> None:
    """Give a directory of the upper layer what the image's shows of itself; without anything in it, it goes."""
    from overlay_prepare.upper import copy_attributes

    upper = change.upper + path
    try:
        if not list_entries(upper):
            posix.rmdir(upper)
        elif find_kind(change.where + path) == "d":
            for name in list_attributes(upper):
                posix.removexattr(upper, name)
            copy_attributes(change.where + path, upper)
    except PermissionError:
        pass  # immutable: it stays as it is


def _open(path: str) -> None:
    if OPAQUE in posix.listxattr(path):
        posix.removexattr(path, OPAQUE)


def _drop_below(change: Change, path: str) -> int:
    """Drop a directory with all that is in it; the number of entries."""
    count = 0
    pending = [path]
    while pending:
        directory = pending.pop()
        for entry in list_entries(change.upper + directory):
            inner = f"{directory}/{entry.name}"
            if not entry.is_dir(follow_symlinks=False):
                count += _drop(change, inner)
            elif not is_too_long(entry.path):
                pending.append(inner)
    try:
        remove(change.upper + path)
    except PermissionError:
        pass  # something immutable is in it
    return count


def _drop(change: Change, path: str, note: str = "", listed: bool = True) -> int:
    if listed:
        _note(change.log, f"{note}{escape_line(change.where + path)}\n")
    try:
        posix.unlink(change.upper + path)
    except PermissionError:
        return 0  # immutable: it stays
    return int(listed)
