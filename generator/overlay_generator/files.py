"""What prepare and its steps do with files and directories of their own."""

import posix


def make_directory(path: str, mode: int) -> None:
    """Make the directory `path`, unless it is there already. Raises OSError."""
    try:
        posix.mkdir(path, mode)
    except FileExistsError:
        pass


def write_whole(path: str, text: str, mode: int, durable: bool = False) -> None:
    """Put `text` into the file `path`, whole or not at all; if `durable`, it is on the disk after. Raises OSError."""
    fd = posix.open(path + ".new", posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_CLOEXEC, mode)
    try:
        posix.write(fd, text.encode("utf-8", "surrogateescape"))
        if durable:
            posix.fsync(fd)
    finally:
        posix.close(fd)
    posix.rename(path + ".new", path)
    if durable:
        sync_directory(path.rpartition("/")[0])


def sync_directory(path: str) -> None:
    """Bring the names in the directory `path` to the disk. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        posix.fsync(fd)
    finally:
        posix.close(fd)
