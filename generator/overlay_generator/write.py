# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes rendered units: each file whole or not at all, and nothing of a mount that can't be written whole."""

import _signal  # type: ignore[import-not-found]
import posix

from overlay_generator.model import Problem, UnitFile, UnitLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping
    from typing import TypeVar

    T = TypeVar("T")

_may_link = True
_STOPPING = (_signal.SIGALRM, _signal.SIGTERM, _signal.SIGINT)


def write(
    files: "list[UnitFile | UnitLink]",
    directories: "Mapping[str, str]",
    yielding: "Container[str]" = (),
    left: "list[Problem] | None" = None,
) -> "list[Problem]":
    """One problem for each group that could not be written, and so was taken back whole.

    `directories` has the paths of normal and late. Only what this call made is ever removed. If a group in `yielding`
    gives way to another generator, that is not a problem, and put into `left`.
    """
    problems: list[Problem] = []
    groups: dict[str, list[UnitFile | UnitLink]] = {}
    for file in files:
        groups.setdefault(file.group, []).append(file)
    for group, members in groups.items():
        written: list[str] = []
        try:
            for file in members:
                _write_one(file, f"{directories[file.directory]}/{file.path}", written)
        except FileExistsError as error:
            text = f"exists already, another generator provides it; {group} is left to that one"
            found = problems if left is None or group not in yielding else left
            found.append(Problem(text, error.filename))
            problems += _take_back(written)
        except OSError as error:
            text = f"can't be written ({error.strerror}); nothing is written for {group}"
            problems += [Problem(text, error.filename), *_take_back(written)]
        except BaseException:
            _take_back(written)
            raise
    return problems


def _write_one(file: "UnitFile | UnitLink", path: str, written: "list[str]") -> None:
    if "/" in file.path:
        parent = path.rpartition("/")[0]
        try:
            _make(written, parent, posix.mkdir, parent, 0o755)
        except FileExistsError:
            pass  # another unit of ours is in it, or another generator's
    if isinstance(file, UnitFile):
        _write_file(path, file.text.encode("utf-8", "surrogateescape"), written)
        return
    try:
        _make(written, path, posix.symlink, file.target, path)
    except FileExistsError:
        # systemd-fstab-generator's link is the same one, and either may come first.
        if _read_link(path) != file.target:
            raise


def _write_file(path: str, data: bytes, written: "list[str]") -> None:
    # Under a name that no unit has, as a kill in mid-write must not leave half a unit; then link(2), as unlike
    # rename(2) it never replaces what another generator made.
    directory, _, name = path.rpartition("/")
    scratch = f"{directory}/.#{name}.{posix.getpid()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    try:
        fd = _make(written, scratch, posix.open, scratch, flags, 0o644)
        try:
            while data:
                data = data[posix.write(fd, data) :]
        finally:
            posix.close(fd)
        if not _link(scratch, path, written):
            _rename(scratch, path, written)
    except OSError as error:
        # The scratch name is nobody's business.
        raise OSError(error.errno, error.strerror, path) from None


def _link(scratch: str, path: str, written: "list[str]") -> bool:
    """Give what is at `scratch` the name `path` alone; False where links are not allowed. Raises OSError."""
    global _may_link
    if _may_link:
        try:
            _make(written, path, posix.link, scratch, path)
        except PermissionError:
            # SELinux's reference policy lets generators make, write and rename files in /run/systemd, and neither
            # link nor unlink them. Asked once only, as each refusal is a line in the log.
            _may_link = False
        else:
            posix.unlink(scratch)
            written.remove(scratch)
    return _may_link


def _rename(scratch: str, path: str, written: "list[str]") -> None:
    """The same by rename(2). Raises OSError, FileExistsError where there was something at `path`."""
    # Generators run side by side, and between the two calls another may make the file, which is then replaced: the
    # module posix has no renameat2(2) with RENAME_NOREPLACE. systemd's own generators check and create in one call
    # (O_EXCL), so the later one fails as ever; and which of two units of the same name is left is chance in any case.
    try:
        posix.lstat(path)
    except FileNotFoundError:
        _make(written, path, posix.rename, scratch, path)
        written.remove(scratch)
        return
    from errno import EEXIST  # loading its hundred names takes longer than loading names.py

    raise FileExistsError(EEXIST, "File exists", path)


def _make(written: "list[str]", path: str, call: "Callable[..., T]", *arguments: object) -> "T":
    """Make `path` by `call` and note it, with no signal in between; what `call` returned. Raises OSError for `path`."""
    # pthread_sigmask() runs the handlers of what came before, so nothing is pending once it has returned.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _STOPPING)
    try:
        result = call(*arguments)
        written.append(path)
        return result
    except OSError as error:
        # An error of symlink(2) names the target instead.
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _STOPPING)


def _read_link(path: str) -> str:
    """Where `path` leads, "" if it is not a symbolic link."""
    try:
        return posix.readlink(path)
    except OSError:
        return ""


def _take_back(written: "list[str]") -> "list[Problem]":
    """Remove what was `written`, the last first; a problem for each unit that stays."""
    problems = []
    for path in reversed(written):
        try:
            posix.unlink(path)
        except IsADirectoryError:
            try:
                posix.rmdir(path)
            except OSError:
                pass  # another generator's links are in it; empty, it asks for nothing
        except FileNotFoundError:
            pass  # already gone, as it is to be
        except OSError as error:
            if not path.rpartition("/")[2].startswith(".#"):  # which no unit's name does
                problems.append(Problem(f"can't be taken back ({error.strerror}), though the rest is missing", path))
    return problems
