# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The tree of an image as overlayctl render sees and changes it: links lead within it, and others' files stay."""

import os
import re
import stat
from typing import TYPE_CHECKING

from overlay_generator import inside
from overlay_generator.model import UnitLink
from overlayctl.errors import Failure
from overlayctl.render import services as static_services
from overlayctl.render import text as static_text
from overlayctl.render import units as static

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOTE = re.compile(rf"/{re.escape(static_services.NOTES)}/([\w.-]+)")
_TARGETS = ".requires", ".wants"
_LONGEST = 1 << 20  # bytes of a unit; ours have a few thousand

Name = tuple[str, str]


class Tree:
    """The tree at `root`; paths in it are absolute, as the booted image sees them."""

    def __init__(self, root: str) -> None:
        self.root = root

    def resolve(self, path: str) -> str:
        """Where `path` leads to, links followed inside the tree; "" if nothing is there."""
        try:
            found = inside.resolve(self.root, path)
            os.lstat(self.root + found)
        except (OSError, ValueError):
            return ""
        return found

    def is_ours(self, path: str) -> bool:
        """True if an earlier rendering made the file `path`."""
        directory, _, name = path.rpartition("/")
        with _Folder(self, directory) as folder:
            return folder.has_header(name)

    def replace(self, files: "Iterable[static.File]") -> None:
        """Write `files` and remove what an earlier rendering made. Raises Failure before anything is changed."""
        wanted = {_split(f"{file.directory}/{file.path}"): file for file in files}
        old = list(self._find_ours())
        for directory, name in wanted:
            self._refuse_leaving(directory)
            with _Folder(self, directory) as folder:
                if folder.has(name) and (directory, name) not in old:
                    raise Failure(
                        f"{self.root}/{directory}/{name}: exists already, not made by overlayctl render; take it out "
                        "of the image first (in Buildroot: BR2_INIT_SYSTEMD_VAR_OVERLAYFS)"
                    )
        for directory, name in old:
            with _Folder(self, directory) as folder:
                folder.remove(name)
        for (directory, name), file in wanted.items():
            with _Folder(self, directory, make=True) as folder:
                if isinstance(file, UnitLink):
                    folder.link(name, file.target)
                else:
                    folder.write(name, file.text)
        for directory in dict.fromkeys(directory for directory, _ in old):
            if directory.endswith((".d", *_TARGETS)) or directory == static_services.NOTES:
                self._drop_empty(directory)

    def _refuse_leaving(self, directory: str) -> None:
        """Raises Failure for a link on the way that dangles in the tree: followed here, it may lead out of that."""
        parts = directory.split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            place = self.root + inside.resolve(self.root, path, False)
            if os.path.islink(place) and not self.resolve(path):
                raise Failure(f"{place}: is a link to {os.readlink(place)}, which is not in the tree; remove it")

    def _find_ours(self) -> "Iterator[Name]":
        units = static.UNITS
        ours = set()
        notes: dict[str, None] = {}
        with _Folder(self, units) as folder:
            inner = [name for name in folder.names() if name.endswith((".d", *_TARGETS))]
            for name in folder.names():
                text = folder.read(name)
                if text.startswith(static_text.HEADER):
                    ours.add(name)
                    yield units, name
                    notes.update(dict.fromkeys(_NOTE.findall(text)))
        for name in inner:
            with _Folder(self, f"{units}/{name}") as folder:
                for file in folder.names():
                    if name.endswith(".d"):
                        is_ours = file.endswith(".conf") and folder.has_header(file)
                    else:
                        is_ours = name.startswith("local-fs.target.") and file in ours
                        is_ours = is_ours and folder.read_link(file) == f"../{file}"
                    if is_ours:
                        yield f"{units}/{name}", file
        # Of the files in their directory only those that our units use are ours.
        with _Folder(self, static_services.NOTES) as folder:
            for name in notes:
                if folder.is_file(name):
                    yield static_services.NOTES, name

    def _drop_empty(self, directory: str) -> None:
        """Remove a directory of links or drop-ins that nothing is left in."""
        above, name = _split(directory)
        with _Folder(self, above) as folder:
            folder.remove_directory(name)


class _Folder:
    """The directory `path` of `tree`, held by a descriptor; no link in its place or in that of a file is followed.

    Where it is missing it has no names, or is made. Raises OSError.
    """

    def __init__(self, tree: Tree, path: str, make: bool = False) -> None:
        place = f"{tree.root}/{path.strip('/')}"
        self._fd = -1
        found = inside.resolve(tree.root, path)
        current = os.open(tree.root, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            for part in found.strip("/").split("/"):
                if make:
                    _make_directory(part, current)
                inner = os.open(part or ".", _DIRECTORY, dir_fd=current)
                os.close(current)
                current = inner
            self._fd, current = current, -1
        except FileNotFoundError:
            pass  # nothing is there: a directory without names
        except OSError as error:
            raise OSError(error.errno, error.strerror, place) from error
        finally:
            if current >= 0:
                os.close(current)

    def __enter__(self) -> "_Folder":
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def names(self) -> "list[str]":
        """The names in it, sorted."""
        return sorted(os.listdir(self._fd)) if self._fd >= 0 else []

    def has(self, name: str) -> bool:
        """True if something is there."""
        return self._find(name) is not None

    def is_file(self, name: str) -> bool:
        """True for a regular file."""
        info = self._find(name)
        return info is not None and stat.S_ISREG(info.st_mode)

    def has_header(self, name: str) -> bool:
        """True for a file that an earlier rendering made."""
        return self.read(name).startswith(static_text.HEADER)

    def read(self, name: str) -> str:
        """The text of the regular file `name`, "" for anything else."""
        if not self.is_file(name):
            return ""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
            with os.fdopen(fd, "rb") as stream:
                return stream.read(_LONGEST).decode("utf-8", "replace")
        except OSError:
            return ""

    def read_link(self, name: str) -> str:
        """Where the link `name` leads to, "" for anything else."""
        try:
            return os.readlink(name, dir_fd=self._fd)
        except OSError:
            return ""

    def remove(self, name: str) -> None:
        os.unlink(name, dir_fd=self._fd)

    def remove_directory(self, name: str) -> None:
        """Remove the directory `name` if it is empty."""
        try:
            if self._fd >= 0:
                os.rmdir(name, dir_fd=self._fd)
        except OSError:
            pass  # something of others is in it

    def link(self, name: str, target: str) -> None:
        os.symlink(target, name, dir_fd=self._fd)

    def write(self, name: str, text: str) -> None:
        """Make the file `name`. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, 0o644, dir_fd=self._fd), "wb") as stream:
            # Whatever the builder's umask: the same tree each time.
            os.fchmod(stream.fileno(), 0o644)
            stream.write(text.encode())

    def _find(self, name: str) -> "os.stat_result | None":
        try:
            return os.lstat(name, dir_fd=self._fd) if self._fd >= 0 else None
        except FileNotFoundError:
            return None


def _split(path: str) -> Name:
    directory, _, name = path.rpartition("/")
    return directory, name


def _make_directory(name: str, directory: int) -> None:
    try:
        os.mkdir(name, dir_fd=directory)
    except FileExistsError:
        return
    # Not by the descriptor: a umask may have left no right to open it.
    os.chmod(name, 0o755, dir_fd=directory)
