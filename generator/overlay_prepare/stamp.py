# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which image an upper layer was last mounted over: a small text file beside it, compared at each boot."""

from overlay_prepare.files import NO_SPACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_prepare.folder import Folder

NAME = "image"
HISTORY = "uuids"
_CHANGING = "changing\n"
_LONGEST = 65536  # bytes


def is_current(backing: "Folder", identity: str) -> bool:
    """True if the upper layer in `backing` was last mounted over the image of `identity`, and is fit for it."""
    try:
        return _read_note(backing) == identity
    except OSError:
        return False  # the caller then makes it fit, and asks read_previous(), which raises the error


def read_previous(backing: "Folder") -> str:
    """The identity of the image that the upper layer was last mounted over; "" where nobody knows. Raises OSError."""
    return parse(_read_note(backing))


def parse(text: str) -> str:
    """The identity that a note of write() or mark_changing() tells of. Pure."""
    return text[len(_CHANGING) :] if text.startswith(_CHANGING) else text


def mark_changing(backing: "Folder", previous: "str | None" = None) -> None:
    """Note that the upper layer is about to be changed: from now on it is fit for no image. Raises OSError.

    `previous` is what read_previous() has returned; for None it is called.
    """
    if previous is None:
        previous = read_previous(backing)
    write(backing, _CHANGING + previous)


def write(backing: "Folder", identity: str) -> None:
    """Note `identity`, safe on the disk when this returns, or torn if the disk is full. Raises OSError."""
    # A torn note, also after a power cut, is the identity of no image, and the upper layer is made fit once more.
    _write(backing, NAME, identity)


def read_uuids(backing: "Folder") -> "list[str] | None":
    """The UUIDs that references in the upper layer may carry, None where that was not noted."""
    try:
        data = backing.recover(HISTORY, _LONGEST)
    except OSError:
        return None  # then every file is looked at
    return None if data is None else data.decode("ascii", "replace").split()


def write_uuids(backing: "Folder", uuids: "list[str]", durable: bool = True) -> None:
    """Note `uuids`, if `durable` safe on the disk when this returns; if that fails, remove the note. Raises OSError if
    it stays.

    If one of them were missing, files would show what others have, so an old note must not stay.
    """
    try:
        done = _write(backing, HISTORY, "".join(f"{uuid}\n" for uuid in uuids), durable)
    except OSError:
        done = False
    if not done:
        backing.remove_file(HISTORY)
        backing.sync()


def _write(backing: "Folder", name: str, text: str, durable: bool = True) -> bool:
    """Put `text` into the file `name`; False where the disk is full. Raises OSError."""
    data = text.encode("utf-8", "surrogateescape")
    for over in (False, True):
        try:
            if over:
                backing.write_over(name, data)
            else:
                backing.write(name, data, durable=durable)
            return True
        except OSError as error:
            # A full disk is no reason not to boot; the file may still be overwritten in the blocks that it has.
            if error.errno not in NO_SPACE:
                raise
    return False


def _read_note(backing: "Folder") -> str:
    """Raises OSError."""
    return (backing.recover(NAME, _LONGEST) or b"").decode("utf-8", "surrogateescape")
