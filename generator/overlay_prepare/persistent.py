"""An upper layer that outlives the boot: made once, reset when asked, made fit for each new image.

The order of the steps is what makes a power cut at any moment harmless.
"""

import posix

from overlay_prepare import fitness, identity, stamp
from overlay_prepare.files import NO_SPACE, find_kind, make_directory, remove_file, sync_directory
from overlay_prepare.layers import make_layers
from overlay_prepare.report import ERROR, NOTICE, STATE, WARNING, Unusable, describe, say, spell_count, write
from overlay_prepare.request import Request
from overlay_prepare.reserve import keep_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_prepare.resetrequest import Staged

# Wanted where systemd-factory-reset-generator has found a request for it (systemd 258 and later).
_FACTORY_RESET = "/run/systemd/generator.early/basic.target.wants/factory-reset-now.target"
_STAGED = "reset"
_FOLLOWS_NO_ZEROS = (5, 10)  # Linux, see identity.find_uuid(); a long-term version, to be on the safe side
_MOST_UUIDS = 64  # images, until all references are taken out once


def make_persistent(request: Request) -> None:
    """Make the layers, and the upper one fit for the image below, if that is another one than at the last boot."""
    image = identity.identify(request.where)
    _tell_doubt(request, image)
    if request.reset or find_kind(_FACTORY_RESET):
        _reset_once(request)
    if find_kind(f"{request.backing}/{_STAGED}"):
        _reset_as_staged(request)
    remove_file(f"{STATE}/{request.name}.changed")  # of the system before a soft reboot
    if stamp.is_current(request.backing, image):
        make_layers(request)
    else:
        from overlay_generator.render import OPTIONS_PERSISTENT

        fitness.probe(request.backing, OPTIONS_PERSISTENT)
        if fitness.keeps_acls(request.where) and not fitness.keeps_acls(request.backing):
            # overlayfs copies nothing up whose ACL it can't keep (EOPNOTSUPP, Linux 6.12).
            say(WARNING, f"{request.where}: its disk keeps no ACLs: what has one in the image can't be changed")
        _follow_image(request, image)
    _check_work(request)
    keep_room(request.backing)


def _check_work(request: Request) -> None:
    """Raises Unusable where the work directory can't be used, nor replaced, and memory is wanted then."""
    try:
        fitness.check_work(request.backing)
    except Unusable as error:
        _replace_work(request, error)


def _replace_work(request: Request, error: Unusable) -> None:
    """Put a work directory aside that can't be used. Raises Unusable where that is no help and memory is wanted."""
    from overlay_prepare.reset import put_aside

    try:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_SPACE:
            raise error  # a new one needs space as well
        put_aside(request.backing, "work")
        make_directory(f"{request.backing}/work", 0o700)
        fitness.check_work(request.backing)
        say(WARNING, f"{request.where}: {error}; a new one takes its place")
    except (Unusable, OSError):
        if request.fallback:
            raise error from None
        # The kernel mounts it read-only then, which shows at least what was written.
        say(ERROR, f"{request.where}: {error}")


def _tell_doubt(request: Request, image: str) -> None:
    """Say where nobody could tell the next image from this one, and its owner wants something done when it comes."""
    doubt = identity.find_doubt(image, request.where) if request.policy != "keep" else ""
    if doubt:
        text = f"the next image may be taken for this one, as {doubt}, and Policy={request.policy} drops nothing then"
        say(NOTICE, f"{request.where}: {text}; add IMAGE_VERSION= to os-release with each build")


def _choose_policy(request: Request, previous: str, image: str) -> str:
    """The policy that may be carried out: on a guess nothing is dropped."""
    # Of an upper layer whose past nobody knows only what can't be right is changed.
    if not previous or request.policy == "keep":
        return "keep"
    if identity.compare(previous, image) == identity.UNSURE:
        text = f"whether this is another image can't be told, so Policy={request.policy} drops nothing"
        say(NOTICE, f"{request.where}: {text}; add IMAGE_VERSION= to os-release with each build")
        return "keep"
    return request.policy


def _follow_image(request: Request, image: str) -> None:
    """Make the upper layer fit for `image`, a text of identify(), and do what the policy for updates asks for."""
    from overlay_prepare import imagechange, imagenames
    from overlay_prepare.normalise import normalise
    from overlay_prepare.opaque import reveal

    where, backing = request.where, request.backing
    previous = stamp.read_previous(backing)
    policy = _choose_policy(request, previous, image)
    if policy == "reset" and previous != image:
        from overlay_prepare.resetrequest import Staged

        _reset(request, Staged(whole=True), "another image", direct=False)
    make_layers(request)
    # In this order, so that a power cut at any moment leaves a note of the change or all of the work done.
    stamp.mark_changing(backing)
    uuids, uuid = stamp.read_uuids(backing), identity.find_uuid(where)
    every = _may_be_followed(uuids, uuid)
    count, opaque = normalise(f"{backing}/upper", f"{backing}/work", files=every)
    # At once: on a full disk one of the notes would take the inode, and the overlay would come up read-only.
    _check_work(request)
    dropped = _apply_policy(request, policy, image)
    carried = reveal(where, backing, opaque)
    if previous not in ("", image):
        imagechange.forget_updated(where, backing)
    posix.sync()
    kept = [] if every or uuids is None else uuids
    stamp.write_uuids(backing, [*kept, *([uuid] if uuid and uuid not in kept else [])])
    imagenames.write(where, backing, carried)
    stamp.write(backing, image)
    if previous not in ("", image):
        imagechange.tell(request.name, previous, image)
    if count or dropped:
        gone = spell_count(count, "reference to the old one was", "references to the old one were")
        entries = spell_count(dropped, "entry", "entries")
        more = f", {entries} dropped by Policy={policy}, see {backing}/dropped" if dropped else ""
        say(NOTICE, f"{where}: another image; {gone} taken out of the upper layer{more}")


def _may_be_followed(uuids: "list[str] | None", uuid: "str | None") -> bool:
    """True unless no reference that files of the upper layer carry leads into the file system of `uuid`."""
    if uuids is None or uuid is None or len(uuids) > _MOST_UUIDS:
        return True
    release = posix.uname().release.split(".")
    try:
        old = (int(release[0]), int(release[1])) < _FOLLOWS_NO_ZEROS
    except (IndexError, ValueError):
        old = True
    return uuid in uuids or (not uuid and old)


def _apply_policy(request: Request, policy: str, image: str) -> int:
    """The number of entries that went. What a policy can't do is said, and leaves the upper layer as it is."""
    if policy not in ("prune", "refresh"):
        return 0
    from overlay_prepare.policy import apply

    title = " ".join(line for line in image.split("\n") if line[:6] in ("IMAGE_", "BUILD_"))
    try:
        dropped, reason = apply(policy, request.where, request.backing, title or "another image")
    except (OSError, RecursionError) as error:
        dropped, reason = 0, describe(error)
    if reason:
        say(WARNING, f"{request.where}: Policy={policy}: {reason}")
    return dropped


def _reset_once(request: Request) -> None:
    """Put the upper layer aside, once in a boot: the unit may run again, and must not drop what was written since."""
    from overlay_prepare.resetrequest import Staged

    done = f"{request.name}.reset"
    if find_kind(f"{STATE}/{done}"):
        return
    _reset(request, Staged(whole=True), "reset as asked at boot")
    write(STATE, done, "")


def _reset_as_staged(request: Request) -> None:
    """Do what the operator has asked for, once: the request goes when all of it is done, or it can't be done."""
    from overlay_generator.gather import read_file
    from overlay_prepare.resetrequest import parse

    path = f"{request.backing}/{_STAGED}"
    try:
        _reset(request, parse(read_file(path).decode("utf-8", "surrogateescape")), "reset as asked by the operator")
        posix.unlink(path)
    except (ValueError, OSError, RecursionError) as error:
        # Not tried again at each boot: a device that does not come up because of it could not be told otherwise.
        wrong = isinstance(error, ValueError)
        text = f"{error}; nothing is reset" if wrong else f"{describe(error)}; the rest of it is not done"
        say(ERROR, f"{path}: {text}")
        posix.rename(path, path + ".refused")
    sync_directory(request.backing)


def _reset(request: Request, asked: "Staged", reason: str, direct: bool = True) -> None:
    from overlay_prepare.reset import reset

    count, problems = reset(request.where, request.backing, asked, direct)
    for problem in problems:
        say(WARNING, problem)
    if count:
        aside = f"{spell_count(count, 'thing was', 'things were')} put aside"
        what = "the upper layer is empty" if asked.whole and not asked.keep else aside
        say(NOTICE, f"{request.where}: {reason}; {what}")
