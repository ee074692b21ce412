"""Writes rendered units: each file whole or not at all, and nothing of a mount that can't be written whole."""

import _signal  # type: ignore[import-not-found]
import posix

from overlay_generator.model import Problem, UnitFile, UnitLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping
    from typing import TypeVar

    T = TypeVar("T")

_STOPPING = (_signal.SIGALRM, _signal.SIGTERM, _signal.SIGINT)


def write(
    files: "list[UnitFile | UnitLink]",
    directories: "Mapping[str, str]",
    yielding: "Container[str]" = (),
    left: "list[Problem] | None" = None,
) -> "list[Problem]":
    """One problem for each group that could not be written, and so was taken back whole.

    `directories` has the paths of normal and late. Only what this call made is ever removed. What gives way to another
    generator and is in `yielding` is no problem, and put into `left`.
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
            _take_back(written)
            text = f"exists already, another generator provides it; {group} is left to that one"
            found = problems if left is None or group not in yielding else left
            found.append(Problem(text, error.filename))
        except OSError as error:
            _take_back(written)
            text = f"can't be written ({error.strerror}); nothing is written for {group}"
            problems.append(Problem(text, error.filename))
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
            pass
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
    # A name that no unit has, as a kill in mid-write must not leave half a unit; and link(2), as unlike
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
        _make(written, path, posix.link, scratch, path)
        posix.unlink(scratch)
        written.remove(scratch)
    except OSError as error:
        # The scratch name is nobody's business.
        raise OSError(error.errno, error.strerror, path) from None


def _make(written: "list[str]", path: str, call: "Callable[..., T]", *arguments: object) -> "T":
    """Make `path` by `call` and note it, with no signal in between; what `call` returned. Raises OSError for `path`."""
    # pthread_sigmask() runs the handlers of what came before, so nothing is pending once it has returned.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _STOPPING)
    try:
        result = call(*arguments)
        written.append(path)
        return result
    except OSError as error:
        # That of symlink(2) names the target.
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _STOPPING)


def _read_link(path: str) -> str:
    """Where `path` leads, "" if it is no symbolic link."""
    try:
        return posix.readlink(path)
    except OSError:
        return ""


def _take_back(written: "list[str]") -> None:
    for path in reversed(written):
        try:
            posix.unlink(path)
        except IsADirectoryError:
            try:
                posix.rmdir(path)
            except OSError:
                pass  # another generator's links are in it
        except OSError:
            pass
