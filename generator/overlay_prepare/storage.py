# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks after what is passed through: the label that it needs, and storage that an engine had on the overlay before."""

from overlay_prepare import labels
from overlay_prepare.files import find_kind
from overlay_prepare.report import WARNING, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_prepare.folder import Folder

_UNLABELLED = ("unlabeled_t", "file_t")

# The traces, below its directory, of an engine that has kept its images on an overlay (docker 26.1, podman 5.4).
_DOCKER = ("image/vfs", "vfs/dir")
_PODMAN = ("vfs-images", "vfs-layers")


def look_after(where: str, path: str, place: "Folder") -> None:
    """Label the directory `place`, which will be bound over `path` of the overlay on `where`, and warn of old storage
    in it. Raises OSError.
    """
    _label(where, path, place)
    # Old storage is taken over all the same: it has volumes, and left in the upper layer it would fill the disk where
    # nobody finds it.
    if _has_any(place, "", _DOCKER):
        cure = f"to free the space, rm -rf {path}/vfs {path}/image/vfs while docker is stopped"
        text = f"docker does not show the images and containers that it made on the overlay; volumes are there; {cure}"
        say(WARNING, f"{path}: {text}")
    for inner in ("", "storage/"):
        if _has_any(place, inner, _PODMAN):
            top = f"{path}/{inner}".rstrip("/")
            cure = f"save {top}/volumes, then rm -rf {top}/*"
            text = 'podman fails ("contains several valid graphdrivers") until what it made on the overlay is gone'
            say(WARNING, f"{path}: {text}: {cure}")


def _has_any(place: "Folder", inner: str, signs: "tuple[str, ...]") -> bool:
    for sign in signs:
        found = place.descend(inner + sign)
        if found:
            with found:
                if next(found.scan(), None):
                    return True
    return False


def _label(where: str, path: str, place: "Folder") -> None:
    """Give a directory that neither the image nor the user had the label that it would have got on the overlay."""
    if not labels.is_on() or find_kind(path) == "d":
        return
    # Judged by its content and label, not by whether it was made just now: a power cut may have come in between.
    fields = labels.read(place).decode("utf-8", "replace").split(":")
    if next(place.scan(), None) is None or len(fields) < 3 or fields[2].rstrip("\0") in _UNLABELLED:
        labels.give(place, labels.find_for(path, where))
