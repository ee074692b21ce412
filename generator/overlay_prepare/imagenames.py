# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The names that an image has, kept beside the upper layer: they tell what an opaque directory has hidden of it.

They are in the file `names` of the backing directory: on each line a path below the overlaid directory, with a slash
at the end for a directory. It is written when the image has changed, and read when it changes the next time.
"""

import posix

from overlay_generator.names import escape_line, unescape_line
from overlay_prepare.files import NO_SPACE, find_device, is_on
from overlay_prepare.folder import WrongKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from overlay_prepare.folder import Folder

NAME = "names"
MOST = 64 << 20  # bytes of the list: half a million names of usual length
MOST_NAMES = 1 << 19  # in it: the shortest names would take forty times their size in memory
_LONGEST_LINE = 16 << 10  # bytes: a path of PATH_MAX with every character escaped


def write(where: str, backing: "Folder", more: "Iterable[str]" = ()) -> bool:
    """Note all names below `where`, and the paths `more`; False where they don't fit. Raises OSError."""
    names = dict.fromkeys(walk(where))
    names.update(dict.fromkeys(more))
    data = "".join(f"{escape_line(name)}\n" for name in names).encode("utf-8", "surrogateescape")
    try:
        if len(data) <= MOST and len(names) <= MOST_NAMES:
            backing.write(NAME, data)
            return True
    except OSError as error:
        if error.errno not in NO_SPACE:
            backing.remove_file(NAME)
            raise
    # No list is better than another image's.
    backing.remove_file(NAME)
    return False


def read(backing: "Folder", directories: "dict[str, set[str]]") -> bool:
    """Add to each of `directories`, by their paths ("" is the top), the names noted in it; False if there is no list.

    A directory's name has a slash at its end. Raises OSError.
    """

    def take(parent: str, name: str) -> None:
        if parent in directories:
            directories[parent].add(name)

    return _read_lines(backing, take)


def read_all(backing: "Folder") -> "list[str] | None":
    """All names, as paths, a directory's with a slash at its end; None if there is no list. Raises OSError."""
    found: list[str] = []

    def take(parent: str, name: str) -> None:
        found.append(f"{parent}/{name}" if parent else name)

    return found if _read_lines(backing, take) else None


def find_removed(backing: "Folder", is_removed: "Callable[[str], bool]") -> "list[str]":
    """The noted paths in directories that the user has removed: one made anew there goes on hiding them, also after
    images that have none of it. `is_removed` tells it of one directory. Raises OSError.
    """
    states: dict[str, bool] = {"": False}
    found: list[str] = []

    def take(parent: str, name: str) -> None:
        above = parent
        while above not in states:
            above = above.rpartition("/")[0]
        while above != parent:
            # The next one on the way down.
            below = parent[: (parent + "/").index("/", len(above) + 1)]
            states[below] = states[above] or is_removed(below)
            above = below
        if states[parent]:
            found.append(f"{parent}/{name}")

    return found if _read_lines(backing, take) else []


def read_directories(backing: "Folder") -> "set[str]":
    """The directories that the list has names in, "" is the top; none if there is no list. Raises OSError."""
    found: set[str] = set()
    return found if _read_lines(backing, lambda parent, _name: found.add(parent)) else set()


def read_below(backing: "Folder", tops: "set[str]") -> "dict[str, set[str]] | None":
    """The names noted in the directories `tops` and all below them, by the paths of these; None if there is no list.

    Raises OSError.
    """
    found: dict[str, set[str]] = {}

    def take(parent: str, name: str) -> None:
        above = parent
        while above not in tops:
            if not above:
                return
            above = above.rpartition("/")[0]
        found.setdefault(parent, set()).add(name)

    return found if _read_lines(backing, take) else None


def _read_lines(backing: "Folder", take: "Callable[[str, str], object]") -> bool:
    """Call `take` with each directory and a name in it; False if there is no list of names."""
    try:
        fd = backing.open_file(NAME, MOST)
    except FileNotFoundError:
        return False
    except WrongKind as error:
        backing.put_aside(NAME, error.strerror)
        return False
    try:
        return _read_all(fd, take)
    finally:
        posix.close(fd)


def _read_all(fd: int, take: "Callable[[str, str], object]") -> bool:
    rest = b""
    count = 0
    while True:
        data = posix.read(fd, _LONGEST_LINE)
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        count += len(lines)
        if len(rest) > _LONGEST_LINE or count > MOST_NAMES:
            return False
        for line in lines:
            path = unescape_line(line.decode("utf-8", "surrogateescape"))
            whole = path[:-1] if path[-1:] == "/" else path
            # Not of our making, so no other line is believed either. Whiteouts are made under these names.
            if "\0" in path or not {"", ".", ".."}.isdisjoint(whole.split("/")):
                return False
            parent = whole.rpartition("/")[0]
            take(parent, path[len(parent) + 1 if parent else 0 :])
        if not data:
            return True


def walk(top: str) -> "Iterator[str]":
    """All names below `top` but for those on other file systems, as paths, a directory's with a slash at its end.

    Raises OSError.
    """
    device = find_device(top)
    pending = [""]
    while pending:
        directory = pending.pop()
        with posix.scandir(top + directory) as entries:
            for entry in entries:
                path = f"{directory}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    yield path[1:] + "/"
                    if is_on(entry, device):
                        pending.append(path)
                else:
                    yield path[1:]
