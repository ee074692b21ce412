# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Puts an upper layer, or parts of it, aside before its overlay is mounted, and deletes them later.

By renames alone, so that it takes no time, and a power cut leaves what was there, or less of it: doing it again has the
same result. All of it is on the disk before it is noted as done.
"""

import errno
import posix

from overlay_generator.names import is_below
from overlay_prepare import frozen, imagenames, passthrough, stamp
from overlay_prepare.files import NO_SPACE, find_kind, leads_to_directory, list_entries
from overlay_prepare.folder import Folder
from overlay_prepare.marks import OPAQUE, make_opaque
from overlay_prepare.opaque import add_whiteouts, is_opaque
from overlay_prepare.reserve import is_low
from overlay_prepare.resetrequest import Staged, is_kept, may_hold_kept
from overlay_prepare.tree import list_by_parts, remove
from overlay_prepare.upper import make_like

TRASH = "trash"
# For what can be deleted all the same: it lies in a subvolume, or is encrypted and without its key; the bin can have no
# more.
_UNMOVED = (errno.EXDEV, errno.ENOKEY, errno.EMLINK, *NO_SPACE)
DEEPEST = 300  # directories; what lies deeper is left alone, as nothing here may end in a RecursionError


def reset(where: str, backing: Folder, staged: Staged, passed: bool) -> "tuple[int, list[str]]":
    """Do what is `staged`. Returns how many things were put aside, and what could not be done and why. Raises OSError.

    Passed-through directories are reset like the rest if `passed`.
    """
    bin_ = Bin(backing)
    problems: list[str] = []
    if staged.whole and staged.keep:
        upper = backing.descend("upper")
        count = _clear(bin_, upper, where, staged.keep, marks=True) if upper else bin_.put(backing, "upper")
        count += _clear_direct(bin_, staged.keep) if passed else 0
    elif staged.whole:
        # The stamp goes first: a new upper layer beside the old work directory is then made fit before use.
        stamp.mark_changing(backing)
        count = bin_.put(backing, "upper") + (bin_.put(backing, passthrough.TOP) if passed else 0)
    else:
        count = 0
        restorer = _Restorer(bin_, where, staged.keep, staged.paths)
        for path in staged.paths:
            done, problem = restorer.restore(path)
            count += done
            problems += [problem] if problem else []
    if staged.whole and passed:
        # What an update has frozen, and what a step back has left, are the owner's data as well.
        for name in (frozen.NAME, frozen.UNDONE):
            count += bin_.put(backing, name)
    if bin_.deep:
        problems.append(f"what lies more than {DEEPEST} directories deep stays, beside what is kept")
    if count:
        bin_.put(backing, "work")
    # Everything: syncing one directory does not bring renames and changed attributes in others to the disk (btrfs).
    posix.sync()
    return count, problems


def put_aside(backing: Folder, name: str) -> None:
    """Put `name` of the backing directory aside. Raises OSError."""
    Bin(backing).put(backing, name)
    backing.sync()


def empty_trash(backing: Folder) -> None:
    """Delete what reset() has put aside, also by earlier boots. Raises OSError, once all that can go is gone: a user
    may have made a subvolume of btrfs read-only, or root a file immutable.
    """
    if backing.find_kind(TRASH) != "d":
        remove(backing, TRASH)
        return
    failure: OSError | None = None
    with backing.open(TRASH) as trash:
        for one in list_by_parts(trash):
            failure = _empty(trash, one) or failure
    if failure:
        raise failure
    backing.rmdir(TRASH)


def _empty(trash: Folder, one: "posix.DirEntry[str]") -> "OSError | None":
    """Delete what one reset has put aside, thing by thing; what could not be deleted."""
    failure: OSError | None = None
    try:
        if not one.is_dir(follow_symlinks=False):
            trash.unlink(one.name)
            return None
        with trash.open(one.name) as folder:
            for entry in list_by_parts(folder):
                try:
                    remove(folder, entry.name)
                except OSError as error:
                    failure = error
        if not failure:
            trash.rmdir(one.name)
    except OSError as error:
        failure = error
    return failure


class Bin:
    """A directory of this reset's own in the trash, made when the first thing goes there."""

    def __init__(self, backing: Folder) -> None:
        self.backing = backing
        self.folder: Folder | None = None
        self.count = 0
        self.deep = False  # something was left alone, as it lies too deep

    def put(self, folder: Folder, name: str) -> int:
        """Put `name` of `folder` aside; 1, or 0 if nothing is there. Raises OSError."""
        if not self.folder:
            # People reset when the disk is full: then it is deleted at once. After a power cut that is done again.
            if is_low(self.backing):
                return int(remove(folder, name))
            try:
                self.folder = self._make()
            except OSError as error:
                if error.errno not in NO_SPACE:
                    raise
                return int(remove(folder, name))
        try:
            folder.rename(name, f"{self.count}", self.folder)
        except FileNotFoundError:
            return 0
        except OSError as error:
            if error.errno not in _UNMOVED:
                raise
            return int(remove(folder, name))
        self.count += 1
        return 1

    def make_like(self, source: str, folder: Folder, name: str) -> None:
        """Make the opaque directory `name` with mode, owner and so on of `source`. Raises OSError."""
        # Made in the trash, not in its place: after a power cut the user would see it unfinished.
        self.folder = self.folder or self._make()
        scratch = f"{self.count}"
        make_like(source, self.folder, scratch)
        with self.folder.open(scratch) as made:
            make_opaque(made)
        self.folder.rename(scratch, name, folder)

    def _make(self) -> Folder:
        with self.backing.make(TRASH) as trash:
            number = 0
            while True:
                try:
                    trash.mkdir(f"{number}")
                    return trash.open(f"{number}")
                except FileExistsError:
                    number += 1


def _clear(bin_: Bin, folder: Folder, path: str, keep: "tuple[str, ...]", marks: bool, depth: int = 0) -> int:
    """Put aside all that is in `folder`, which the user knows as `path`, except what matches `keep`; its number.

    `marks`: it is of an upper layer. What is kept of an opaque directory becomes opaque itself.
    """
    count = 0
    if depth > DEEPEST:
        bin_.deep = bin_.deep or next(folder.scan(), None) is not None
        return 0
    hides = marks and is_opaque(folder.fd)
    for entry in list_by_parts(folder):
        inner = f"{path.rstrip('/')}/{entry.name}"
        directory = entry.is_dir(follow_symlinks=False)
        kept = is_kept(inner, keep)
        if directory and (kept or may_hold_kept(inner, keep)):
            with folder.open(entry.name) as below:
                if hides:
                    make_opaque(below)
                if kept:
                    continue
                count += _clear(bin_, below, inner, keep, marks, depth + 1)
                if next(below.scan(), None):
                    continue
        if not kept:
            count += bin_.put(folder, entry.name)
    # Last: after a power cut, what is in it has to be marked once more.
    if hides:
        posix.removexattr(folder.fd, OPAQUE)
    return count


def _clear_direct(bin_: Bin, keep: "tuple[str, ...]") -> int:
    """The same for the directories that are passed through, by their paths."""
    count = 0
    top = bin_.backing.descend(passthrough.TOP)
    for path, name in passthrough.list_kept(bin_.backing) if top else ():
        if top and not is_kept(path, keep):
            count += _put_but_kept(bin_, top, name, path, keep, marks=False)
    return count


class _Restorer:
    """Makes single paths of the image's `where` visible again, with `keep` and all `paths` of the request known."""

    def __init__(self, bin_: Bin, where: str, keep: "tuple[str, ...]", paths: "tuple[str, ...]") -> None:
        self.bin = bin_
        self.where = where.rstrip("/")
        self.keep = keep
        # Both once for all paths: a request may have many, and the lists of a disk may be as long as they can be.
        self.passed = passthrough.list_kept(bin_.backing)
        self.hidden = self._read_hidden(paths)

    def restore(self, path: str) -> "tuple[int, str]":
        """Make `path` visible; how much was put aside for that, and why it can't be done, or ""."""
        if not is_below(path, self.where or "/"):
            return 0, f"{path} is not below {self.where}"
        if is_kept(path, self.keep):
            return 0, ""
        for top, name in self.passed:
            if path == top:
                # Made anew from the image, as at the first time.
                with self.bin.backing.open(passthrough.TOP) as direct:
                    return _put_but_kept(self.bin, direct, name, path, self.keep, marks=False), ""
            if is_below(path, top):
                return 0, f"{path} lies in {top}, which is passed through; that can only be restored whole"
        image, inside = self.where, ""
        parts = path[len(image) + 1 :].split("/")
        upper = self.bin.backing.open("upper")
        for part in parts[:-1]:
            if is_opaque(upper.fd):
                self._open_for(upper, inside, image, part)
            inside, image = _join(inside, part), f"{image}/{part}"
            kind = upper.find_kind(part)
            if not kind:
                return 0, ""  # as the image has it, all below as well
            if kind != "d":
                return 0, f"{path}: {image} was removed or replaced; restore that"
            upper = upper.open(part)
        if is_opaque(upper.fd):
            self._open_for(upper, inside, image, parts[-1], last=True)
        return _put_but_kept(self.bin, upper, parts[-1], path, self.keep, marks=True), ""

    def _open_for(self, upper: Folder, inside: str, image: str, part: str, last: bool = False) -> None:
        """Let the image's `part` show through the opaque directory `upper`, which is at `inside` of the upper layer,
        and nothing else that it hides.
        """
        # Not by a symbolic link on the way: what that leads to is not hidden here.
        if not leads_to_directory(self.where, inside):
            return  # nothing to show, and what it hides of other images stays hidden
        hidden = self._list_hidden(inside, image)
        # Directories of its own would show what the image has in them; also in `part`, of which something may be kept.
        for name in [entry.name for entry in upper.scan() if entry.is_dir(follow_symlinks=False)]:
            with upper.open(name) as inner:
                make_opaque(inner)
        if not last and part in hidden and find_kind(f"{image}/{part}") == "d" and not upper.find_kind(part):
            # It was hidden with the rest, and is to hide what is in it.
            self.bin.make_like(f"{image}/{part}", upper, part)
        add_whiteouts(upper, sorted(name for name in hidden if name != part))
        posix.removexattr(upper.fd, OPAQUE)

    def _list_hidden(self, inside: str, image: str) -> "set[str]":
        """The names that the opaque directory at `inside` of the upper layer hides: those of all images so far. One
        that this image is the first to have was never removed. Where no list was kept, all that the image has.
        """
        if self.hidden is not None:
            return {name.rstrip("/") for name in self.hidden.get(inside, ())}
        return {entry.name for entry in list_entries(image)}

    def _read_hidden(self, paths: "tuple[str, ...]") -> "dict[str, set[str]] | None":
        """The names noted in the directories on the way to `paths` that hide the image's, or will once those above
        them are opened; None where no list was kept.
        """
        found: dict[str, set[str]] = {}
        for path in paths:
            folder, inside, hides = self.bin.backing.descend("upper"), "", False
            for part in path[len(self.where) + 1 :].split("/") if is_below(path, self.where or "/") else ():
                if folder is None:
                    break
                hides = hides or is_opaque(folder.fd)
                if hides:
                    found[inside] = set()
                folder, inside = folder.descend(part), _join(inside, part)
        return found if imagenames.read(self.bin.backing, found) else None


def _join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def _put_but_kept(bin_: Bin, folder: Folder, name: str, path: str, keep: "tuple[str, ...]", marks: bool) -> int:
    if folder.find_kind(name) == "d" and may_hold_kept(path, keep):
        with folder.open(name) as inner:
            return _clear(bin_, inner, path, keep, marks)
    return bin_.put(folder, name)
