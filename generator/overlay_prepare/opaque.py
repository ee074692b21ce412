# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes what another image adds visible in opaque directories, which hide everything that the image has there.

overlayfs makes a directory opaque if the user has removed the image's and made a new one; before Linux 5.16 also each
new directory. What the user has removed stays removed, by a whiteout for each name that an earlier image had.
"""

import posix

from overlay_prepare import imagenames
from overlay_prepare.files import NO_SPACE, WHITEOUT, leads_to_directory, read_attribute, remove_attribute
from overlay_prepare.folder import Folder
from overlay_prepare.marks import OPAQUE, mark_whiteouts
from overlay_prepare.normalise import is_mark
from overlay_prepare.report import WARNING, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class Layer(Protocol):
        """A directory of an upper layer, as Folder or as preview has it."""

        @property
        def fd(self) -> int:
            """Its descriptor."""

        def descend(self, path: str) -> "Layer | None":
            """The directory at `path` in it, None if it is not there."""

        def find_kind(self, name: str) -> str:
            """Not empty if there is such a name."""


def find_concerned(where: str, backing: Folder) -> "Callable[[str], bool]":
    """Tells of an opaque directory, given by its path in the upper layer, if it hides or has hidden what an image has.

    For the others, of which anybody may have made any number (before Linux 5.16 each new one), reveal() does nothing.
    """
    try:
        known = imagenames.read_directories(backing)
    except OSError:
        return lambda _path: True  # and reveal() raises it again

    def is_concerned(path: str) -> bool:
        try:
            return path in known or leads_to_directory(where, path)
        except OSError:
            return True

    return is_concerned


def reveal(where: str, backing: Folder, opaque: "list[str]", notes: "Folder | None" = None) -> "list[str]":
    """Show what is new in the image at `where` in the directories `opaque`, given by their paths in the upper layer.

    Returns the paths that have to be noted along with the names of the new image: what directories that stay opaque
    hide of earlier images. `notes` has the names of earlier images if `backing` has not. Raises OSError.
    """
    carried: list[str] = []
    if not opaque:
        return carried
    with backing.open("upper") as upper:
        # A policy may have changed them in the meantime.
        opaque = [top for top in opaque if _hides(upper, top)]
        known = imagenames.read_below(notes or backing, set(opaque))
        if known is None:
            # What the user removed can't be told from what is new: they go on hiding all of it.
            return carried
        for paths, has_news in find_groups(where, upper, opaque, known):
            if not (has_news and _open(upper, paths, known)):
                carried += [f"{path}/{name}" if path else name for path in paths for name in known.get(path, ())]
    return carried


def find_groups(
    where: str, upper: "Layer", opaque: "list[str]", known: "dict[str, set[str]]"
) -> "list[tuple[list[str], bool]]":
    """For each of the directories `opaque`: itself with those in it that it hides the image's from, and whether the
    image `where` has anything new for them, so that it is to be opened. `known` are the names that earlier images had
    in each. Changes nothing. Raises OSError.
    """
    tops = set(opaque)
    groups = [_find_directories(where, upper, top, known, tops) for top in opaque]
    return [(paths, any(_has_news(where, upper, path, known.get(path, set())) for path in paths)) for paths in groups]


def _hides(upper: Folder, path: str) -> bool:
    with_it = upper.descend(path)
    return with_it is not None and is_opaque(with_it.fd)


def _find_directories(
    where: str, upper: "Layer", top: str, known: "dict[str, set[str]]", tops: "set[str]"
) -> "list[str]":
    """`top`, and those directories of the upper layer below it that this image or an earlier one has as well.

    They are looked up by the image's names, not by listing the upper layer: a user can make more directories there
    than fit into memory.
    """
    found = []
    pending = [top]
    while pending:
        path = pending.pop()
        found.append(path)
        names = {name[:-1] for name in known.get(path, ()) if name.endswith("/")}
        if leads_to_directory(where, path):
            with posix.scandir(f"{where}/{path}") as entries:
                names.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        folder = upper.descend(path)
        for name in sorted(names) if folder else ():
            inner = folder.descend(name) if folder else None
            below = f"{path}/{name}" if path else name
            # One that is opaque itself is among the directories to open, and has its own turn.
            if inner and below not in tops and not is_opaque(inner.fd):
                pending.append(below)
    return found


def is_opaque(path: "str | int") -> bool:
    """True if `path`, the path or descriptor of a directory in an upper layer, is opaque (the kernel's overlayfs.rst).

    Raises OSError.
    """
    # By its name: a user can make the list of names longer than the kernel gives out.
    return read_attribute(path, path if isinstance(path, str) else "", OPAQUE) == b"y"


def is_removed(backing: Folder, path: str) -> bool:
    """True if the upper layer has a whiteout at `path`. Raises OSError."""
    parent, _, name = path.rpartition("/")
    folder = backing.descend(f"upper/{parent}" if parent else "upper")
    return folder is not None and folder.find_kind(name) == "o" and is_mark(folder, name)


def _has_news(where: str, upper: "Layer", path: str, known: "set[str]") -> bool:
    """True if the image's directory has a name that neither an earlier image had nor the upper layer has."""
    folder = upper.descend(path)
    if not folder or not leads_to_directory(where, path):
        return False
    with posix.scandir(f"{where}/{path}") as entries:
        return any(not {entry.name, entry.name + "/"} & known and not folder.find_kind(entry.name) for entry in entries)


def _open(upper: Folder, paths: "list[str]", known: "dict[str, set[str]]") -> bool:
    """Make whiteouts for the `known` names in `paths`, then the first no longer opaque; False if the disk is full."""
    try:
        for path in paths:
            folder = upper.descend(path)
            if folder:
                add_whiteouts(folder, (name.rstrip("/") for name in known.get(path, ())))
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        say(WARNING, f"{upper.spell(paths[0])}: what the image adds there is not shown, as the disk is full")
        return False
    top = upper.descend(paths[0])
    if top:
        remove_attribute(top.fd, top.path, OPAQUE)
    return True


def add_whiteouts(folder: Folder, names: "Iterable[str]") -> int:
    """Make whiteouts for `names` in `folder` of an upper layer, except for those that exist there.

    Returns their number. Raises OSError.
    """
    # An image may have had a file and another one a directory of the same name.
    missing = [name for name in dict.fromkeys(names) if not folder.find_kind(name)]
    if missing:
        # First: should anything fail here, they would be listed without it, as names that don't exist.
        mark_whiteouts(folder)
    for name in missing:
        folder.mknod(name, WHITEOUT, 0)
    return len(missing)
