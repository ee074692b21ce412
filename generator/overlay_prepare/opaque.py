"""Makes what another image adds visible in opaque directories: those that hide everything of the image below them.

overlayfs makes a directory opaque where the user has removed the image's and made a new one; before Linux 5.16 also
each new directory. What the user has removed stays removed: as a whiteout for each name that an earlier image had.
"""

import posix

from overlay_prepare import imagenames
from overlay_prepare.files import NO_SPACE, find_kind, is_too_long, leads_to_directory
from overlay_prepare.normalise import OPAQUE, ORIGIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_WHITEOUT = 0o020000  # S_IFCHR of stat(2); overlayfs's mark of a deleted file is the device 0:0


def reveal(where: str, backing: str, opaque: "list[str]") -> "list[str]":
    """Open the directories `opaque` of the upper layer, by their paths below it, for what is new in the image `where`.

    Returns the names, as paths, that have to be noted with those of the new image: what those directories that stay
    opaque hide of earlier images. Raises OSError.
    """
    carried: list[str] = []
    if not opaque:
        return carried
    upper = f"{backing}/upper"
    # A policy may have been at work on them in the meantime.
    opaque = [top for top in opaque if find_kind(f"{upper}/{top}") == "d" and is_opaque(f"{upper}/{top}")]
    groups = {top: _find_directories(upper, top) for top in opaque}
    known: dict[str, set[str]] = {path: set() for paths in groups.values() for path in paths}
    if not imagenames.read(backing, known):
        # What they hide can't be told from what is new: the user's word stands.
        return carried
    for paths in groups.values():
        opened = any(_has_news(where, upper, path, known[path]) for path in paths)
        if not (opened and _open(upper, paths, known)):
            carried += [f"{path}/{name}" if path else name for path in paths for name in known[path]]
    return carried


def _find_directories(upper: str, top: str) -> "list[str]":
    """`top` and the directories of the upper layer below it that it hides the image's from."""
    found = []
    pending = [top]
    while pending:
        path = pending.pop()
        found.append(path)
        with posix.scandir(f"{upper}/{path}") as entries:
            for entry in entries:
                # One that is opaque itself is dealt with itself.
                if entry.is_dir(follow_symlinks=False) and not is_too_long(entry.path) and not is_opaque(entry.path):
                    pending.append(f"{path}/{entry.name}" if path else entry.name)
    return found


def is_opaque(path: str) -> bool:
    """True if the directory `path` of an upper layer hides all of the image's (overlayfs.rst of the kernel)."""
    return OPAQUE in posix.listxattr(path) and posix.getxattr(path, OPAQUE) == b"y"


def _has_news(where: str, upper: str, path: str, known: "set[str]") -> bool:
    """True if the image's directory has a name that no earlier image had, nor the user."""
    if not leads_to_directory(where, path):
        return False
    with posix.scandir(f"{where}/{path}") as entries:
        return any(not {entry.name, entry.name + "/"} & known and not find_kind(f"{upper}/{path}/{entry.name}")
                   for entry in entries)  # fmt: skip


def _open(upper: str, paths: "list[str]", known: "dict[str, set[str]]") -> bool:
    """Put whiteouts for the `known` names into `paths`, then open the first; False where the disk is full."""
    try:
        for path in paths:
            if add_whiteouts(f"{upper}/{path}", (name.rstrip("/") for name in known[path])):
                mark_whiteouts(f"{upper}/{path}")
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        return False
    posix.removexattr(f"{upper}/{paths[0]}", OPAQUE)
    return True


def add_whiteouts(directory: str, names: "Iterable[str]") -> int:
    """Mark `names` as deleted in a directory of an upper layer, but those that it has; how many. Raises OSError."""
    count = 0
    for name in names:
        if not find_kind(f"{directory}/{name}"):
            posix.mknod(f"{directory}/{name}", _WHITEOUT, 0)
            count += 1
    return count


def mark_whiteouts(directory: str) -> None:
    """Let the kernel look for whiteouts in `directory`, also where the image has none of that name. Raises OSError."""
    # See normalise.py: "copied up from somewhere unknown".
    if ORIGIN not in posix.listxattr(directory):
        posix.setxattr(directory, ORIGIN, b"")
