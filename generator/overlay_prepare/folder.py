# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A directory that is held open: all access goes through its descriptor, so that no symbolic link leads elsewhere.

Whoever can write the disk can put anything in the place of what prepare keeps there: a symbolic link, a FIFO that
nobody writes to, a device, an endless file, another mount. So the backing directory is opened once, and this module
and tree.py are the only ones that touch anything below it. Names are single components of a path. Files are created
with O_EXCL; before a file is opened it is checked to be of the right kind, and once more when it is open.
"""

import errno
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    Tell = Callable[[str], object]
    T = TypeVar("T")

NEW = ".new"  # the suffix of a file that is being written
ASIDE = ".refused"  # the suffix of what was put aside
_MOST_ASIDE = 100
_CHUNK = 1 << 20  # bytes that are read at once
_LONGEST_PATH = 4096  # characters; for what lies deeper, a message names a directory above it

# O_NONBLOCK: opening a FIFO would wait for its other end. O_DIRECTORY: anything else fails before it is opened.
_AS_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_AS_FILE = posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
_KINDS = {0o100000: "f", 0o040000: "d", 0o120000: "l"}  # S_IFMT of stat(2)
_CALLED = {"f": "a file", "d": "a directory", "l": "a symbolic link", "o": "a device, a FIFO or a socket"}


class WrongKind(OSError):
    """An entry is not what prepare puts there; `strerror` says what is wrong with it."""

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(errno.EUCLEAN, reason, path)


class Folder:
    """An open directory. `path` is for messages and mount(8) alone; `tell` gets a sentence about what is put aside.

    Every method raises OSError with the whole path in it. A folder is closed by close(), `with`, or when it is dropped.
    """

    __slots__ = ("device", "fd", "path", "tell")

    def __init__(self, fd: int, path: str, tell: "Tell") -> None:
        self.fd = fd
        self.path = path
        self.tell = tell
        info = self.stat_self()
        self.device = info.st_dev if info else -1

    def __enter__(self) -> "Folder":
        """Itself."""
        return self

    def __exit__(self, *_arguments: object) -> None:
        """Close it."""
        self.close()

    def __str__(self) -> str:
        """Its path."""
        return self.path

    def __del__(self) -> None:
        """A disk can't be unmounted as long as something on it is open."""
        self.close()

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            posix.close(fd)

    def spell(self, name: str) -> str:
        """The path of `name`, for a message."""
        return f"{self.path}/{name}" if len(self.path) < _LONGEST_PATH else self.path

    def reach(self, name: str) -> str:
        """A path of `name` for calls that take no directory descriptor and follow no link, such as lsetxattr(2).

        It leads through the open directory itself (proc(5)), whatever has become of its name.
        """
        return f"/proc/self/fd/{self.fd}/{_check(name)}"

    def stat(self, name: str) -> "posix.stat_result":
        """What lstat(2) says of `name`."""
        return self._do(posix.stat, name, follow_symlinks=False)

    def stat_self(self) -> "posix.stat_result | None":
        """What fstat(2) says of the directory itself; None as in look_at()."""
        return look_at(lambda: posix.fstat(self.fd))

    def has_mode(self, mode: int) -> bool:
        """True if its permissions are known to be `mode`."""
        info = self.stat_self()
        return info is not None and info.st_mode & 0o7777 == mode

    def find_kind(self, name: str) -> str:
        """f, d, l or o (any other) for what `name` is, "" for nothing."""
        try:
            info = look_at(lambda: self.stat(name))
        except FileNotFoundError:
            return ""
        if info:
            return _KINDS.get(info.st_mode & 0o170000, "o")
        # Where stat(2) fails over the times, the directory entry still has the type. Opened anew: somebody may be in
        # the middle of a scan.
        with posix.scandir(f"/proc/self/fd/{self.fd}") as entries:
            return next((_tell_kind(entry) for entry in entries if entry.name == name), "")

    def scan(self) -> "Iterator[posix.DirEntry[str]]":
        """Its entries, which have names but no paths. One scan of a folder at a time."""
        posix.lseek(self.fd, 0, 0)  # scandir() shares the descriptor's position, and starts there
        with posix.scandir(self.fd) as entries:
            yield from entries

    def open(self, name: str) -> "Folder":
        """The directory `name`. Raises WrongKind if it is another mount, NotADirectoryError, FileNotFoundError."""
        fd = self._do(posix.open, name, _AS_DIRECTORY)
        folder = Folder(fd, self.spell(name), self.tell)
        # A subvolume of btrfs has a device number of its own, and is as good as a directory.
        if folder.device != self.device or folder.device == -1:
            from overlay_prepare.fdinfo import find_mount

            if find_mount(fd) != find_mount(self.fd):
                folder.close()
                raise WrongKind("is another mount", folder.path)
        return folder

    def descend(self, path: str) -> "Folder | None":
        """The directory at `path` below it, "" for itself opened again; None if a component is missing or a file."""
        folder = Folder(posix.dup(self.fd), self.path, self.tell)
        try:
            for name in path.split("/") if path else ():
                folder = folder.open(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return folder

    def find_path(self) -> str:
        """Its path, for mount(8), which takes nothing else. Raises WrongKind if that leads elsewhere by now."""
        here, there = self.stat_self(), look_at(lambda: posix.stat(self.path, follow_symlinks=False))
        if here and there and (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            raise WrongKind("is another directory now", self.path)
        return self.path

    def make(self, name: str, mode: int = 0o700) -> "Folder":
        """The directory `name`, which is made if it is missing; anything else of that name is put aside."""
        try:
            self._do(posix.mkdir, name, mode)
        except FileExistsError:
            self.expect(name, "d")
            try:
                return self.open(name)
            except FileNotFoundError:
                self._do(posix.mkdir, name, mode)
        return self.open(name)

    def open_parent(self) -> "Folder":
        """The directory that it is in."""
        return Folder(posix.open("..", _AS_DIRECTORY, dir_fd=self.fd), self.path.rpartition("/")[0], self.tell)

    def open_file(self, name: str, limit: int) -> int:
        """A descriptor to read the file `name`, which has at most `limit` bytes. Raises WrongKind for anything else."""
        # Also before it is opened, as just opening a device can have an effect: a watchdog starts.
        self._check_file(look_at(lambda: self.stat(name)), name, limit)
        fd = self._do(posix.open, name, posix.O_RDONLY | _AS_FILE)
        try:
            self._check_file(look_at(lambda: posix.fstat(fd)), name, limit)
        except OSError:
            posix.close(fd)
            raise
        return fd

    def read(self, name: str, limit: int) -> "bytes | None":
        """The content of the file `name`, None if there is none. Raises WrongKind if it is not a file of ours."""
        try:
            fd = self.open_file(name, limit)
        except FileNotFoundError:
            return None
        try:
            data = b""
            while len(data) < limit:
                chunk = posix.read(fd, min(limit - len(data), _CHUNK))
                if not chunk:
                    break
                data += chunk
            return data
        except OSError as error:
            error.filename = self.spell(name)
            raise
        finally:
            posix.close(fd)

    def recover(self, name: str, limit: int) -> "bytes | None":
        """As read(), but what is not a file of ours is put aside, and the result is None."""
        try:
            return self.read(name, limit)
        except WrongKind as error:
            self.put_aside(name, error.strerror)
            return None

    def create(self, name: str, mode: int = 0o600) -> int:
        """A descriptor to write the new file `name`; what had the name is removed, a directory put aside."""
        flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | _AS_FILE
        try:
            return self._do(posix.open, name, flags, mode)
        except FileExistsError:
            if self.find_kind(name) == "d":
                self.expect(name, "f")
            else:
                self.remove_file(name)
        return self._do(posix.open, name, flags, mode)

    def write(self, name: str, data: bytes, mode: int = 0o600, durable: bool = True) -> None:
        """Write `data` to the file `name`, whole or not at all; if `durable`, it is on the disk when this returns.

        What has that name and is not a regular file is put aside.
        """
        fd = self.create(name + NEW, mode)
        try:
            self._fill(fd, name, data, *([posix.fsync] if durable else []))
            self.finish(name)
        except OSError:
            self.remove_file(name + NEW)
            raise
        if durable:
            self.sync()

    def finish(self, name: str) -> None:
        """Give what was written to create(name + NEW) its final name."""
        self.expect(name, "f")
        self.rename(name + NEW, name)

    def write_over(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """Overwrite the file `name` with `data`, which is on the disk when this returns; until then it may be torn.

        A full disk is no obstacle if the file exists: its blocks are used again.
        """
        fd = self._open_to_write(name, posix.O_WRONLY, mode)
        self._fill(fd, name, data, lambda fd: posix.ftruncate(fd, len(data)), posix.fsync)
        self.sync()

    def append(self, name: str, mode: int = 0o600) -> int:
        """A descriptor to append to the file `name`, which is made if it is missing."""
        return self._open_to_write(name, posix.O_WRONLY | posix.O_APPEND, mode)

    def put_aside(self, name: str, reason: "str | None") -> str:
        """Give `name` another name, and report that with the `reason`, a predicate. Returns the new name."""
        for number in range(_MOST_ASIDE):
            other = f"{name}{ASIDE}{f'-{number}' if number else ''}"
            if not self.find_kind(other):
                self.rename(name, other)
                self.tell(f"{self.spell(name)} {reason}: put aside as {other}")
                return other
        raise WrongKind(f"{reason}, and there are {_MOST_ASIDE} put aside already; remove them", self.spell(name))

    def expect(self, name: str, kind: str) -> None:
        """Put `name` aside if it is anything other than a `kind`, f or d."""
        found = self.find_kind(name)
        if found not in ("", kind):
            self.put_aside(name, f"is {_CALLED[found]}, and {_CALLED[kind]} is wanted")

    def rename(self, name: str, other: str, to: "Folder | None" = None) -> None:
        """Give `name` the name `other`, in the folder `to` if one is given."""
        target = to or self
        try:
            posix.rename(_check(name), _check(other), src_dir_fd=self.fd, dst_dir_fd=target.fd)
        except OSError as error:
            if error.errno == errno.EXDEV:
                from overlay_prepare.projectid import move

                if move(self, name, target, other):
                    return
            error.filename, error.filename2 = self.spell(name), target.spell(other)
            raise

    def mkdir(self, name: str, mode: int = 0o700) -> None:
        """Make the directory `name`. Raises FileExistsError."""
        self._do(posix.mkdir, name, mode)

    def mknod(self, name: str, mode: int, device: int) -> None:
        """Make the device or FIFO `name`, see mknod(2)."""
        self._do(posix.mknod, name, mode, device)

    def touch(self, name: str) -> None:
        """Set the times of `name` to the present."""
        self._do(posix.utime, name, follow_symlinks=False)

    def unlink(self, name: str) -> None:
        """Remove `name`, which is not a directory."""
        self._do(posix.unlink, name)

    def rmdir(self, name: str) -> None:
        """Remove the empty directory `name`."""
        self._do(posix.rmdir, name)

    def remove_file(self, name: str) -> None:
        """Remove `name`, which is not a directory, if it is there."""
        try:
            self.unlink(name)
        except FileNotFoundError:
            pass  # which is all that is wanted

    def sync(self) -> None:
        """Flush its entries to the disk."""
        try:
            posix.fsync(self.fd)
        except OSError as error:
            error.filename = self.path
            raise

    def _do(self, call: "Callable[..., T]", name: str, *arguments: object, **options: object) -> "T":
        try:
            return call(_check(name), *arguments, dir_fd=self.fd, **options)
        except OSError as error:
            error.filename = self.spell(name)
            raise

    def _check_file(self, info: "posix.stat_result | None", name: str, limit: float = float("inf")) -> None:
        kind = _KINDS.get(info.st_mode & 0o170000, "o") if info else self.find_kind(name)
        if kind != "f":
            raise WrongKind(f"is {_CALLED[kind]}, and {_CALLED['f']} is wanted", self.spell(name))
        if not info:
            return
        if info.st_nlink > 1 or info.st_dev != self.device:
            raise WrongKind("has another name elsewhere", self.spell(name))
        if info.st_size > limit:
            raise WrongKind(f"has {info.st_size} bytes, and at most {limit} are allowed", self.spell(name))

    def _open_to_write(self, name: str, flags: int, mode: int) -> int:
        flags |= _AS_FILE
        try:
            self._check_file(look_at(lambda: self.stat(name)), name)
            fd = self._do(posix.open, name, flags)
        except FileNotFoundError:
            return self._do(posix.open, name, flags | posix.O_CREAT | posix.O_EXCL, mode)
        except WrongKind as error:
            self.put_aside(name, error.strerror)
            return self._do(posix.open, name, flags | posix.O_CREAT | posix.O_EXCL, mode)
        try:
            self._check_file(look_at(lambda: posix.fstat(fd)), name)
        except OSError:
            posix.close(fd)
            raise
        return fd

    def _fill(self, fd: int, name: str, data: bytes, *after: "Callable[[int], object]") -> None:
        """Write all of `data` to `fd`, do what comes `after` that, and close it."""
        try:
            write_all(fd, data)
            for call in after:
                call(fd)
        except OSError as error:
            error.filename = self.spell(name)
            raise
        finally:
            posix.close(fd)


def look_at(call: "Callable[[], posix.stat_result]") -> "posix.stat_result | None":
    """What `call` returns; None where it fails over a time after 2038, as the C library's time_t has 32 bits."""
    try:
        return call()
    except OSError as error:
        if error.errno != errno.EOVERFLOW:
            raise
        return None


def _tell_kind(entry: "posix.DirEntry[str]") -> str:
    if entry.is_symlink():
        return "l"
    return "d" if entry.is_dir() else "f" if entry.is_file() else "o"


def open_top(path: str, tell: "Tell") -> Folder:
    """The directory `path`, whose parents are trusted. Raises OSError, also where it is a symbolic link."""
    return Folder(posix.open(path, _AS_DIRECTORY), path, tell)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`. Raises OSError."""
    while data:
        data = data[posix.write(fd, data) :]


def _check(name: str) -> str:
    """`name` itself. Raises ValueError if it is not a single component of a path: a fault of ours."""
    if "/" in name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is not the name of an entry")
    return name
