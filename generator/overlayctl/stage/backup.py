# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A tar of upper layers as they are, whiteouts and attributes included, made before a reset is staged. With what an
update has frozen: of the one layer that the two will be.

Whoever can write to the overlay may do so meanwhile: each entry is held while it is read (layers/held.py), one that is
gone is left out, and one that was written to is reported.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing

from overlay_prepare import frozen, passthrough
from overlay_prepare.marks import OPAQUE
from overlay_prepare.reset import TRASH
from overlayctl.errors import Failure
from overlayctl.layers.directory import Directory
from overlayctl.layers.held import Held
from overlayctl.layers.links import Links
from overlayctl.layers.stack import Merged, Stack, hold
from overlayctl.mounts import Mount, read
from overlayctl.outfile import whole
from overlayctl.output import printable
from overlayctl.stage.request import Place
from overlayctl.tar import WRITTEN, Member, Tar, can_hold

# References to inodes of this image: of no use in a copy, and wrong over another image.
_LEFT_OUT = ("trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.nlink", "trusted.overlay.upper")
# Of a backing directory: what a reset puts aside, and what is deleted later.
_TAKEN = ("upper", "work", passthrough.TOP, frozen.NAME, frozen.UNDONE, TRASH)


def write(path: str, places: "list[Place]") -> int:
    """Write the upper layers of `places`, and what is passed through there, into the tar `path`, mode 0600 and durable;
    its size in bytes. Raises Failure.
    """
    _verify(path, places)
    try:
        return _write(path, _open_all(places))
    except Failure as error:
        raise Failure(f"the backup could not be made ({error}); nothing is staged") from error


def write_layer(path: str, places: "list[Place]", layer: str) -> None:
    """Write the `layer` of each place into the tar `path` in the same way. Raises Failure."""
    _write(path, ((place.where, Directory.open_top(os.fsencode(f"{place.backing}/{layer}"))) for place in places))


def _open_all(places: "list[Place]") -> "Iterator[tuple[str, Merged]]":
    for place in places:
        yield place.where, place.open_upper()
        for path, name in place.find_passed().items():
            yield path, place.open_passed(name)


def _write(path: str, parts: "Iterable[tuple[str, Merged]]") -> int:
    """Write `parts`, directories and where they are for the user, into the tar `path`; its size in bytes."""
    # Whole or not at all: nothing is staged without it.
    with whole(path) as out:
        tar = Tar(out)
        for where, top in parts:
            _pack(tar, where, top)
        tar.close()
    return out.size


def _verify(path: str, places: "list[Place]") -> None:
    """Raises Failure if the backup would lie in what the reset takes away, by whatever way it is named."""
    table = read()
    directory = os.path.realpath(os.path.dirname(path) or ".")
    mount = table.holding(directory)
    for place in places:
        overlay, disk = table.top(place.where), table.holding(place.backing)
        # Also by a bind mount, or in what is passed through.
        if mount and (
            (overlay and mount.device == overlay.device)
            or (disk and mount.device == disk.device and _is_inside(mount, directory, disk, place.backing))
        ):
            raise Failure(f"{path} lies in {place.where}, which is to be reset; write the backup somewhere else")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise Failure(f"{path} exists already and is not a file")


def _is_inside(mount: Mount, path: str, disk: Mount, backing: str) -> bool:
    """True if `path` of one mount of a file system is in the directory `backing` of `disk`, another one of it, and in
    what a reset takes away there.
    """
    inside, top = f"{mount.find_inside(path)}/", disk.find_inside(backing).rstrip("/")
    return inside.startswith(tuple(f"{top}/{name}/" for name in _TAKEN)) or disk.where == path == backing


def _pack(tar: Tar, where: str, top: Merged) -> None:
    links = Links(b"")
    start = os.fsencode(where.strip("/"))
    tar.add(Member(start, top.find(), _read_attributes(top.itself)))
    for directory, name, inside in walk(top, start):
        try:
            if name:
                _add(tar, hold(directory, name).path + b"/" + name, inside, links)
            else:
                tar.add(Member(inside, directory.find(), _read_directory(directory)))
        except FileNotFoundError:
            continue  # somebody has just removed it
        except OSError as error:
            raise Failure(f"/{printable(os.fsdecode(inside))}: {error.strerror}") from error


def _add(tar: Tar, path: bytes, name: bytes, links: Links) -> None:
    with closing(Held(path)) as held:
        info = held.info
        # No tar can hold a socket, and its service makes it again. A directory has just been put there by somebody.
        if not can_hold(info) or stat.S_ISDIR(info.st_mode):
            return
        first = links.find_first(name, path, info)
        if first is not None:
            tar.add(Member(name, info, {}, first, hard=True))
            return
        attributes = _choose(held.read_all_attributes())
        if not stat.S_ISREG(info.st_mode):
            tar.add(Member(name, info, attributes, held.read_target() if stat.S_ISLNK(info.st_mode) else b""))
            return
        fd = held.open()
        try:
            if tar.add(Member(name, info, attributes), fd):
                sys.stderr.write(f"overlayctl: /{printable(os.fsdecode(name))}: {WRITTEN}\n")
        finally:
            os.close(fd)


def walk(top: Merged, start: bytes) -> "Iterator[tuple[Merged, bytes, bytes]]":
    """All below `top`: the directory, the name in it, b"" for itself, and the name in the tar."""
    # Not recursive, and of all paths only the last is kept: users may nest directories to any depth.
    pending = [(top, iter(sorted(top.names())))]
    inside = start
    while pending:
        directory, names = pending[-1]
        for name in names:
            path = inside + b"/" + name
            inner = _enter(directory, name, path)
            if inner is None:
                yield directory, name, path
                continue
            yield inner, b"", path
            pending.append((inner, iter(sorted(inner.names()))))
            inside = path
            break
        else:
            pending.pop()
            inside = inside.rpartition(b"/")[0]


def _enter(directory: Merged, name: bytes, path: bytes) -> "Merged | None":
    """The directory `name` of `directory`, None for anything else."""
    try:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=hold(directory, name).fd).st_mode):
            return None
        return directory.enter(name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None  # something else now, or nothing: that is seen when it is added
        raise Failure(f"/{printable(os.fsdecode(path))}: {error.strerror}") from error


def _read_directory(directory: Merged) -> "dict[str, bytes]":
    found = _read_attributes(directory.itself)
    if isinstance(directory, Stack) and directory.hides:
        # By what is frozen, or by what it took the place of there.
        found[OPAQUE] = b"y"
    return found


def _read_attributes(path: bytes) -> "dict[str, bytes]":
    with closing(Held(path)) as held:
        return _choose(held.read_all_attributes())


def _choose(attributes: "dict[str, bytes]") -> "dict[str, bytes]":
    return {name: value for name, value in attributes.items() if name not in _LEFT_OUT}
