# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policies prune and refresh: what an update of the image drops from the upper layer if its owner asks for it.

prune drops all that hides something of the new image; the user's own files stay. refresh drops what is the same as in
the previous image, so that the new one shows. What is dropped is listed in the file `dropped` beside the upper layer;
the whole list is on the disk before the first entry goes.
"""

import posix

from overlay_generator.model import Value
from overlay_generator.names import escape_line
from overlay_prepare import manifest
from overlay_prepare.files import (
    NO_SPACE,
    find_kind,
    is_too_long,
    leads_to_directory,
    remove_attribute,
)
from overlay_prepare.folder import Folder, look_at, write_all
from overlay_prepare.marks import OPAQUE, has_mark
from overlay_prepare.normalise import is_whiteout
from overlay_prepare.report import WARNING, describe, say
from overlay_prepare.tree import Level, list_by_parts, remove, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LOG, OLD_LOG = "dropped", "dropped.old"
MOST = 256 << 20  # bytes of a log of ours, which one update may make that long: two million lines
_LONGEST = 1 << 20  # bytes of the log before it is rotated; one old log is kept
DEEPEST = 400  # directories; what lies deeper is kept, as nothing here may end in a RecursionError

KEEP, DROP, ENTER, RAZE = "keep", "drop", "enter", "raze"


class Change(Value):
    """A new image under an upper layer: `where` shows the image, `old` describes the previous one's files, by path.

    If `log` is a descriptor, what would be dropped is listed there and nothing is changed; if -1, it is dropped.
    """

    __slots__ = ("log", "old", "where")

    def __init__(self, where: str, old: "dict[str, str]", log: int) -> None:
        self.where = where
        self.old = old
        self.log = log

    @property
    def is_listing(self) -> bool:
        """True if nothing is to be changed."""
        return self.log != -1


def apply(
    policy: str, where: str, backing: Folder, title: str, frozen: "Folder | None" = None, at: "Folder | None" = None
) -> "tuple[int, str, bool]":
    """Carry out `policy`, prune or refresh. Returns the number of entries dropped, what could not be done, or "", and
    True if everything was kept because of that.

    Doing it twice, or again after an interruption, has the same result. `title` heads the list in the log. If an
    update has frozen the upper layer, `frozen` has the notes on the image before, and `at` the layer to change. Raises
    OSError.
    """
    old: dict[str, str] = {}
    if policy == "refresh":
        found = manifest.read(frozen or backing)
        if found is None:
            kept = "the list of what the image before had was not finished, so all of the upper layer was kept"
            return 0, kept, True
        old = found
    drop = _prune if policy == "prune" else _refresh
    reason = ""
    with (at or backing).open("upper") as upper:
        try:
            _list(backing, f"# {policy}: {title}\n", lambda log: drop(Change(where, old, log), upper, ""))
        except OSError as error:
            # Dropping entries makes room on a full disk, which is worth more than the list of them.
            if error.errno not in NO_SPACE:
                raise
            reason = f"the disk is full, so not all that was dropped is listed in {backing}/{LOG}"
        change = Change(where, old, -1)
        dropped = drop(change, upper, "")
        if policy == "prune":
            _follow(change, upper, "")
        return dropped, reason, False


def _list(backing: Folder, title: str, work: "Callable[[int], object]") -> None:
    """Append `title` and what `work` lists to the log; it is on the disk when this returns. Raises OSError."""
    _mend_log(backing)
    log = backing.append(LOG)
    try:
        _note(log, title)
        work(log)
        posix.fsync(log)
    finally:
        posix.close(log)
    backing.sync()


def _mend_log(backing: Folder) -> None:
    """Rotate a long log, and cut off what a power cut has left after the last whole line: none of that was dropped."""
    info = look_at(lambda: backing.stat(LOG)) if backing.find_kind(LOG) == "f" else None
    if info and info.st_size > MOST:
        backing.put_aside(LOG, f"has {info.st_size} bytes, and at most {MOST} are allowed")
    elif info and info.st_size > _LONGEST:
        backing.expect(OLD_LOG, "f")
        backing.rename(LOG, OLD_LOG)
    data = backing.recover(LOG, _LONGEST) or b""
    text = data.partition(b"\0")[0]
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(data):
        backing.write(LOG, whole)


def _note(log: int, line: str) -> None:
    write_all(log, line.encode("utf-8", "surrogateescape"))


def judge_pruned(own: str, kind: str) -> str:
    """What prune does to an entry of the upper layer: KEEP, DROP, ENTER a directory, RAZE one with all in it. Pure.

    `own` is d for a directory, w for a whiteout, "" for all else, `kind` what find_kind() says of the image's.
    """
    if own == "d":
        return ENTER if kind in ("", "d") else RAZE
    # A whiteout of a name that the image lacks hides nothing yet, but would hide what a later image adds.
    return DROP if kind or own == "w" else KEEP


def _prune(change: Change, upper: Folder, directory: str) -> int:
    """Drop what hides the image in `upper`, which is the upper layer's `directory`; the number of entries."""
    count = 0
    for entry in list_by_parts(upper) if directory.count("/") < DEEPEST else ():
        path = f"{directory}/{entry.name}"
        if is_too_long(change.where + path):
            continue
        kind = find_kind(change.where + path)
        whiteout = is_whiteout(upper, entry)
        action = judge_pruned("d" if entry.is_dir(follow_symlinks=False) else "w" if whiteout else "", kind)
        if action == DROP:
            count += _drop(change, upper, path, "deleted " if whiteout else "", bool(kind))
        elif action == ENTER:
            with upper.open(entry.name) as inner:
                if kind and not change.is_listing:
                    _open(inner)
                count += _prune(change, inner, path)
                if kind and not change.is_listing:
                    _follow_directory(change, upper, inner, path)
        elif action == RAZE:
            count += _drop_below(change, upper, path)
    return count


def is_repeated(place: str, before: "str | None") -> bool:
    """True if what is at `place` in the upper layer only repeats the image before, where it was `before`, a text of
    manifest.describe() or None for nothing. Raises OSError.
    """
    return before is not None and manifest.describe(place, before) == before


def _refresh(change: Change, upper: Folder, directory: str) -> int:
    """Drop what is the same as in the previous image; the number of entries."""
    count = 0
    for entry in list_by_parts(upper) if directory.count("/") < DEEPEST else ():
        path = f"{directory}/{entry.name}"
        before = change.old.get(path[1:])
        place = upper.reach(entry.name)
        if entry.is_dir(follow_symlinks=False):
            with upper.open(entry.name) as inner:
                # An opaque directory hides what the image has in it: nothing in it can follow the image.
                if is_too_long(change.where + path) or has_mark(inner, OPAQUE):
                    continue
                count += _refresh(change, inner, path)
                if not change.is_listing and is_repeated(place, before):
                    _follow_directory(change, upper, inner, path)
        elif before is not None and not is_whiteout(upper, entry) and is_repeated(place, before):
            count += _drop(change, upper, path)
    return count


def _follow_directory(change: Change, upper: Folder, inner: Folder, path: str) -> None:
    """Give the directory `inner` of the upper layer the attributes of the image's; an empty one is removed."""
    try:
        if not next(inner.scan(), None):
            upper.rmdir(path.rpartition("/")[2])
            return
    except PermissionError as error:
        _tell_unchanged(change, path, error)
        return
    # Not by a symbolic link on the way: what that leads to is no directory of the image's.
    if leads_to_directory(change.where, path[1:]):
        _follow(change, inner, path)


def _follow(change: Change, inner: Folder, path: str) -> None:
    from overlay_prepare.upper import follow_attributes

    try:
        for warning in follow_attributes(change.where + path, inner.fd, inner.path):
            say(WARNING, warning)
    except PermissionError as error:
        _tell_unchanged(change, path, error)


def _tell_unchanged(change: Change, path: str, error: OSError) -> None:
    # Immutable (chattr(1)). Reported, as the new image may have closed it to some users.
    say(WARNING, f"{change.where + path} stays as it is, and does not follow the image: {error.strerror}")


def _open(directory: Folder) -> None:
    if has_mark(directory, OPAQUE):
        remove_attribute(directory.fd, directory.path, OPAQUE)


def _drop_below(change: Change, upper: Folder, path: str) -> int:
    """Drop a directory with all that is in it; the number of entries."""
    count = 0

    def leave(folder: Folder, way: "list[Level]") -> None:
        nonlocal count
        directory = "/".join([path, *(level.name for level in way[1:])])
        files = (entry.name for entry in list_by_parts(folder) if not entry.is_dir(follow_symlinks=False))
        count += sum(_drop(change, folder, f"{directory}/{name}") for name in files)

    with upper.open(path.rpartition("/")[2]) as inner:
        walk(inner, lambda _folder, _entry: None, leave)
    if not change.is_listing:
        try:
            remove(upper, path.rpartition("/")[2])
        except PermissionError as error:
            say(WARNING, f"{change.where + path} can't be dropped: {describe(error)}")  # something immutable is in it
    return count


def _drop(change: Change, upper: Folder, path: str, note: str = "", listed: bool = True) -> int:
    """Drop the file at `path`, which is in the directory `upper`; 1, or 0 if it is not counted."""
    if change.is_listing:
        if listed:
            _note(change.log, f"{note}{escape_line(change.where + path)}\n")
        return int(listed)
    try:
        upper.unlink(path.rpartition("/")[2])
    except PermissionError as error:
        say(WARNING, f"{change.where + path} can't be dropped: {describe(error)}")  # immutable
        return 0
    return int(listed)
