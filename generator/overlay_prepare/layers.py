# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the directories of an overlay in its backing directory; those that exist stay as they are."""

from overlay_generator.names import backing_name
from overlay_prepare import labels
from overlay_prepare.files import make_directory
from overlay_prepare.folder import Folder, open_top
from overlay_prepare.report import ERROR, STATE, WARNING, describe, say
from overlay_prepare.request import Request
from overlay_prepare.upper import make_upper


def open_backing(request: Request) -> Folder:
    """The backing directory; made if the disk is mounted above it, to hold several. Raises OSError."""
    folder = open_top(request.mount, lambda text: say(WARNING, text))
    # Only what is below the mount point is on the disk, and is not to be trusted.
    for name in filter(None, request.backing[len(request.mount) :].split("/")):
        folder = folder.make(name, 0o700)
    return folder


def make_layers(request: Request, backing: Folder) -> None:
    """Make lower, work, upper and what is passed through. Raises OSError."""
    for name in ("lower", "work"):
        with backing.make(name, 0o700) as folder:
            # With the label that new files in /run get, nobody may mount on lower, nor copy up through work.
            labels.follow(request.where, folder)
    if request.rollback != "no":
        # For the mount, whose unit has it as a layer; in memory as well.
        with backing.make("frozen") as frozen, frozen.make("upper") as layer:
            labels.follow(request.where, frozen)
            labels.follow(request.where, layer)
    for warning in make_upper(request.where, backing):
        say(WARNING, warning)
    make_passed(request, backing)


def make_passed(request: Request, backing: Folder) -> bool:
    """Make what is passed through, which takes over what the upper layer has there; False if one of them failed, which
    is reported.
    """
    made = [_make_direct(request, backing, path) for path in request.direct]
    return all(made)


def _make_direct(request: Request, backing: Folder, path: str) -> bool:
    """Make the directory that is bound over `path`; if that fails, what is written there goes to the upper layer."""
    from overlay_prepare import passthrough, storage

    try:
        make_directory(STATE, 0o755)
        passthrough.link(request.name, request.backing, STATE)
        # The mount units name it by its path: whatever else has that name is put aside there.
        passthrough.make_direct(request.where, backing, path)
        with backing.open(passthrough.TOP) as top, top.open(backing_name(path)) as place:
            storage.look_after(request.where, path, place)
        covered = passthrough.find_covered(request.where, backing, path)
        if covered:
            text = "was written by an image that did not pass it through, and is not seen"
            say(WARNING, f"{path} is passed through; what is in {covered} {text}")
        return True
    except (OSError, RecursionError) as error:
        say(ERROR, f"{path} is not passed through: {describe(error)}")
        return False
