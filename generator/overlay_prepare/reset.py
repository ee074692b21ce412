"""Puts an upper layer, or parts of it, aside and deletes them later. Only before its overlay is mounted.

By renames alone, so that it takes no time, and a power cut leaves what was there, or less of it: doing it again comes
to the same.
"""

import posix

from overlay_generator.names import is_below, unflatten
from overlay_prepare import passthrough, stamp
from overlay_prepare.files import NO_SPACE, find_kind, is_too_long, list_entries, make_directory, sync_directory
from overlay_prepare.normalise import OPAQUE, remove
from overlay_prepare.opaque import add_whiteouts, is_opaque, mark_whiteouts
from overlay_prepare.reserve import is_low
from overlay_prepare.resetrequest import Staged, is_kept, may_hold_kept
from overlay_prepare.upper import make_like

TRASH = "trash"
_DEEPEST = 300  # directories; what lies deeper is left alone, as nothing here may end in a RecursionError


def reset(where: str, backing: str, staged: Staged, passed: bool = True) -> "tuple[int, list[str]]":
    """Do what is `staged`; how many things were put aside, and what could not be done and why. Raises OSError.

    Passed-through directories are reset like the rest if `passed`.
    """
    bin_ = _Bin(backing)
    if staged.whole:
        if staged.keep:
            count = _clear(bin_, f"{backing}/upper", where, staged.keep)
            count += _clear_direct(bin_, staged.keep) if passed else 0
        else:
            # The stamp goes first: a new upper layer beside the old work directory is then made fit before use.
            stamp.mark_changing(backing)
            count = bin_.put(f"{backing}/upper") + (bin_.put(f"{backing}/{passthrough.TOP}") if passed else 0)
        problems: list[str] = []
    else:
        count, problems = 0, []
        for path in staged.paths:
            done, problem = _restore(bin_, where, path, staged.keep)
            count += done
            problems += [problem] if problem else []
    if count:
        bin_.put(f"{backing}/work")
    sync_directory(backing)
    return count, problems


def put_aside(backing: str, name: str) -> None:
    """Put `name` of the backing directory aside. Raises OSError."""
    _Bin(backing).put(f"{backing}/{name}")
    sync_directory(backing)


def empty_trash(backing: str) -> None:
    """Delete what reset() has put aside, also by earlier boots. Raises OSError."""
    remove(f"{backing}/{TRASH}")


class _Bin:
    """A directory of this reset's own in the trash, made when the first thing goes there."""

    def __init__(self, backing: str) -> None:
        self.backing = backing
        self.path = ""
        self.count = 0

    def put(self, path: str) -> int:
        """Put aside what is at `path`; 1, or 0 if nothing is there. Raises OSError."""
        if not self.path:
            # A full disk is when people reset. A power cut leaves less of it, and it is done again.
            if is_low(self.backing):
                return int(remove(path))
            try:
                self.path = self._make()
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                return int(remove(path))
        try:
            posix.rename(path, f"{self.path}/{self.count}")
        except FileNotFoundError:
            return 0
        self.count += 1
        return 1

    def _make(self) -> str:
        trash = f"{self.backing}/{TRASH}"
        make_directory(trash, 0o700)
        number = 0
        while True:
            try:
                posix.mkdir(f"{trash}/{number}", 0o700)
                return f"{trash}/{number}"
            except FileExistsError:
                number += 1


def _clear(bin_: _Bin, directory: str, path: str, keep: "tuple[str, ...]", depth: int = 0) -> int:
    """Put aside all in `directory`, which the user knows as `path`, but what matches `keep`; how much that was."""
    count = 0
    if depth > _DEEPEST:
        return 0
    if find_kind(directory) == "d" and is_opaque(directory):
        posix.removexattr(directory, OPAQUE)
    for entry in list_entries(directory):
        inner = f"{path.rstrip('/')}/{entry.name}"
        if is_kept(inner, keep) or is_too_long(entry.path):
            continue
        if entry.is_dir(follow_symlinks=False) and may_hold_kept(inner, keep):
            count += _clear(bin_, entry.path, inner, keep, depth + 1)
            if list_entries(entry.path):
                continue
        count += bin_.put(entry.path)
    return count


def _list_direct(backing: str) -> "list[tuple[str, str]]":
    """The directories that are passed through: their paths for the user and where they are kept."""
    found = []
    for entry in list_entries(f"{backing}/{passthrough.TOP}"):
        try:
            found.append((unflatten(entry.name), entry.path))
        except ValueError:
            pass  # of somebody else's making
    return found


def _clear_direct(bin_: _Bin, keep: "tuple[str, ...]") -> int:
    """The same for the directories that are passed through, by their paths."""
    count = 0
    for path, place in _list_direct(bin_.backing):
        if is_kept(path, keep):
            continue
        if may_hold_kept(path, keep):
            count += _clear(bin_, place, path, keep)
        else:
            count += bin_.put(place)
    return count


def _restore(bin_: _Bin, where: str, path: str, keep: "tuple[str, ...]") -> "tuple[int, str]":
    """Make the image's `path` visible again; how much was put aside for that, and why it can't be done, or ""."""
    if not is_below(path, where):
        return 0, f"{path} is not below {where}"
    for top, place in _list_direct(bin_.backing):
        if path == top:
            # Made anew from the image, as at the first time.
            return _put_but_kept(bin_, place, path, keep), ""
        if is_below(path, top):
            return 0, f"{path} lies in {top}, which is passed through; that can only be restored whole"
    upper, image = f"{bin_.backing}/upper", where.rstrip("/")
    parts = path[len(image) + 1 :].split("/")
    for part in parts[:-1]:
        if is_opaque(upper):
            _open_for(upper, image, part)
        upper, image = f"{upper}/{part}", f"{image}/{part}"
        kind = find_kind(upper)
        if not kind:
            return 0, ""  # as the image has it, all below as well
        if kind != "d":
            return 0, f"{path}: {image} was removed or replaced; restore that"
    if is_opaque(upper):
        _open_for(upper, image, parts[-1], last=True)
    return _put_but_kept(bin_, f"{upper}/{parts[-1]}", path, keep), ""


def _put_but_kept(bin_: _Bin, place: str, path: str, keep: "tuple[str, ...]") -> int:
    if is_kept(path, keep):
        return 0
    if find_kind(place) == "d" and may_hold_kept(path, keep):
        return _clear(bin_, place, path, keep)
    return bin_.put(place)


def _open_for(upper: str, image: str, part: str, last: bool = False) -> None:
    """Let the image's `part` show through the opaque directory `upper`, and nothing else that it hides."""
    if find_kind(image) == "d":
        names = [entry.name for entry in list_entries(image)]
        if add_whiteouts(upper, (name for name in names if name != part)):
            mark_whiteouts(upper)
        inner = f"{upper}/{part}"
        if not last and part in names and find_kind(f"{image}/{part}") == "d":
            if not find_kind(inner):
                make_like(f"{image}/{part}", inner)
            if find_kind(inner) == "d":
                # It was hidden with the rest, and is to hide what is in it.
                posix.setxattr(inner, OPAQUE, b"y")
    posix.removexattr(upper, OPAQUE)
