# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Values as in model.py for what few machines have: SELinux, and software with overlays of its own. Pure."""

from overlay_generator.model import Inputs, OverlayMount, Value
from overlay_generator.names import is_below


class Mounter(Value):
    """On a machine with SELinux: the context in which mount(8) mounts the overlays, "" for its usual one.

    `fault`: why no overlay would be of use to anybody, or "".
    """

    __slots__ = ("context", "fault")

    def __init__(self, context: str, fault: str = "") -> None:
        self.context = context
        self.fault = fault


class Storage(Value):
    """A directory that software of the image keeps overlays in; it was found by the file `source`.

    `effect` says what happens to them on an overlay of ours; `fails`: nothing works there.
    """

    __slots__ = ("effect", "fails", "path", "source")

    def __init__(self, source: str, path: str, effect: str, fails: bool) -> None:
        self.source = source
        self.path = path
        self.effect = effect
        self.fails = fails


class OnOverlay(Value):
    """A Storage that lies on the overlay on `where`, which has to be reported."""

    __slots__ = ("storage", "where")

    def __init__(self, storage: Storage, where: str) -> None:
        self.storage = storage
        self.where = where

    def __str__(self) -> str:
        """The sentence that the log, the dry run and the operator's command all show."""
        path = self.storage.path
        return (
            f"{self.storage.source}: {path} lies on the overlay, and {self.storage.effect}; before its first use "
            f"pass it through: Passthrough={path} in the section [{self.where}] of the configuration"
        )


def find_on_overlays(inputs: Inputs, mounts: "tuple[OverlayMount, ...]") -> "tuple[OnOverlay, ...]":
    """What of the image's storage lies on one of `mounts`; what fails there first."""
    found = []
    for storage in sorted(inputs.storage, key=lambda storage: not storage.fails):
        mount = _find_mount_of(inputs, storage, mounts)
        one = OnOverlay(storage, mount.where) if mount else None
        if one and one not in found:
            found.append(one)
    return tuple(found)


def _find_mount_of(inputs: Inputs, storage: Storage, mounts: "tuple[OverlayMount, ...]") -> "OverlayMount | None":
    for mount in sorted(mounts, key=lambda mount: -len(mount.where)):
        if is_below(storage.path, mount.where):
            aside = [entry.where for entry in inputs.entries] + [word.text for word in mount.settings.passthrough]
            inside = (other for other in aside if is_below(other, mount.where))
            return None if any(storage.path == other or is_below(storage.path, other) for other in inside) else mount
    return None
