# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Directories that are passed through: kept beside the upper layer and bind-mounted over the overlay.

They are for what can't live on an overlay, such as the storage of a container engine. Each is in `direct` of the
backing directory, under the flat name of its path. When it is first made it takes over what the upper layer has there,
then what the image has. Each step has a name of its own on the disk, which is given only when what it stands for is
safely there, so that a power cut at any moment does no harm:

NAME~filling  what the image has and the user has not is being copied here. The upper layer is as it was, and a boot
              that finds this begins anew: nobody knows how much of it got to the disk, nor from which image.
NAME~filled   all of that is on the disk.
NAME.full     what the user has, moved out of the upper layer. What is in NAME~filled moves here, overlayfs's marks are
              taken out, but not those of what the image has, which are an engine's own and labelled.
NAME          done, but for these labels, which do no harm.
"""

import posix

from overlay_generator.names import backing_name, unflatten
from overlay_prepare import imagenames
from overlay_prepare.files import FOREIGN, MARKS, find_kind, list_known, read_attribute, remove_attribute
from overlay_prepare.folder import Folder, WrongKind
from overlay_prepare.imagecopy import copy_missing, move_below
from overlay_prepare.marks import has_mark
from overlay_prepare.normalise import is_whiteout
from overlay_prepare.opaque import is_opaque
from overlay_prepare.tree import Level, list_by_parts, remove, walk

TOP = "direct"
# A flat name has no "~". A name with a dot could be another path's; version 0.1.0 has these.
_FILLING, _FILLED, _FULL = "~filling", "~filled", ".full"
_MOST = 1000  # directories; nobody makes more of them with this program
_TAKEN = ".taken"  # made by 0.1.0 only: the user's files and some of the image's


def make_direct(where: str, backing: Folder, path: str) -> None:
    """Make the directory for the absolute `path` below `where`, unless it is there already. Raises OSError."""
    with backing.make(TOP) as top:
        name = backing_name(path)
        for state in ("", _FILLED, _FULL, _TAKEN):
            top.expect(name + state, "d")
        if not top.find_kind(name):
            inner = path[len(where.rstrip("/")) + 1 :]
            if not top.find_kind(name + _FULL):
                _begin(backing, top, name, inner, path)
            if top.find_kind(name + _FULL):
                _finish(backing, top, name, inner)
            top.sync()
        for leftover in (_FILLING, _FILLED):
            remove(top, name + leftover)


def link(name: str, backing: str, state: str) -> None:
    """Make the symbolic link in the directory `state` by which the units name the directories. Raises OSError."""
    path = f"{state}/{name}.{TOP}"
    try:
        posix.symlink(f"{backing}/{TOP}", path)
    except FileExistsError:
        pass  # ours, of an earlier run in this boot: only root writes there


def list_kept(backing: Folder) -> "list[tuple[str, str]]":
    """The directories that are passed through: their paths for the user and their names in TOP. Raises OSError."""
    found: list[tuple[str, str]] = []
    top = backing.descend(TOP)
    for entry in top.scan() if top else ():
        if "~" not in entry.name and entry.is_dir(follow_symlinks=False):
            try:
                found.append((unflatten(entry.name), entry.name))
            except ValueError:
                pass  # somebody else made it
        if len(found) > _MOST:
            raise WrongKind(f"has more than {_MOST} directories", backing.spell(TOP))
    return found


def list_others(backing: Folder, direct: "tuple[str, ...]") -> "list[tuple[str, str]]":
    """The paths that were passed through before and are not in `direct`, each with the directory that holds what was
    written there, unless that is empty. Raises OSError.
    """
    found = []
    for path, name in list_kept(backing):
        inner = backing.descend(f"{TOP}/{name}")
        path = path[: -len(_FULL)] if name.endswith(_FULL) else path
        if path not in direct and inner and next(inner.scan(), None):
            found.append((path, inner.path))
    return found


def find_covered(where: str, backing: Folder, path: str) -> str:
    """Where the upper layer has something of `path`, which is passed through, and nobody sees it; "" for nothing.

    An image that does not pass it through has written there. Raises OSError.
    """
    inner = backing.descend(f"upper/{path[len(where.rstrip('/')) + 1 :]}")
    return inner.path if inner and next(inner.scan(), None) else ""


def _begin(backing: Folder, top: Folder, name: str, inner: str, image: str) -> None:
    """Make NAME~filled and NAME.full, or NAME where the user has nothing there; `inner` is the path below upper."""
    above, taken = _find_mine(backing, top, name, inner)
    mine = above.open(taken) if above else None
    _fill(image, top, name, mine, _is_hidden(backing, inner))
    if not above:
        top.rename(name + _FILLING, name)
        return
    top.rename(name + _FILLING, name + _FILLED)
    # So that the disk has them in this order, too: with NAME.full alone, what the image has would be missing for good.
    posix.sync()
    above.rename(taken, name + _FULL, top)


def _find_mine(backing: Folder, top: Folder, name: str, inner: str) -> "tuple[Folder | None, str]":
    """The directory with what was written there before it was passed through, which nobody would find below the bind
    mount: the one that it is in, None if there is none, and its name.
    """
    if top.find_kind(name + _TAKEN) == "d":
        return top, name + _TAKEN
    parent, _, last = f"upper/{inner}".rpartition("/")
    above = backing.descend(parent)
    return (above, last) if above and above.find_kind(last) == "d" else (None, "")


def _is_hidden(backing: Folder, inner: str) -> bool:
    """True if the user has removed or replaced the image's directory at `inner`, or one above it."""
    upper = backing.descend("upper")
    for part in inner.split("/"):
        if upper is None:
            return False
        kind = upper.find_kind(part)
        if kind not in ("d", ""):
            return True
        if is_opaque(upper.fd):
            # Unless this image is the first to have it: then it is shown.
            known = imagenames.read_all(backing)
            return known is None or f"{inner}/" in known
        upper = upper.open(part) if kind else None
    return False


def _fill(image: str, top: Folder, name: str, mine: "Folder | None", hidden: bool) -> None:
    """Copy what `image` has and `mine` has not to NAME~filling; it is on the disk when this returns. `hidden`: the user
    sees nothing of the image's.
    """
    filling = name + _FILLING
    remove(top, filling)
    # Without NAME.full beside it, the user may have changed what it was compared with.
    remove(top, name + _FILLED)
    top.mkdir(filling, 0o755)
    try:
        if find_kind(image) == "d":
            with top.open(filling) as made:
                copy_missing(image, made, mine, hidden)
    except (OSError, RecursionError):
        # It is not passed through then, and what the user has there is still seen. A full disk needs the space.
        remove(top, filling)
        raise
    posix.sync()


def _finish(backing: Folder, top: Folder, name: str, inner: str) -> None:
    """Make NAME from NAME.full and NAME~filled. If that fails, as on a full disk, NAME.full goes back."""
    with top.open(name + _FULL) as full:
        try:
            if top.find_kind(name + _FILLED):
                with top.open(name + _FILLED) as filled:
                    move_below(filled, full)
        except OSError:
            try:
                _remove_labelled(full)
            finally:
                parent, _, last = f"upper/{inner}".rpartition("/")
                above = backing.descend(parent)
                if above:
                    top.rename(name + _FULL, last, above)
            raise
        labelled = _clean(full)
    # After a power cut, what was taken out must not be back under the final name: btrfs may write one directory to the
    # disk without the others.
    posix.sync()
    top.rename(name + _FULL, name)
    if labelled:
        # Not before: done again after a power cut, _clean() would not know them any more.
        with top.open(name) as done:
            _remove_labels(done)


def _clean(top: Folder) -> bool:
    """Take out what has a meaning only in an overlay of ours: whiteouts, and marks on directories and files.

    True if something is labelled as the image's.
    """
    labelled = False

    def look(folder: Folder, entry: "posix.DirEntry[str]") -> None:
        nonlocal labelled
        labelled = _strip(folder.reach(entry.name), folder.spell(entry.name)) or labelled

    def leave(folder: Folder, _way: "list[Level]") -> None:
        nonlocal labelled
        labelled = _strip(folder.fd, folder.path) or labelled
        # Once in the life of the directory: that it is read a second time does not matter.
        for entry in list_by_parts(folder):
            if is_whiteout(folder, entry) and not _is_labelled(folder, entry):
                try:
                    folder.unlink(entry.name)
                except PermissionError:
                    pass  # an immutable directory stays as it was

    walk(top, look, leave)
    return labelled


def _is_labelled(folder: Folder, entry: "posix.DirEntry[str]") -> bool:
    return read_attribute(folder.reach(entry.name), folder.spell(entry.name), FOREIGN) is not None


def _remove_labels(top: Folder) -> None:
    def look(folder: Folder, entry: "posix.DirEntry[str]") -> None:
        if _is_labelled(folder, entry):
            remove_attribute(folder.reach(entry.name), folder.spell(entry.name), FOREIGN)

    def leave(folder: Folder, _way: "list[Level]") -> None:
        if has_mark(folder, FOREIGN):
            remove_attribute(folder.fd, folder.path, FOREIGN)

    try:
        walk(top, look, leave)
    except OSError:
        pass  # all is there, and no overlay knows the label


def _remove_labelled(top: Folder) -> None:
    """Remove the copies that would mean something in the upper layer; of a directory the marks."""

    def leave(folder: Folder, _way: "list[Level]") -> None:
        if has_mark(folder, FOREIGN):
            for name in list_known(folder.fd, folder.path)[0]:
                if name.startswith(MARKS) or name == FOREIGN:
                    remove_attribute(folder.fd, folder.path, name)
        for entry in list_by_parts(folder):
            if not entry.is_dir(follow_symlinks=False) and _is_labelled(folder, entry):
                folder.unlink(entry.name)

    walk(top, lambda _folder, _entry: None, leave)


def _strip(at: "str | int", path: str) -> bool:
    """True if it is labelled: then its marks stay."""
    names, _ = list_known(at, path)
    if FOREIGN in names:
        return True
    for name in names:
        if name.startswith(MARKS):
            try:
                remove_attribute(at, path, name)
            except PermissionError:
                pass  # immutable: outside of an overlay the mark means nothing
    return False
