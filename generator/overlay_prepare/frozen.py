# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an update has frozen: the directory `frozen` beside the upper layer, for `Rollback=yes`.

At the first boot of another image the upper layer is moved there as it is, and a new one goes on top:

kept      the upper layer as the image before had it, while `upper` is another one
upper     the layer for the mount, between the image's directory and the upper layer: `kept` itself under this name, or
          what a policy leaves of it, made of links (shadow.py). Empty as long as nothing is frozen
image, uuids, names, contents
          the notes that lay beside the upper layer, for the step back
since     when and for which image, and which of these notes there were. While the layers are folded it is `folding`
undoing   the newer upper layer, while a step back is under way; `undone` of the backing directory after it
former    its `upper` until then; empty where there was none, and nothing to be called `undoing`

making    a second tree that is not whole yet, or is no longer wanted

Something is frozen where there is `kept`, or an `upper` that has something in it or an `image` beside it. No name is
given before what it stands for is whole, so that a power cut at any moment leaves one of these states.
"""

import errno

from overlay_prepare.folder import Folder, look_at
from overlay_prepare.tree import list_by_parts, remove

NAME, UNDONE = "frozen", "undone"
KEPT, LAYER, UNDOING, FORMER, MAKING = "kept", "upper", "undoing", "former", "making"
SINCE, FOLDING = "since", "folding"
IMAGE = "image"
MOVED = "contents"  # of NOTES the one that is moved and not copied
NOTES = ("uuids", "names", MOVED, IMAGE)  # the last one says whose all of it is
UNDONE_SINCE = "undone.since"
CAPABLE = "rollback"  # which image was the last that would step back by itself
GOOD, COMMIT = "good", "commit"
_LONGEST = 65536  # bytes of a note on an image


def open_frozen(backing: Folder) -> "Folder | None":
    """The directory, with what is no directory in it put aside; None where there is none. Raises OSError."""
    folder = backing.descend(NAME)
    if folder is None:
        return None
    for name in (KEPT, LAYER, UNDOING, FORMER):
        folder.expect(name, "d")
    return folder


def heal(backing: Folder, folder: Folder) -> None:
    """Take one name from a note that a power cut has left in both directories. Raises OSError.

    After a rename from one to the other btrfs may have both (Linux 6.18); rename(2) does nothing between them, and a
    note with two names is refused as somebody else's.
    """
    # While something is frozen notes were moved to it, else they were on their way back.
    leaving = backing if is_frozen(folder) else folder
    for name, other in ((SINCE, UNDONE_SINCE), *((name, name) for name in NOTES)):
        if is_same(folder, name, backing, other):
            leaving.unlink(other if leaving is backing else name)


def is_same(folder: Folder, name: str, backing: Folder, other: str) -> bool:
    """True if `name` of the one and `other` of the other directory are the same file. Raises OSError."""
    try:
        one, two = look_at(lambda: folder.stat(name)), look_at(lambda: backing.stat(other))
    except FileNotFoundError:
        return False
    return one is not None and two is not None and (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino)


def is_frozen(folder: Folder) -> bool:
    """True if a layer is frozen in it. Raises OSError."""
    if folder.find_kind(KEPT):
        return True
    layer = folder.descend(LAYER)
    return layer is not None and bool(next(layer.scan(), None) or folder.find_kind(IMAGE))


def is_leaving(folder: Folder) -> bool:
    """True if a step back is under way. Raises OSError."""
    return bool(folder.find_kind(UNDOING) or folder.find_kind(FORMER))


def read_image(folder: Folder) -> str:
    """The identity of the image that the frozen layer belongs to, "" where nobody knows. Raises OSError."""
    return (folder.recover(IMAGE, _LONGEST) or b"").decode("utf-8", "surrogateescape")


def read_fields(folder: Folder, name: str) -> "dict[str, str]":
    """The KEY=VALUE lines of a note such as `since`; none where it can't be read."""
    try:
        data = folder.read(name, _LONGEST) or b""
    except OSError:
        return {}
    pairs = (line.partition("=") for line in data.decode("utf-8", "replace").split("\n"))
    return {key: value for key, equals, value in pairs if equals}


def spell_since(old: str, new: str, notes: "tuple[str, ...]" = ()) -> bytes:
    """The text of `since` for a step from the image of `old` to that of `new`, texts of identify()."""
    from time import time

    from overlay_prepare.imagechange import read_version

    fields = {"TIME": str(int(time())), "FROM_VERSION": read_version(old), "TO_VERSION": read_version(new)}
    fields["NOTES"] = " ".join(notes)
    return "".join(f"{key}={value}\n" for key, value in fields.items()).encode("utf-8", "surrogateescape")


def can_step_back(backing: Folder, identity: str) -> bool:
    """True if the image of `identity` was booted with Rollback=yes, and so will step back where it is booted again."""
    return bool(identity) and backing.recover(CAPABLE, _LONGEST) == identity.encode("utf-8", "surrogateescape")


def read_good(backing: Folder) -> "tuple[str, int]":
    """The identity of the image that was marked as good, and since when, in seconds; "" for none. Raises OSError."""
    first, _, image = (backing.recover(GOOD, _LONGEST) or b"").decode("utf-8", "surrogateescape").partition("\n")
    since = first.partition("=")[2]
    return (image, int(since)) if since.isdecimal() and len(since) < 16 else ("", 0)


def is_confirmed(commit: str, since: int) -> bool:
    """True if data whose image is good since `since`, in seconds, are there to stay by Commit=`commit`."""
    if commit == "good":
        return True
    from time import time

    return commit.isdigit() and time() - since >= int(commit)


def mark_good(backing: Folder, image: str) -> None:
    """Mark `image` as good from now on, unless it is. Raises OSError."""
    from time import time

    if read_good(backing)[0] != image:
        backing.write(GOOD, f"TIME={int(time())}\n{image}".encode("utf-8", "surrogateescape"))


def mark_capable(backing: Folder, identity: str, durable: bool = True) -> None:
    """Note that the image of `identity` would step back by itself. Raises OSError."""
    if not can_step_back(backing, identity):
        backing.write(CAPABLE, identity.encode("utf-8", "surrogateescape"), durable=durable)


def drop(backing: Folder, name: str) -> None:
    """Remove the note `name`; what is no file there is put aside. Raises OSError."""
    backing.expect(name, "f")
    backing.remove_file(name)


def remove_empty(folder: Folder, name: str) -> bool:
    """True if the directory `name` is not there, or was empty, and is gone. Raises OSError."""
    try:
        folder.rmdir(name)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def clear(backing: Folder, folder: Folder) -> None:
    """Remove the notes of what is not frozen, or no longer. Raises OSError."""
    if folder.find_kind(MOVED) and not backing.find_kind(MOVED):
        folder.rename(MOVED, MOVED, backing)
    for entry in list_by_parts(folder):
        if entry.name in (SINCE, FOLDING, FORMER, MAKING, *NOTES):
            remove(folder, entry.name)
