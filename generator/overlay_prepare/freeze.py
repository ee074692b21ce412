# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Freezes the upper layer at the first boot of another image, and puts a new one on top, for `Rollback=yes`.

The layer that is frozen is never written to: where a policy drops something of it, or an opaque directory of it has to
be opened for what the image adds, that is done on a second tree with links to the same files, see shadow.py. What it
keeps of references to inodes of the image before does no harm there, as overlayfs follows those of the upper layer
alone (ovl_lookup(), Linux 5.10 to 6.18).
"""

import posix

from overlay_prepare import frozen, identity, imagechange, imagenames, manifest, stamp
from overlay_prepare.files import send_all
from overlay_prepare.folder import Folder
from overlay_prepare.layers import make_layers
from overlay_prepare.normalise import normalise
from overlay_prepare.opaque import find_concerned, is_opaque, reveal
from overlay_prepare.passthrough import list_kept
from overlay_prepare.report import ERROR, NOTICE, WARNING, describe, say
from overlay_prepare.request import Request
from overlay_prepare.tree import remove
from overlay_prepare.upper import make_like


def _does_not_matter(_path: str) -> bool:
    """For normalise(), of which the opaque directories are not wanted here: there may be any number of them."""
    return False


def find_hindrance(request: Request, backing: Folder, previous: str, image: str) -> str:
    """Why the upper layer can't be frozen for the step from the image of `previous` to that of `image`, or "".

    Raises OSError.
    """
    if request.rollback == "hold":
        return "overlayfs.rollback=no is on the kernel command line"
    if identity.compare(previous, image) != identity.OTHER:
        return "whether this is another image can't be told; add IMAGE_VERSION= to os-release with each build"
    if not frozen.can_step_back(backing, previous):
        return "the image before did not have Rollback=yes, and would not step back"
    for path in find_moving(request, backing):
        return f"{path} is passed through from now on, and what was written there moves out of the upper layer"
    return ""


def find_moving(request: Request, backing: Folder, layer: str = "upper") -> "list[str]":
    """The paths that are passed through and have not been, of which the `layer` has something. Raises OSError."""
    known = {path for path, _ in list_kept(backing)}
    top = len(request.where.rstrip("/")) + 1
    return [path for path in request.direct if path not in known and backing.descend(f"{layer}/{path[top:]}")]


def freeze(backing: Folder, previous: str, image: str) -> Folder:
    """Move the upper layer of the image `previous` to what is frozen for the image `image`; the directory of that.

    Raises OSError; then nothing is frozen, and the upper layer is where it was.
    """
    # No note of the change: until the rename nothing has changed, and after it what is frozen has the same image as the
    # note beside the upper layer.
    if not stamp.is_current(backing, previous):
        # Whatever the references in it lead to: with its image it will be used again as it is.
        with backing.open("upper") as upper, backing.make("work") as work:
            normalise(upper, work, matters=_does_not_matter)
    folder = backing.make(frozen.NAME)
    try:
        frozen.clear(backing, folder)
        for name in (frozen.GOOD, frozen.COMMIT):
            frozen.drop(backing, name)
        frozen.remove_empty(folder, frozen.LAYER)
        names = [name for name in frozen.NOTES if name != frozen.IMAGE and backing.find_kind(name) == "f"]
        for name in names:
            if name != manifest.NAME:
                _copy(backing, folder, name)
        folder.write(frozen.IMAGE, previous.encode("utf-8", "surrogateescape"), durable=False)
        folder.write(frozen.SINCE, frozen.spell_since(previous, image, tuple(names)), durable=False)
        posix.sync()
        if manifest.NAME in names:
            # It may be large, and the new image gets one of its own.
            backing.rename(manifest.NAME, manifest.NAME, folder)
        backing.rename("upper", frozen.KEPT, folder)
    except OSError:
        frozen.clear(backing, folder)
        raise
    return folder


def finish(
    request: Request, backing: Folder, folder: Folder, previous: str, image: str, policy: str, settled: bool = True
) -> None:
    """Make all that belongs on top of what is frozen in `folder`, and note it. Raises OSError.

    Done again after a half, or for an upper layer that is there, it makes that fit for `image`. Not `settled`: a fold
    is to be tried again, and all of it is done once more then.
    """
    where = request.where
    dropped, whole = 0, True
    remove(folder, frozen.MAKING)  # of a boot that was cut off
    if not folder.find_kind(frozen.LAYER):
        dropped, whole = _make_layer(request, backing, folder, image, policy)
    fresh = not backing.find_kind("upper")
    if fresh:
        # Its root is what the overlay shows of itself.
        source = where if policy == "reset" else folder.reach(frozen.LAYER)
        for warning in make_like(source, backing, "upper"):
            say(WARNING, warning)
    if not settled:
        moving = find_moving(request, backing) + find_moving(request, backing, f"{frozen.NAME}/{frozen.LAYER}")
        for path in dict.fromkeys(moving):
            say(ERROR, f"{path} is passed through from now on; what was written there before stays in {backing.path}")
    make_layers(request, backing)
    with backing.open("upper") as upper, backing.open("work") as work, folder.open(frozen.LAYER) as layer:
        normalise(upper, work, matters=_does_not_matter)
        if previous != image:
            imagechange.forget_updated(where, backing, layer)
    if not fresh:
        posix.sync()  # no reference is left that nobody knows of
    # Not synced one by one: until the stamp is written, a boot of this image does all this again, and one of the image
    # before has its own notes.
    uuids = [uuid for uuid in (identity.find_uuid(where), identity.find_uuid(backing.path)) if uuid]
    if not settled:
        known = stamp.read_uuids(backing)
        if known is not None:
            stamp.write_uuids(backing, list(dict.fromkeys([*known, *uuids])))
        return
    stamp.write_uuids(backing, uuids, durable=not fresh)
    try:
        frozen.mark_capable(backing, image, durable=False)
    except OSError:
        pass  # tried again once the layers are made, and reported then
    posix.sync()
    try:
        # Of all images so far: when the layers are folded, nobody can ask the older ones any more.
        if whole:
            imagenames.write(where, backing, imagenames.read_all(backing) or [])
    except OSError as error:
        say(WARNING, f"{where}: the image's names are not noted: {describe(error)}")
    stamp.write(backing, image)
    if dropped:
        text = f"{dropped} dropped by Policy={policy}, see {backing.path}/dropped; a step back brings them again"
        say(NOTICE, f"{where}: {text}")


def _copy(backing: Folder, folder: Folder, name: str) -> None:
    source = backing.open_file(name, 1 << 30)
    try:
        target = folder.create(name)
        try:
            send_all(source, target)
        finally:
            posix.close(target)
    finally:
        posix.close(source)


def _make_layer(request: Request, backing: Folder, folder: Folder, image: str, policy: str) -> "tuple[int, bool]":
    """Make what lies below the new upper layer; how many entries a policy has dropped of it, and False if what the
    image adds stays hidden in it: its names are not known then, until a fold.
    """
    where = request.where
    if policy == "reset":
        return 0, True  # an empty one is made with the other layers
    with folder.open(frozen.KEPT) as kept:
        if policy == "keep" and not _has_hidden_news(where, kept, folder):
            folder.rename(frozen.KEPT, frozen.LAYER)
            return 0, True
    try:
        return _make_second(where, backing, folder, image, policy), True
    except (OSError, RecursionError) as error:
        say(WARNING, f"{where}: Policy={policy} drops nothing, and nothing is opened: {describe(error)}")
        remove(folder, frozen.MAKING)
        folder.rename(frozen.KEPT, frozen.LAYER)
        return 0, False


def _make_second(where: str, backing: Folder, folder: Folder, image: str, policy: str) -> int:
    from overlay_prepare.shadow import link_tree

    count = 0
    with folder.make(frozen.MAKING) as at, folder.open(frozen.KEPT) as kept, backing.make("work") as work:
        with at.make(frozen.LAYER) as layer, at.make("spare") as spare:
            link_tree(kept, layer, spare)
            # The files are those of the frozen layer, and keep what they have.
            _, opaque = normalise(layer, work, files=False, matters=find_concerned(where, folder))
        if policy != "keep":
            from overlay_prepare.policy import apply

            title = " ".join(line for line in image.split("\n") if line[:6] in ("IMAGE_", "BUILD_"))
            count, reason, _ = apply(policy, where, backing, title or "another image", folder, at)
            if reason:
                say(WARNING, f"{where}: Policy={policy}: {reason}")
        reveal(where, at, opaque, folder)
        posix.sync()
        at.rename(frozen.LAYER, frozen.LAYER, folder)
    remove(folder, frozen.MAKING)
    return count


def _has_hidden_news(where: str, kept: Folder, folder: Folder) -> bool:
    """True if the image has a name that no image before had, in a directory that is hidden by an opaque one."""
    known = imagenames.read_all(folder)
    if known is None:
        return False  # nor would it be known what is new
    old = {name.rstrip("/") for name in known}
    names = (name.rstrip("/") for name in imagenames.walk(where))
    return any(_is_hidden(kept, path) for path in {name.rpartition("/")[0] for name in names if name not in old})


def _is_hidden(kept: Folder, path: str) -> bool:
    inner: Folder | None = kept
    for name in path.split("/") if path else ():
        if inner and is_opaque(inner.fd):
            return True
        inner = inner.descend(name) if inner else None
    return inner is not None and is_opaque(inner.fd)
