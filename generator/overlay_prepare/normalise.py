# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes an upper layer fit for another image: takes out what refers to inodes of the image that it was written over.

overlayfs keeps file handles of the lower layer in `trusted.overlay` attributes. In another image they lead to other
files, or nowhere: a file shows another one's content, or ESTALE (Linux 6.1, 6.12 and 6.18, squashfs always, ext4 and
erofs with a fixed UUID). The marks of what the user did stay: opaque, redirect, metacopy and whiteouts. Doing it twice,
or again after an interruption, has the same result.
"""

from overlay_prepare.files import MARKS, find_attributes, is_too_long, read_attribute, remove_attribute
from overlay_prepare.folder import Folder, look_at
from overlay_prepare.marks import OPAQUE, ORIGIN, mark_whiteouts, set_mark
from overlay_prepare.report import WARNING, say
from overlay_prepare.tree import Level, remove_below, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    import posix
    from collections.abc import Callable

_STALE = (ORIGIN, MARKS + "impure", MARKS + "nlink", MARKS + "upper")


def normalise(
    upper: Folder, work: Folder, files: bool = True, matters: "Callable[[str], bool] | None" = None
) -> "tuple[int, list[str]]":
    """Strip all of `upper` and empty `work`. Returns the number of references taken out, and the paths below `upper`
    of its opaque directories, those alone for which `matters` is true if it is given. Raises OSError.

    Without `files` only directories are stripped: enough if the kernel can follow no reference of a file in the new
    image, and it saves looking at each inode. Symbolic links are not followed and mount points not entered. `upper`
    must not be in use by an overlay.
    """
    count = 0
    opaque = []
    kept = _Kept()
    has_whiteout = False

    def look(folder: Folder, entry: "posix.DirEntry[str]") -> None:
        nonlocal count, has_whiteout
        has_whiteout = has_whiteout or is_whiteout(folder, entry)
        if files:
            count += _strip(folder.reach(entry.name), folder.spell(entry.name), kept)

    def leave(folder: Folder, way: "list[Level]") -> None:
        nonlocal count, has_whiteout
        found = find_attributes(folder.fd, folder.path, (OPAQUE, *_STALE))
        count += _strip_directory(folder, found, has_whiteout, kept)
        has_whiteout = False
        if OPAQUE in found and read_attribute(folder.fd, folder.path, OPAQUE) == b"y":
            path = "/".join(level.name for level in way[1:])
            # No image has anything so deep.
            if not is_too_long(path) and (not matters or matters(path)):
                opaque.append(path)

    walk(upper, look, leave)
    remove_below(work)
    if kept.count:
        text = "can't be changed (chattr +i?), and may be shown with what another image has"
        say(WARNING, f"{kept.first}, one of {kept.count} in the upper layer, {text}")
    return count, opaque


class _Kept:
    """What can't be changed, of which there may be any number: the first path, and how often there was one."""

    def __init__(self) -> None:
        self.first = ""
        self.count = 0

    def add(self, path: str) -> None:
        """Count what is at `path`."""
        self.first = self.first or path
        self.count += 1


def _strip(place: str, path: str, kept: _Kept) -> int:
    """Strip what is not a directory, without following a link; `path` is for messages."""
    return sum(_remove(place, name, path, kept) for name in find_attributes(place, path, _STALE))


def _remove(at: "str | int", name: str, path: str, kept: _Kept) -> bool:
    try:
        return remove_attribute(at, path, name)
    except PermissionError:
        # An immutable file. That it may show wrong content is no reason to go without the overlay.
        kept.add(path)
        return False


def _strip_directory(folder: Folder, present: "list[str]", has_whiteout: bool, kept: _Kept) -> int:
    fd, path = folder.fd, folder.path
    found = [name for name in present if name in _STALE]
    # An empty origin means "copied up from somewhere unknown". Without an origin, the kernel does not look for
    # whiteouts in a directory that the new image lacks, and lists them as names that don't exist (Linux 6.18,
    # fs/overlayfs).
    known = ORIGIN in found and read_attribute(fd, path, ORIGIN) != b""
    try:
        if known:
            set_mark(folder, ORIGIN, b"")
        elif has_whiteout:
            mark_whiteouts(folder)
    except PermissionError:
        kept.add(path)
        known = False
    return sum(_remove(fd, name, path, kept) for name in found if name != ORIGIN) + known


def is_whiteout(folder: Folder, entry: "posix.DirEntry[str]") -> bool:
    """True if `entry` of `folder`, in an upper layer, marks a deleted file. Raises OSError."""
    if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False) or entry.is_symlink():
        return False
    return is_mark(folder, entry.name)


def is_mark(folder: Folder, name: str) -> bool:
    """The same for `name`, which is neither a file, a directory nor a link. Raises OSError."""
    info = look_at(lambda: folder.stat(name))
    if not info:
        # A time after 2038, see find_kind(). That of a device or a whiteout matters to nobody: it is set to now.
        folder.touch(name)
        info = folder.stat(name)
    return info.st_mode & 0o170000 == 0o020000 and info.st_rdev == 0
