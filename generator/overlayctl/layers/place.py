# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Directories of a walk, each as the directories of the layers that are merged in it."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from overlayctl.layers.directory import Directory
from overlayctl.layers.stack import Merged, Stack

_NO_NAMES: "frozenset[bytes]" = frozenset()


class Part(NamedTuple):
    """Names in one directory that are not directories, in place of their changes, which Walker.walk_part() yields.

    `upper` leads to the directory from the top of the upper layer, `image` to the one in the lower layer, and `present`
    are those of `names` that the lower one has.
    """

    path: bytes
    upper: "list[bytes]"
    image: "list[bytes] | None"
    names: "list[bytes]"
    present: "list[bytes]"


class Place:
    """One directory, as the directories it is made of; None where a layer has none.

    `upper` is its own, `shown` the lower one that shows through it, `image` the one that the image has there. Where
    the last two are the same, as nearly everywhere, only names in the upper one can have changed: `plain`. `merged`:
    more than one layer is in `upper`.
    """

    __slots__ = ("image", "in_image", "in_shown", "in_upper", "merged", "path", "plain", "shown", "upper")

    def __init__(
        self,
        path: bytes,
        upper: "Merged | None",
        shown: "Merged | None",
        image: "Merged | None",
        indexed: bool,
    ) -> None:
        self.path = path
        self.upper = upper
        self.shown = shown
        self.image = image
        self.plain = shown is image and not indexed
        self.merged = isinstance(upper, Stack) and not upper.single
        own = upper.names() if upper is not None else []
        self.in_upper: Collection[bytes] = own if self.plain else frozenset(own)
        self.in_image = frozenset(image.names()) if image is not None else _NO_NAMES
        if shown is image:
            self.in_shown = self.in_image
        else:
            self.in_shown = frozenset(shown.names()) if shown is not None else _NO_NAMES

    @classmethod
    def of_part(cls, part: Part, upper: Directory, image: "Directory | None") -> "Place":
        """The directory that has the names of `part` and no others."""
        place = cls.__new__(cls)
        place.path, place.upper, place.shown, place.image = part.path, upper, image, image
        place.plain, place.merged, place.in_upper = True, False, part.names
        place.in_image = place.in_shown = frozenset(part.present)
        return place

    def names(self) -> "Iterator[bytes]":
        """The names at which there may be a change, sorted."""
        return iter(sorted(self.in_upper if self.plain else self.in_shown.union(self.in_image, self.in_upper)))

    def has(self, name: bytes) -> bool:
        """True if one of the layers has `name`."""
        return name in self.in_upper or name in self.in_shown or name in self.in_image
