# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Folds the upper layer into the one that an update has frozen: by renames, before the mount, and what the overlay of
the two shows stays the same at each step. So it can be cut off anywhere and gone on with, or be mounted half done.

| in the upper layer | in the frozen one | what becomes of it |
|---|---|---|
| a file | anything | takes its place |
| a whiteout | anything | that goes; the whiteout stays only where an image has, or had, such a name |
| a directory | nothing | moves there whole |
| an opaque one | a directory | takes its place, and goes on hiding the image's |
| a directory | a file, a whiteout | becomes opaque, as that hid what the image has, and takes its place |
| a directory | one of which nothing or little shows | gets what shows of it, and takes its place |
| a directory | a directory | both become one, with the attributes of the first |
"""

import errno
import posix

from overlay_prepare import frozen, imagenames, stamp
from overlay_prepare.files import MARKS, read_attribute
from overlay_prepare.folder import Folder
from overlay_prepare.marks import NO_ROOM, has_mark, make_opaque, mark_whiteouts, set_mark
from overlay_prepare.normalise import is_mark, is_whiteout
from overlay_prepare.opaque import is_opaque
from overlay_prepare.pairs import Names, Pairs, walk
from overlay_prepare.report import WARNING, say
from overlay_prepare.reset import Bin, put_aside
from overlay_prepare.tree import list_by_parts, remove
from overlay_prepare.upper import follow_attributes

# overlayfs shows nobody an attribute with its prefix.
_TIMES = MARKS + "generator.times"
# chattr +i and +a of the overlay, as letters; the kernel reads it in the upper layer alone.
_PROTECTED = MARKS + "protattr"
_FLAGS = (b"a", b"i")
_MOST_MISSING = 10_000  # names that are remembered at a time
_FEW = 8  # names that are looked for one by one rather than in a list


def fold(backing: Folder, folder: Folder) -> None:
    """Make one upper layer of it and of what is frozen in `folder`; it is fit for no image then. Raises OSError.

    Done again after a half it goes on with the rest.
    """
    if not folder.find_kind(frozen.FOLDING):
        stamp.mark_changing(backing)
        ours, theirs = stamp.read_uuids(backing), stamp.read_uuids(folder)
        if ours is None or theirs is None:
            backing.remove_file(stamp.HISTORY)  # then every file is looked at
        else:
            stamp.write_uuids(backing, list(dict.fromkeys([*theirs, *ours])))
        # From here on nobody steps back. No new file, as there may be no room for one.
        if folder.find_kind(frozen.SINCE):
            folder.rename(frozen.SINCE, frozen.FOLDING)
        else:
            folder.write(frozen.FOLDING, b"")
        posix.sync()
    if folder.find_kind(frozen.LAYER) and folder.find_kind(frozen.KEPT):
        remove(folder, frozen.MAKING)
        folder.rename(frozen.KEPT, frozen.MAKING)
    base = frozen.LAYER if folder.find_kind(frozen.LAYER) else frozen.KEPT
    if folder.find_kind(base):
        if backing.find_kind("upper"):
            with backing.open("upper") as upper, folder.open(base) as layer:
                _Fold(backing).fold(upper, layer)
            backing.rmdir("upper")
        folder.rename(base, "upper", backing)
    # Before what says that it is done: they are of this update, and must not commit the next one.
    for name in (frozen.GOOD, frozen.COMMIT):
        frozen.drop(backing, name)
    posix.sync()
    put_aside(backing, frozen.NAME)


class _Fold:
    def __init__(self, backing: Folder) -> None:
        self.backing = backing
        self.bin = Bin(backing)
        self.known: set[str] | None = None  # names of all images so far
        self.bare, self.first = 0, ""  # files that have lost chattr +i or +a, and one of them

    def fold(self, upper: Folder, layer: Folder) -> None:
        """Move all of `upper` into `layer`, which gets its attributes as well."""
        walk(upper, layer, self._move, self._depart, moving=True, abandon=_stay)
        if self.bare:
            text = "has lost its chattr +i or +a: it was written to after the update"
            say(WARNING, f"{self.first}, one of {self.bare} files, {text}")

    def _depart(self, upper: Folder, layer: Folder) -> None:
        self._follow(upper, layer)
        _drop_twins(upper, layer)

    def _move(self, pairs: Pairs) -> Names:
        """Move what is in one directory; the names of the directories that both have."""
        upper, layer = pairs.here
        self._note_times(upper)
        both = Names()
        for entry in list_by_parts(upper):
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                if self._move_directory(upper, layer, name):
                    both.add(name, pairs.depth)
            elif is_whiteout(upper, entry):
                self._move_whiteout(upper, layer, name, pairs.path)
            else:
                self._look_at_flags(upper, layer, name)
                self._move_file(upper, layer, name)
        return both

    def _look_at_flags(self, upper: Folder, layer: Folder, name: str) -> None:
        """Note a file that takes the place of a protected one: a copy of overlayfs does not have the flags. Nobody
        knows whether it is that, or a new one that is to have none, so it does not get them.
        """
        if _has_flags(layer.reach(name)) and not _has_flags(upper.reach(name)):
            self.bare += 1
            self.first = self.first or upper.spell(name)

    def _move_file(self, upper: Folder, layer: Folder, name: str) -> None:
        try:
            upper.rename(name, name, layer)
        except IsADirectoryError:
            self.bin.put(layer, name)
            upper.rename(name, name, layer)

    def _move_directory(self, upper: Folder, layer: Folder, name: str) -> bool:
        """True if it is left for later, as both have it."""
        kind = layer.find_kind(name)
        if kind:
            with upper.open(name) as inner:
                hides = is_opaque(inner.fd)
                must_hide = kind != "d"
                if kind == "d" and not hides:
                    with layer.open(name) as below:
                        # Where a fold was cut off, its times are to be brought back as well.
                        missing = None if has_mark(inner, _TIMES) else _find_missing(inner, below)
                        if missing is None:
                            return True
                        self._bring_up(missing, inner, below)
                        _add_flags(below, inner)
                        must_hide = is_opaque(below.fd)
                if must_hide and not hides:
                    # What it takes the place of has hidden the image's directory from it.
                    if not make_opaque(inner) and kind == "d":
                        return True  # the other one has the mark
                    posix.fsync(inner.fd)
            self.bin.put(layer, name)
        upper.rename(name, name, layer)
        return False

    def _bring_up(self, names: "list[str]", inner: Folder, below: Folder) -> None:
        """Move `names` of the frozen directory `below` to `inner`, which shows the same times as before."""
        if not names:
            return
        self._note_times(inner)
        try:
            for name in names:
                below.rename(name, name, inner)
        except OSError:
            _stay(inner)
            raise
        # In this order: with a note, `inner` is not complete, and what is in it moves to `below` after a power cut.
        _stay(inner)

    def _move_whiteout(self, upper: Folder, layer: Folder, name: str, path: "str | None") -> None:
        # By its name: looked for in a list, many of them would take the square of their number.
        if layer.find_kind(name) == "o" and is_mark(layer, name):
            upper.unlink(name)
        elif self._is_of_image(f"{path}/{name}" if path else name if path is not None else ""):
            mark_whiteouts(layer)
            self._move_file(upper, layer, name)
        else:
            # Where no image has such a name, nothing is to be hidden: a later one may have it.
            self.bin.put(layer, name)
            upper.unlink(name)

    def _is_of_image(self, path: str) -> bool:
        """True if an image has or had something at `path`; "" is deeper than any path of an image's."""
        # The list has those of the image that the upper layer was over; what the booted one is the first to have was
        # never removed.
        if self.known is None:
            names = imagenames.read_all(self.backing)
            # Where nobody knows, what was deleted stays so.
            self.known = {name.rstrip("/") for name in names} if names is not None else {""}
        return path in self.known or "" in self.known

    def _note_times(self, upper: Folder) -> None:
        """Keep what the moves change: it is what the overlay shows."""
        info = upper.stat_self()
        try:
            if info:
                times = f"{info.st_atime_ns} {info.st_mtime_ns}".encode()
                posix.setxattr(upper.fd, _TIMES, times, posix.XATTR_CREATE)
        except OSError as error:
            # There already: it was cut off. Without room for it the directory looks as if it was written to now.
            if error.errno not in (errno.EEXIST, *NO_ROOM):
                raise

    def _follow(self, upper: Folder, layer: Folder) -> None:
        """Give `layer` what `upper` shows of itself."""
        for warning in follow_attributes(f"/proc/self/fd/{upper.fd}/.", layer.fd, layer.path):
            say(WARNING, warning)
        _add_flags(upper, layer)
        _bring_times_back(upper, layer)


def _add_flags(source: Folder, target: Folder) -> None:
    """Protect the directory `target` as `source` is. What it has itself stays: a directory that was frozen has not lost
    its own because something was written in it meanwhile, when nobody could see them.
    """
    found, there = _read_flags(source), _read_flags(target)
    if not found <= there and not set_mark(target, _PROTECTED, b"".join(sorted(found | there))):
        say(WARNING, f"{target.path} loses its chattr +{b''.join(sorted(found)).decode()}: there is no room for it")


def _has_flags(path: str) -> bool:
    try:
        return bool(posix.getxattr(path, _PROTECTED, follow_symlinks=False))
    except OSError:
        return False  # nothing is there, or it has none


def _read_flags(folder: Folder) -> "set[bytes]":
    value = read_attribute(folder.fd, folder.path, _PROTECTED) or b""
    return {flag for flag in _FLAGS if flag in value}


def _bring_times_back(upper: Folder, target: Folder) -> None:
    """Give `target` the times that were noted of `upper`."""
    try:
        accessed, modified = (int(word) for word in posix.getxattr(upper.fd, _TIMES).split())
        posix.utime(target.fd, ns=(accessed, modified))
    except (OSError, ValueError, OverflowError):
        pass  # somebody else's word, or none as it is after 2038: the present time does


def _stay(upper: Folder) -> None:
    """Leave a directory that is not gone as the overlay has shown it: it may be written to before the next fold."""
    _bring_times_back(upper, upper)
    if has_mark(upper, _TIMES):
        posix.removexattr(upper.fd, _TIMES)


def _drop_twins(upper: Folder, layer: Folder) -> None:
    """Remove what is still in `upper`, and in `layer` under another name of the same file: rename(2) does nothing then.

    btrfs may have both after a power cut (Linux 6.18).
    """
    for entry in upper.scan():
        if frozen.is_same(upper, entry.name, layer, entry.name):
            upper.unlink(entry.name)


def _find_missing(inner: Folder, below: Folder) -> "list[str] | None":
    """The names of the directory `below` that `inner` needs to have, too, to take the place of that one. None where it
    can't, or where it is less work to move what is in `inner`.
    """
    # What is in the two directories is most of what a fold looks at: nothing is called for each of them.
    theirs = {entry.name: entry for _, entry in zip(range(_MOST_MISSING + 1), below.scan())}
    if len(theirs) > _MOST_MISSING:
        return None
    if len(theirs) > _FEW:
        shared = [entry for entry in inner.scan() if entry.name in theirs]
        odd = [entry.name for entry in shared if not entry.is_file(follow_symlinks=False)]
        missing = list(theirs.keys() - {entry.name for entry in shared})
    else:
        odd = [name for name in theirs if inner.find_kind(name)]
        missing = [name for name in theirs if name not in odd]
    if any(_shows_more(inner, name) for name in odd):
        return None
    # Whoever gets a whiteout needs a mark as well. One of `inner` alone hides what an image has, and stays.
    if any(_is_other(theirs[name]) and is_mark(below, name) for name in missing):
        return None
    enough = 2 * len(missing)
    return missing if sum(1 for _ in zip(range(enough), inner.scan())) == enough else None


def _is_other(entry: "posix.DirEntry[str]") -> bool:
    """True if it is neither a file nor a directory nor a symbolic link."""
    return not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False) or entry.is_symlink())


def _shows_more(inner: Folder, name: str) -> bool:
    """True if both directories are needed for what `inner` has as `name`: a directory is one with that of the other,
    and a whiteout hides that.
    """
    kind = inner.find_kind(name)
    return kind == "d" or (kind == "o" and is_mark(inner, name))
