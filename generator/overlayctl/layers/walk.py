# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Walks an upper layer against the lower one: each change that a user sees, without the overlay's help.

The layers are read, not the mounted overlay, so it works for one that is not mounted as well. A mounted one may be
written to meanwhile: each entry is reported as it was when it was looked at, and nothing outside of the layers is read
(directory.py). marks.py and index.py read the marks of overlayfs in a layer, compare.py compares two entries.

The walk holds the names in the directories that lead to the present one and nothing else: memory does not grow with
the number of changes. Names come in the order of their bytes, a directory before what is in it.
"""

from collections.abc import Callable, Iterator
from os import lstat, stat_result
from typing import TYPE_CHECKING, Union, cast

from overlayctl.layers.change import ADDED, CHANGED, DELETED, EQUAL, METADATA, MOVED, OPAQUE, REPLACED, Change, Layers
from overlayctl.layers.compare import find_differences
from overlayctl.layers.directory import Directory
from overlayctl.layers.marks import is_whiteout, read_directory
from overlayctl.layers.place import Part, Place
from overlayctl.layers.stack import Entry, Merged, Stack, are_same, hold, look

if TYPE_CHECKING:
    from overlayctl.layers.index import Index  # ctypes takes its time, and few overlays have one

_TYPE, _REGULAR, _CHARACTER, _DIRECTORY = 0o170000, 0o100000, 0o020000, 0o040000
_CONTENT = ("content",)

Report = Callable[[bytes, OSError], None]
# Takes a directory of the upper layer, its names and their number; returns the names, those of a part in a list.
Shared = Callable[[Directory, "Iterator[bytes]", int], "Iterator[bytes | list[bytes]]"]


Step = Union[Change, Part]


class NotFound(Exception):
    """Neither the overlay nor its image has the path that was asked for."""


def walk(layers: Layers, start: bytes = b"", follow: bool = True, report: "Report | None" = None) -> "Iterator[Change]":
    """The changes at `start` and below it. Raises NotFound for a `start` that is nowhere.

    With `follow`, what is in a moved directory is compared with what was moved; without, all of it is added, as the
    image has nothing there. What can't be read is left out and passed to `report`, or raises OSError without one.
    """
    return cast("Iterator[Change]", Walker(layers, follow, report or _raise).walk(start))


class Walker:
    """walk() for one overlay. With `shared`, large directories come as parts, for others to walk."""

    def __init__(self, layers: Layers, follow: bool, report: Report, shared: "Shared | None" = None) -> None:
        self.layers = layers
        self.follow = follow
        self.report = report
        self.shared = shared
        self.upper, self.lower = _open_tops(layers)
        self.index: Index | None = None
        if layers.links:
            from overlayctl.layers import index

            self.index = index.Index(layers.links)

    def walk(self, start: bytes) -> "Iterator[Step]":
        """As the function walk()."""
        place: Place | None = Place(b"", self.upper, self.lower, self.lower, bool(self.index))
        names = [name for name in start.split(b"/") if name]
        start = b"/".join(names)
        if not start:
            yield from self._examine_top()
        path = b""
        for name in names:
            if place is None or not place.has(name):
                raise NotFound(start)
            path = _join(path, name)
            if place.plain and name not in place.in_upper:
                # From here on there is the image alone.
                *parts, last = start[len(place.path) :].lstrip(b"/").split(b"/")
                inner = place.image.descend(parts) if place.image else None
                if inner is None or not _is_there(inner, last):
                    raise NotFound(start)
                return
            above = place  # the paths of its changes lead through what it has open
            changes, place = self.examine(above, name)
            # If a directory above it was moved, or is gone, that is what happened to `start` as well.
            yield from (change for change in changes if path == start or change.kind == MOVED or place is None)
            if place is None and changes:
                return
        if place is not None:
            yield from self._walk_below(place)

    def walk_part(self, part: Part) -> "Iterator[Change]":
        """The changes at the names of `part`."""
        assert isinstance(self.upper, Directory)
        assert isinstance(self.lower, Directory)
        try:
            upper = self.upper.descend(part.upper)
            image = None if part.image is None else self.lower.descend(part.image)
        except OSError as error:
            self.report(part.path, error)
            return iter(())
        if upper is None:
            return iter(())  # somebody has just removed it
        return cast("Iterator[Change]", self._walk_below(Place.of_part(part, upper, image)))

    def _names(self, place: Place) -> "Iterator[bytes | list[bytes]]":
        names = place.names()
        # A part says where it is in each of two layers.
        if self.shared is None or not place.plain or not isinstance(place.upper, Directory) or self.layers.frozen:
            return names
        return self.shared(place.upper, names, len(place.in_upper))

    def _examine_top(self) -> "tuple[Change, ...]":
        upper, lower = self.upper, self.lower
        own, old = (upper.itself, upper.find()), (lower.itself, lower.find())
        what = find_differences(*own, *old, self.layers.data, lower)
        return (Change(METADATA, b"", what, *own, *old, lower),) if what else ()

    def _walk_below(self, first: Place) -> "Iterator[Step]":
        """All changes below the directory `first`."""
        # Not recursive: users may nest directories to any depth, and a generator in a generator takes time.
        pending = [(first, self._names(first))]
        examine, make = self.examine, tuple.__new__
        while pending:
            place, names = pending[-1]
            try:
                fd = -1 if place.upper is None or place.merged or not place.plain else place.upper.fd
            except OSError as error:
                self.report(place.path, error)
                names = iter(())
            own = b"/proc/self/fd/%d/" % fd
            in_image, shown = place.in_image, place.shown
            prefix = place.path and place.path + b"/"
            for name in names:
                if isinstance(name, list):
                    yield _make_part(place, name)
                    continue
                try:
                    if fd >= 0 and name not in in_image:
                        # What most entries are, done without a call.
                        info = lstat(name, dir_fd=fd)
                        if info.st_mode & _TYPE == _REGULAR and info.st_size:
                            yield make(Change, (ADDED, prefix + name, (), own + name, info, None, None, shown, b""))
                            continue
                    changes, inner = examine(place, name)
                except FileNotFoundError:
                    continue  # somebody has just removed it
                except OSError as error:
                    self.report(prefix + name, error)
                    continue
                yield from changes
                if inner is not None:
                    try:
                        pending.append((inner, self._names(inner)))
                    except OSError as error:
                        self.report(prefix + name, error)
                        continue
                    # Of the paths of a deep tree only the last is kept: all of them grow with the square of its depth.
                    place.path = b""
                    break
            else:
                pending.pop()
                if pending:
                    pending[-1][0].path = place.path.rpartition(b"/")[0]

    def examine(self, place: Place, name: bytes) -> "tuple[tuple[Change, ...], Place | None]":
        """What changed at `name` in `place`, and the directory there if it has to be walked. Raises OSError."""
        path = _join(place.path, name)
        old = look(place.image, name) if name in place.in_image else None
        below = old
        if place.shown is not place.image:
            below = look(place.shown, name) if name in place.in_shown else None
        if place.upper is None or not (place.plain or name in place.in_upper):
            return self._examine_lower(place, name, path, below, old)
        fd = hold(place.upper, name).fd
        real = b"/proc/self/fd/%d/%b" % (fd, name)
        info = lstat(name, dir_fd=fd)
        kind = info.st_mode & _TYPE
        if kind == _DIRECTORY:
            return self._examine_directory(place, name, path, (real, info), below, old)
        # Checked here, too: in a walk over a million entries, a call for each is what takes the time.
        if (kind == _CHARACTER or not info.st_size) and is_whiteout(real, info):
            return _note_deleted(path, real, old), None
        if old is None:
            return (Change(ADDED, path, (), real, info, None, None, place.shown),), None
        return self._compare(EQUAL, path, (real, info), old, place.shown), None

    def _examine_lower(
        self, place: Place, name: bytes, path: bytes, below: Entry, old: Entry
    ) -> "tuple[tuple[Change, ...], Place | None]":
        """The same for what the upper layer lacks: it shows through a moved directory, or the index changes it."""
        if below is None:
            return _note_deleted(path, None, old), None
        real, info = self._find_linked(*below) if self.index else below
        inner = None
        if info.st_mode & _TYPE == _DIRECTORY and (below is not old or self.index):
            image = _enter(place.image, name, old)
            shown = image if below is old else _enter(place.shown, name, below)
            inner = Place(path, None, shown, image, bool(self.index))
        # Saves comparing it with itself, and has no other effect.
        if old and old[0] == real:
            return (), inner
        return self._compare("", path, (real, info), old, place.shown), inner

    def _examine_directory(
        self, place: Place, name: bytes, path: bytes, own: "tuple[bytes, stat_result]", below: Entry, old: Entry
    ) -> "tuple[tuple[Change, ...], Place]":
        """The same for a directory of the upper layer."""
        assert place.upper
        if isinstance(place.upper, Stack):
            upper, hides, redirect = place.upper.merge(name)
        else:
            hides, redirect = read_directory(own[0])
            upper = place.upper.enter(name)
        image = _enter(place.image, name, old)
        shown = image if below is old else _enter(place.shown, name, below)
        if hides:
            shown = None
        elif redirect:
            start = self.lower if redirect.startswith(b"/") else place.shown
            shown = None if start is None else start.descend(redirect.lstrip(b"/").split(b"/"))
            if are_same(shown, image):
                shown = image
        indexed = bool(self.index)
        if self.follow and redirect and shown is not None and shown is not image:
            source = (shown.itself, shown.find())
            what = find_differences(*own, *source, self.layers.data, None)
            moved = Change(MOVED, path, what, *own, *source, None, b"/".join(shown.parts()))
            return (*_note_deleted(path, None, old), moved), Place(path, upper, shown, shown, indexed)
        replaces = image is not None and shown is None and (hides or redirect)
        return (
            self._compare(OPAQUE if replaces else "", path, own, old, place.shown),
            Place(path, upper, shown, image, indexed),
        )

    def _compare(
        self, unchanged: str, path: bytes, own: "tuple[bytes, stat_result]", old: Entry, beside: "Merged | None"
    ) -> "tuple[Change, ...]":
        """The change from `old` to `own`; if nothing differs one of the kind `unchanged`, or none for ""."""
        if old is None:
            return (Change(ADDED, path, (), *own, None, None, beside),)
        if (own[1].st_mode ^ old[1].st_mode) & _TYPE:
            return (Change(REPLACED, path, (), *own, *old, beside),)
        what = find_differences(*own, *old, self.layers.data, beside)
        kind = CHANGED if what[:1] == _CONTENT else METADATA if what else unchanged
        if unchanged == OPAQUE:
            kind = OPAQUE
        return (Change(kind, path, what, *own, *old, beside),) if kind else ()

    def _find_linked(self, real: bytes, info: stat_result) -> "tuple[bytes, stat_result]":
        """Where a file of the lower layer really lies: in the index, if another name of it has been changed."""
        if info.st_nlink > 1 and info.st_mode & _TYPE != _DIRECTORY:
            linked = self.index.find(real) if self.index else None
            if linked:
                return linked, lstat(linked)
        return real, info


def _open_tops(layers: Layers) -> "tuple[Merged, Merged]":
    """What was written, and what it is compared with."""
    if not layers.frozen:
        return Directory.open_top(layers.upper), Directory.open_top(layers.lower)
    if layers.since:
        return Directory.open_top(layers.upper), Stack.open_tops(layers.frozen, layers.lower)
    return Stack.open_tops(layers.upper, layers.frozen), Directory.open_top(layers.lower)


def _is_there(directory: Merged, name: bytes) -> bool:
    try:
        return look(directory, name) is not None
    except FileNotFoundError:
        return False


def _enter(directory: "Merged | None", name: bytes, entry: Entry) -> "Merged | None":
    """The directory that `entry` of `directory` is, None if it is something else."""
    if directory is None or not entry or entry[1].st_mode & _TYPE != _DIRECTORY:
        return None
    return directory.enter(name)


def _make_part(place: Place, names: "list[bytes]") -> Part:
    assert place.upper
    image = None if place.image is None else place.image.parts()
    return Part(place.path, place.upper.parts(), image, names, [name for name in names if name in place.in_image])


def _note_deleted(path: bytes, whiteout: "bytes | None", old: Entry) -> "tuple[Change, ...]":
    return (Change(DELETED, path, (), whiteout, None, *old),) if old else ()


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def _raise(_path: bytes, error: OSError) -> None:
    raise error
