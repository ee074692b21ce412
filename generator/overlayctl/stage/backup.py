"""A tar of upper layers as they are, whiteouts and attributes included, made before a reset is staged."""

import os
import stat
import tarfile
from collections.abc import Iterator
from typing import IO

from overlayctl.errors import Failure
from overlayctl.mounts import read
from overlayctl.stage.request import Place

# References to inodes of this image: of no use in a copy, and wrong over another image.
_LEFT_OUT = ("trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.nlink", "trusted.overlay.upper")
_ATTRIBUTE = "SCHILY.xattr."  # as GNU tar, bsdtar and star have them; GNU tar: --xattrs --xattrs-include='*'


def write(path: str, places: "list[Place]") -> int:
    """Write all of `places` into the tar `path`, mode 0600 and durable; its size in bytes. Raises Failure."""
    _verify(path, places)
    try:
        # Whole or not at all: nothing is staged without it.
        fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as stream:
            _pack(stream, places)
            stream.flush()
            os.fsync(stream.fileno())
        size = os.stat(path + ".new").st_size
        os.rename(path + ".new", path)
        return size
    except OSError as error:
        _remove(path + ".new")
        where = error.filename or path
        raise Failure(f"the backup could not be made ({where}: {error.strerror}); nothing is staged") from error
    except KeyboardInterrupt:
        _remove(path + ".new")
        raise


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def _verify(path: str, places: "list[Place]") -> None:
    """Raises Failure if the backup would lie in what the reset takes away."""
    target = os.path.realpath(path)
    mount = read().holding(os.path.dirname(target))
    for place in places:
        inside = target.startswith((f"{place.where}/", f"{os.path.realpath(place.backing)}/"))
        if inside and mount and mount.where in (place.where, place.backing):
            raise Failure(f"{path} lies in {place.where}, which is to be reset; write the backup somewhere else")
    if os.path.lexists(path) and not os.path.isfile(path):
        raise Failure(f"{path} is there already and is no file")


def _pack(stream: "IO[bytes]", places: "list[Place]") -> None:
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for place in places:
            top = place.where.strip("/")
            seen: dict[tuple[int, int], str] = {}
            for source, name in _walk(place.upper, top):
                info = os.lstat(source)
                if stat.S_ISSOCK(info.st_mode):
                    continue  # no tar can hold one, and its service makes it again
                # Its own search for hard links goes by inode alone, and several file systems may come here.
                archive.inodes.clear()  # type: ignore[attr-defined]
                entry = archive.gettarinfo(source, name)
                key = (info.st_dev, info.st_ino)
                if stat.S_ISREG(info.st_mode) and info.st_nlink > 1 and key in seen:
                    entry.type, entry.linkname, entry.size = tarfile.LNKTYPE, seen[key], 0
                seen.setdefault(key, name)
                entry.pax_headers = _read_attributes(source)
                if entry.isreg():
                    with open(source, "rb") as content:
                        archive.addfile(entry, content)
                else:
                    archive.addfile(entry)


def _walk(source: str, name: str) -> "Iterator[tuple[str, str]]":
    """`source` and all below it, each with its name in the tar, directories before what is in them."""
    yield source, name
    pending = [(source, name)]
    while pending:
        directory, inside = pending.pop()
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
            yield entry.path, f"{inside}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                pending.append((entry.path, f"{inside}/{entry.name}"))


def _read_attributes(path: str) -> "dict[str, str]":
    """The extended attributes of `path` as pax headers."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {
            _ATTRIBUTE + name: os.getxattr(path, name, follow_symlinks=False).decode("utf-8", "surrogateescape")
            for name in names
            if name not in _LEFT_OUT
        }
    except OSError:
        return {}
