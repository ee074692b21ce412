# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that a person asked for: tars and lists, whole and on the disk, or not at all."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from overlayctl.errors import Failure

_MODE = 0o600  # what is in /var is not for everybody
_BUFFER = 1 << 18
_MOST_LINKS = 40  # as the kernel follows
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class OutFile:
    """A file, a device or a pipe that is written to. An error is raised as a Failure that names it."""

    def __init__(self, fd: int, name: str) -> None:
        self.name = name
        self.size = 0
        self._fd = fd
        self._waiting = bytearray()

    def write(self, data: bytes) -> None:
        """Write `data`. Raises Failure; BrokenPipeError when nobody reads any more."""
        self.size += len(data)
        self._waiting += data
        if len(self._waiting) >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write out what is buffered. Raises as write() does."""
        data, self._waiting = memoryview(bytes(self._waiting)), bytearray()
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failure(f"{self.name}: {error.strerror}") from error

    def sync(self) -> None:
        """Flush it to the disk. Raises Failure."""
        self.flush()
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise Failure(f"{self.name}: {error.strerror}") from error


@contextmanager
def standard_output() -> "Iterator[OutFile]":
    """Standard output, for the time of a `with` block."""
    out = OutFile(1, "standard output")
    yield out
    out.flush()


@contextmanager
def whole(path: str) -> "Iterator[OutFile]":
    """The file `path` for what a `with` block writes: mode 0600, and on the disk when the block has ended.

    If it ends by an exception what was there before stays. A device or a pipe can't be replaced, and is written to, as
    is what this process has open (/dev/stdout); any other link is replaced. Raises Failure.
    """
    own = _find_own(path)
    if own is not None:
        # Not opened anew: what is there would be written over from its start, and `>>` be of no use.
        with _write_to(path, lambda: os.dup(own)) as out:
            yield out
        return
    try:
        directory = os.open(os.path.dirname(path) or ".", _DIRECTORY)
        info = os.stat(path) if os.path.exists(path) else None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    try:
        if info is None or stat.S_ISREG(info.st_mode):
            with _replace(directory, path) as out:
                yield out
        else:
            with _write_to(path, lambda: os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)) as out:
                yield out
    finally:
        os.close(directory)


@contextmanager
def _replace(directory: int, path: str) -> "Iterator[OutFile]":
    # A name that nobody can guess, and never an existing one: in a user's directory that could be a link, or a file
    # that the user has open and goes on reading.
    scratch = f".overlayctl-{os.urandom(12).hex()}"
    try:
        # In here, as a signal may end it as soon as the file is there.
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(scratch, flags, _MODE, dir_fd=directory)
        except OSError as error:
            raise Failure(f"{path}: {error.strerror}") from error
        try:
            out = OutFile(fd, path)
            yield out
            out.sync()
        finally:
            os.close(fd)
        os.rename(scratch, os.path.basename(path), src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException as error:
        _remove(scratch, directory)
        if isinstance(error, OSError) and error.filename == scratch:
            raise Failure(f"{path}: {error.strerror}") from error
        raise
    try:
        os.fsync(directory)
    except OSError as error:
        raise Failure(f"{path}: is written, but perhaps not yet on the disk ({error.strerror})") from error


def _find_own(path: str) -> "int | None":
    """The descriptor of this process that the link `path` leads to, as /dev/stdout does."""
    for _ in range(_MOST_LINKS):
        directory, name = os.path.realpath(os.path.dirname(path) or "."), os.path.basename(path)
        if directory == f"/proc/{os.getpid()}/fd" and name.isdecimal():
            return int(name)
        if not os.path.islink(path):
            break
        path = os.path.join(directory, os.readlink(path))
    return None


@contextmanager
def _write_to(path: str, open_it: "Callable[[], int]") -> "Iterator[OutFile]":
    """What can't be replaced, and is open as the descriptor that `open_it` returns."""
    try:
        fd = open_it()
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    try:
        out = OutFile(fd, path)
        yield out
        out.flush()
    finally:
        os.close(fd)


def _remove(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except OSError:
        pass  # the first error is the one to report
