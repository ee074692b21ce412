"""The names that an image has in a directory, kept beside the upper layer: what of it an opaque directory hides.

A file `names` in the backing directory: a path below the overlaid directory in each line, with a slash at the end for
a directory. Written when the image has changed, read when it changes the next time.
"""

import posix

from overlay_generator.names import escape_line, unescape_line
from overlay_prepare.files import NO_SPACE, find_device, is_on, remove_file, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAME = "names"


def write(where: str, backing: str, more: "Iterable[str]" = ()) -> bool:
    """Note all names below `where`, and the paths `more`; False where the disk is full. Raises OSError."""
    path = f"{backing}/{NAME}"
    names = dict.fromkeys(_walk(where))
    names.update(dict.fromkeys(more))
    try:
        write_whole(path, "".join(f"{escape_line(name)}\n" for name in names), 0o600, durable=True)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        # None is better than another image's.
        remove_file(path + ".new")
        remove_file(path)
        return False
    return True


def read(backing: str, directories: "dict[str, set[str]]") -> bool:
    """Add to each of `directories`, by their paths ("" is the top), the names noted in it; False if there is no list.

    A directory's name has a slash at its end. Raises OSError.
    """
    try:
        fd = posix.open(f"{backing}/{NAME}", posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        rest = b""
        while True:
            data = posix.read(fd, 1 << 18)
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            for line in lines:
                path = unescape_line(line.decode("utf-8", "surrogateescape"))
                parent = path.rstrip("/").rpartition("/")[0]
                if parent in directories:
                    directories[parent].add(path[len(parent) + 1 if parent else 0 :])
            if not data:
                return True
    finally:
        posix.close(fd)


def _walk(top: str) -> "Iterator[str]":
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
