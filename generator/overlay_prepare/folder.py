"""A directory that is held open: what is done in it goes by its descriptor, and never where somebody's link leads.

Whoever can write the disk can put anything in the place of what prepare keeps there: a symbolic link, a FIFO that
nobody writes to, a device, a file without an end, another mount. So the backing directory is opened once, and this
module and tree.py are the only ones that touch anything below it. Names are single components. What is made is made
with O_EXCL, what is opened is first known to be of the right kind, and is looked at again when it is open.
"""

import errno
import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    Tell = Callable[[str], object]
    T = TypeVar("T")

NEW = ".new"  # at the end of the name of what is being written
ASIDE = ".refused"  # at the end of the name of what was put aside
_MOST_ASIDE = 100
_LONGEST_PATH = 4096  # characters; of a deeper directory a message names the one above it

# O_NONBLOCK: the open of a FIFO would wait for its other end. O_DIRECTORY: nothing else is opened, not even for a look.
_AS_DIRECTORY = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
_AS_FILE = posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_NOCTTY | posix.O_CLOEXEC
_KINDS = {0o100000: "f", 0o040000: "d", 0o120000: "l"}  # S_IFMT of stat(2)
_CALLED = {"f": "a file", "d": "a directory", "l": "a symbolic link", "o": "a device, a FIFO or a socket"}


class WrongKind(OSError):
    """What stands there is not what prepare makes there; `strerror` says in which way."""

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(errno.EUCLEAN, reason, path)


class Folder:
    """An open directory. `path` is for messages and mount(8) alone; `tell` is given what was put aside, in words.

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
        """Give the descriptor back; a second time does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            posix.close(fd)

    def spell(self, name: str) -> str:
        """The path of `name`, for a message."""
        return f"{self.path}/{name}" if len(self.path) < _LONGEST_PATH else self.path

    def reach(self, name: str) -> str:
        """A path for the calls that take no descriptor of a directory, such as lsetxattr(2); `name` is not followed.

        It leads to the open directory itself (proc(5)), whatever has become of its name.
        """
        return f"/proc/self/fd/{self.fd}/{_check(name)}"

    def stat(self, name: str) -> "posix.stat_result":
        """What lstat(2) says of `name`."""
        return self._do(posix.stat, name, follow_symlinks=False)

    def stat_self(self) -> "posix.stat_result | None":
        """What fstat(2) says of the directory itself, None where it can't (32 bits of time)."""
        return look_at(lambda: posix.fstat(self.fd))

    def has_mode(self, mode: int) -> bool:
        """True if its permissions are known to be `mode`."""
        info = self.stat_self()
        return info is not None and info.st_mode & 0o7777 == mode

    def find_kind(self, name: str) -> str:
        """f, d, l or o (any other) for what stands at `name`, "" for nothing."""
        try:
            info = look_at(lambda: self.stat(name))
        except FileNotFoundError:
            return ""
        # Without times, the directory itself knows the kind.
        kinds = (_tell_kind(entry) for entry in self.scan() if entry.name == name)
        return _KINDS.get(info.st_mode & 0o170000, "o") if info else next(kinds, "")

    def scan(self) -> "Iterator[posix.DirEntry[str]]":
        """Its entries, which know their names and not their paths. One scan of a folder at a time."""
        posix.lseek(self.fd, 0, 0)  # scandir() goes on where the descriptor stands, and shares it
        with posix.scandir(self.fd) as entries:
            yield from entries

    def list(self) -> "list[posix.DirEntry[str]]":
        """Its entries at once, for those who change it."""
        return list(self.scan())

    def open(self, name: str) -> "Folder":
        """The directory `name`. Raises WrongKind if it is another mount, NotADirectoryError, FileNotFoundError."""
        fd = self._do(posix.open, name, _AS_DIRECTORY)
        folder = Folder(fd, self.spell(name), self.tell)
        # A subvolume of btrfs has a device number of its own, and is as good as a directory.
        if (folder.device != self.device or folder.device < 0) and _find_mount(fd) != _find_mount(self.fd):
            folder.close()
            raise WrongKind("is another mount", folder.path)
        return folder

    def descend(self, path: str) -> "Folder | None":
        """The directory at `path` below it, "" for another handle of itself; None where a part of it is none."""
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
        """The directory `name`, which is made where it is missing; what stands there and is none is put aside."""
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
        """A descriptor to read the file `name` by, of `limit` bytes at most. Raises WrongKind for anything else."""
        # Before it is open, as the open of a device may do something by itself: a watchdog's starts it.
        self._check_file(look_at(lambda: self.stat(name)), name, limit)
        fd = self._do(posix.open, name, posix.O_RDONLY | _AS_FILE)
        try:
            self._check_file(look_at(lambda: posix.fstat(fd)), name, limit)
        except OSError:
            posix.close(fd)
            raise
        return fd

    def read(self, name: str, limit: int) -> "bytes | None":
        """The content of the file `name`, None where there is none. Raises WrongKind if it is no file of ours."""
        try:
            fd = self.open_file(name, limit)
        except FileNotFoundError:
            return None
        try:
            data = b""
            while len(data) <= limit:
                chunk = posix.read(fd, min(limit + 1 - len(data), 1 << 20))
                if not chunk:
                    break
                data += chunk
            return data[:limit]
        except OSError as error:
            error.filename = self.spell(name)
            raise
        finally:
            posix.close(fd)

    def recover(self, name: str, limit: int) -> "bytes | None":
        """The same; what is no file of ours is put aside, and then there is none."""
        try:
            return self.read(name, limit)
        except WrongKind as error:
            self.put_aside(name, error.strerror)
            return None

    def create(self, name: str, mode: int = 0o600) -> int:
        """A descriptor to write the new file `name` by; what stands there goes, a directory is put aside."""
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
        """Put `data` into the file `name`, whole or not at all; if `durable`, it is on the disk after.

        Only what is no file of ours is in its way, and put aside.
        """
        fd = self.create(name + NEW, mode)
        try:
            self._fill(fd, name, data, durable)
            self.finish(name)
        except OSError:
            self.remove_file(name + NEW)
            raise
        if durable:
            self.sync()

    def finish(self, name: str) -> None:
        """Give what was written under create(name + NEW) its name."""
        self.expect(name, "f")
        self.rename(name + NEW, name)

    def write_over(self, name: str, data: bytes, mode: int = 0o600) -> None:
        """Put `data` into the file `name`, on the disk when this returns; in between it may be torn.

        A full disk is no hindrance where the file was there: its blocks are used again.
        """
        fd = self._open_to_write(name, 0, mode)
        self._fill(fd, name, data, True, shorten=True)
        self.sync()

    def append(self, name: str, mode: int = 0o600) -> int:
        """A descriptor to write at the end of the file `name`, which is made where it is missing."""
        return self._open_to_write(name, posix.O_APPEND, mode)

    def put_aside(self, name: str, reason: "str | None") -> str:
        """Give `name` another name, and tell of it: it `reason`. Returns the new name."""
        for number in range(_MOST_ASIDE):
            other = f"{name}{ASIDE}{f'-{number}' if number else ''}"
            if not self.find_kind(other):
                self.rename(name, other)
                self.tell(f"{self.spell(name)} {reason}: put aside as {other}")
                return other
        raise WrongKind(f"{reason}, and there are {_MOST_ASIDE} put aside already; remove them", self.spell(name))

    def expect(self, name: str, kind: str) -> None:
        """Put `name` aside if something else than a `kind`, f or d, stands there."""
        found = self.find_kind(name)
        if found not in ("", kind):
            self.put_aside(name, f"is {_CALLED[found]}, and {_CALLED[kind]} is wanted")

    def rename(self, name: str, other: str, to: "Folder | None" = None) -> None:
        """Give `name` the name `other`, in the folder `to` if one is given."""
        target = to or self
        try:
            posix.rename(_check(name), _check(other), src_dir_fd=self.fd, dst_dir_fd=target.fd)
        except OSError as error:
            error.filename, error.filename2 = self.spell(name), target.spell(other)
            raise

    def mkdir(self, name: str, mode: int = 0o700) -> None:
        """Make the directory `name`. Raises FileExistsError."""
        self._do(posix.mkdir, name, mode)

    def mknod(self, name: str, mode: int, device: int) -> None:
        """Make the device or FIFO `name`, see mknod(2)."""
        self._do(posix.mknod, name, mode, device)

    def touch(self, name: str) -> None:
        """Give `name` the present time."""
        self._do(posix.utime, name, follow_symlinks=False)

    def unlink(self, name: str) -> None:
        """Remove `name`, which is no directory."""
        self._do(posix.unlink, name)

    def rmdir(self, name: str) -> None:
        """Remove the empty directory `name`."""
        self._do(posix.rmdir, name)

    def remove_file(self, name: str) -> None:
        """Remove `name`, which is no directory, if it is there."""
        try:
            self.unlink(name)
        except FileNotFoundError:
            pass

    def sync(self) -> None:
        """Bring its names to the disk."""
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

    def _check_file(self, info: "posix.stat_result | None", name: str, limit: int) -> None:
        kind = _KINDS.get(info.st_mode & 0o170000, "o") if info else self.find_kind(name)
        if kind != "f":
            raise WrongKind(f"is {_CALLED[kind]}, and {_CALLED['f']} is wanted", self.spell(name))
        if not info:
            return
        if info.st_nlink > 1 or info.st_dev != self.device:
            raise WrongKind("has another name elsewhere", self.spell(name))
        if info.st_size > limit:
            raise WrongKind(f"has {info.st_size} bytes, and {limit} are the most", self.spell(name))

    def _open_to_write(self, name: str, flags: int, mode: int) -> int:
        flags |= posix.O_WRONLY | _AS_FILE
        try:
            self._check_file(look_at(lambda: self.stat(name)), name, 1 << 62)
            fd = self._do(posix.open, name, flags)
        except FileNotFoundError:
            return self._do(posix.open, name, flags | posix.O_CREAT | posix.O_EXCL, mode)
        except WrongKind as error:
            self.put_aside(name, error.strerror)
            return self._do(posix.open, name, flags | posix.O_CREAT | posix.O_EXCL, mode)
        try:
            self._check_file(look_at(lambda: posix.fstat(fd)), name, 1 << 62)
        except OSError:
            posix.close(fd)
            raise
        return fd

    def _fill(self, fd: int, name: str, data: bytes, durable: bool, shorten: bool = False) -> None:
        """Write all of `data` to `fd`, and close it."""
        try:
            write_all(fd, data)
            if shorten:
                posix.ftruncate(fd, len(data))
            if durable:
                posix.fsync(fd)
        except OSError as error:
            error.filename = self.spell(name)
            raise
        finally:
            posix.close(fd)


def look_at(call: "Callable[[], posix.stat_result]") -> "posix.stat_result | None":
    """What `call` says; None of what was last changed after 2038, where the C library's time_t has 32 bits."""
    try:
        return call()
    except OSError as error:
        if error.errno != errno.EOVERFLOW:
            raise
        return None


def _tell_kind(entry: "posix.DirEntry[str]") -> str:
    file = "f" if entry.is_file(follow_symlinks=False) else "o"
    return "l" if entry.is_symlink() else "d" if entry.is_dir(follow_symlinks=False) else file


def open_top(path: str, tell: "Tell") -> Folder:
    """The directory `path`, whose parents are trusted. Raises OSError, also where it is a symbolic link."""
    return Folder(posix.open(path, _AS_DIRECTORY), path, tell)


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`. Raises OSError."""
    while data:
        data = data[posix.write(fd, data) :]


def _check(name: str) -> str:
    """`name` itself. Raises ValueError if it leads elsewhere: a fault of ours."""
    if "/" in name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no name of an entry")
    return name


def _find_mount(fd: int) -> bytes:
    """The mount that `fd` is on, by the kernel's number of it (proc(5), fdinfo)."""
    info = posix.open(f"/proc/self/fdinfo/{fd}", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        lines = posix.read(info, 4096).split(b"\n")
    finally:
        posix.close(info)
    return next((line for line in lines if line.startswith(b"mnt_id:")), b"")
