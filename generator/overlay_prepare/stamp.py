"""Which image an upper layer was last mounted over: a small text file beside it, compared at each boot."""

import posix

from overlay_prepare.files import NO_SPACE, remove_file, write_over, write_whole

NAME = "image"
_HISTORY = "uuids"
_CHANGING = "changing\n"


def is_current(backing: str, identity: str) -> bool:
    """True if the upper layer in `backing` was last mounted over the image of `identity`, and is fit for it."""
    return _read_note(backing) == identity


def read_previous(backing: str) -> str:
    """The identity of the image that the upper layer was last mounted over; "" where nobody knows."""
    text = _read_note(backing)
    return text[len(_CHANGING) :] if text.startswith(_CHANGING) else text


def mark_changing(backing: str) -> None:
    """Note that the upper layer is about to be changed: from now on it is fit for no image. Raises OSError."""
    write(backing, _CHANGING + read_previous(backing))


def write(backing: str, identity: str) -> None:
    """Note `identity`, safe on the disk when this returns, or torn where that is full. Raises OSError."""
    # Torn, also by a power cut, it is no image's identity, and the upper layer is made fit once more.
    _write(f"{backing}/{NAME}", identity)


def read_uuids(backing: str) -> "list[str] | None":
    """The UUIDs that references in the upper layer may carry, None where that was not noted."""
    try:
        return _read(f"{backing}/{_HISTORY}", 0, 65536).decode("ascii", "replace").split()
    except OSError:
        return None


def write_uuids(backing: str, uuids: "list[str]") -> None:
    """Note `uuids`, safe on the disk when this returns, or nothing where that is full. Raises OSError."""
    path = f"{backing}/{_HISTORY}"
    if not _write(path, "".join(f"{uuid}\n" for uuid in uuids)):
        remove_file(path)


def _write(path: str, text: str) -> bool:
    """Put `text` into the file `path`; False where the disk is full. Raises OSError."""
    for write_file in (_replace, write_over):
        try:
            write_file(path, text, 0o600)
            return True
        except OSError as error:
            # A full disk is no reason not to boot; over the blocks that it has, the file may still be written.
            if error.errno not in NO_SPACE:
                raise
    return False


def _replace(path: str, text: str, mode: int) -> None:
    try:
        write_whole(path, text, mode, durable=True)
    except OSError:
        remove_file(path + ".new")
        raise


def _read_note(backing: str) -> str:
    try:
        return _read(f"{backing}/{NAME}", 0, 65536).decode("utf-8", "surrogateescape")
    except OSError:
        return ""


def _read(path: str, offset: int, length: int) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    try:
        return posix.pread(fd, length, offset)
    finally:
        posix.close(fd)
