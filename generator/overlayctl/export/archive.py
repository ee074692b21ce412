"""A tar of changes in the pax format (pax(1)), with extended attributes as GNU tar and bsdtar have them."""

import os
import stat
import tarfile
from typing import IO

from overlayctl.layers.change import Change, Layers
from overlayctl.layers.compare import open_layer
from overlayctl.layers.links import Links
from overlayctl.layers.marks import find_data, read_attributes

_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE, stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE, stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE,
}  # fmt: skip
_ATTRIBUTE = "SCHILY.xattr."
_CHUNK = 1 << 18


class Archive:
    """Writes to `stream`, which may be a pipe. The bytes depend on what is added, and on its order, alone."""

    def __init__(self, stream: "IO[bytes]") -> None:
        self._tar = tarfile.open(  # noqa: SIM115 - closed by close()
            mode="w|", fileobj=stream, format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
        )

    def add(self, name: bytes, change: Change, layers: Layers, links: Links) -> bool:
        """Add what is now at `change`, as `name`; False if no tar can hold it. Raises OSError.

        `links` are the files that have been added before from the same layers.
        """
        real, info = change.real, change.info
        assert real is not None
        assert info is not None
        kind = stat.S_IFMT(info.st_mode)
        if kind not in _TYPES:
            return False
        headers = _spell_time(info)
        member = tarfile.TarInfo(os.fsdecode(name))
        member.mode = stat.S_IMODE(info.st_mode)
        member.uid, member.gid = info.st_uid, info.st_gid
        member.mtime = info.st_mtime_ns // 10**9
        member.pax_headers = headers
        first = links.find_first(name, real, info)
        if first is not None:
            member.type, member.linkname = tarfile.LNKTYPE, os.fsdecode(first)
            self._add(member)
            return True
        member.type = _TYPES[kind]
        for attribute, value in sorted(read_attributes(real).items()):
            headers[_ATTRIBUTE + attribute] = value.decode("utf-8", "surrogateescape")
        if kind == stat.S_IFREG:
            self._add_file(member, find_data(real, layers.lower, change.below))
            return True
        if kind == stat.S_IFLNK:
            member.linkname = os.fsdecode(os.readlink(real))
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            member.devmajor, member.devminor = os.major(info.st_rdev), os.minor(info.st_rdev)
        self._add(member)
        return True

    def close(self) -> None:
        """Write the end of the archive. Raises OSError."""
        self._tar.close()

    def _add_file(self, member: tarfile.TarInfo, path: bytes) -> None:
        with os.fdopen(open_layer(path), "rb", buffering=_CHUNK) as stream:
            # As it is now: somebody may have written to it since it was looked at.
            member.size = os.fstat(stream.fileno()).st_size
            self._add(member, _Padded(stream))

    def _add(self, member: tarfile.TarInfo, stream: "_Padded | None" = None) -> None:
        self._tar.addfile(member, stream)  # type: ignore[arg-type]
        # tarfile keeps all members, for readers that ask for them.
        self._tar.members = []  # type: ignore[attr-defined]


class _Padded:
    """A file that is read to the size it once had: one that has been cut off since is filled up with zeros."""

    def __init__(self, stream: "IO[bytes]") -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        """`size` bytes. Raises OSError."""
        return self._stream.read(size).ljust(size, b"\0")


def _spell_time(info: os.stat_result) -> "dict[str, str]":
    """The time of change, where it is no whole second: tarfile would write a float, which has not got all digits."""
    seconds, rest = divmod(info.st_mtime_ns, 10**9)
    return {"mtime": f"{seconds}.{rest:09d}"} if rest else {}
