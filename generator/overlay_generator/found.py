# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Values as in model.py for what few machines have: SELinux, and software with overlays of its own. Pure."""

from overlay_generator.model import Value


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
