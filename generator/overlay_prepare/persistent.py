# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An upper layer that outlives the boot: made once, reset when asked, made fit for each new image.

The order of the steps is what makes a power cut at any moment harmless. A step that fails costs the boot its writable
directory only if going on would show one file's content as another's, or data that was to be reset. Such steps are a
reset, the note that the layer is being changed, the references, and the UUIDs. If any other step fails, that is
reported and the boot goes on: the probe of a disk that was fit before, what a policy or new names ask for (tried again
at the next boot), the list of names, the inodes that are set aside, and the note that all is done.
"""

import posix

from overlay_prepare import fitness, identity, labels, stamp
from overlay_prepare.files import NO_SPACE, find_kind, remove_file
from overlay_prepare.folder import ASIDE, Folder, WrongKind
from overlay_prepare.layers import make_layers, make_passed
from overlay_prepare.report import ERROR, NOTICE, STATE, WARNING, Unusable, describe, say, spell_count, tell, write
from overlay_prepare.request import Request
from overlay_prepare.reserve import keep_room
from overlay_prepare.tree import remove
from overlay_prepare.upper import SCRATCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_prepare.resetrequest import Staged

# There if systemd-factory-reset-generator has found a request for a factory reset (systemd 258 and later).
_FACTORY_RESET = "/run/systemd/generator.early/basic.target.wants/factory-reset-now.target"
_STAGED = "reset"
_MOST_STAGED = 1 << 20  # bytes of a request
_FOLLOWS_NO_ZEROS = (5, 10)  # Linux, see identity.find_uuid(); a long-term version, to be on the safe side
# What a power cut leaves half written. Each is made again when it is needed, but perhaps not by the image booted now.
_LITTER = ("probe", "image.new", "uuids.new", "names.new", "contents.new", "reset.new", "upper" + SCRATCH,
           "rollback.new", "good.new", "commit.new")  # fmt: skip
_DIRECTORIES = ("upper", "work", "lower", "trash", "direct")
_MOST_ASIDE = 100  # entries of `direct`; each costs a rename and a message
_MOST_UUIDS = 64  # images; with more, all references are taken out once


def make_persistent(request: Request, backing: Folder) -> None:
    """Make the layers, and the upper one fit for the image below if that is not the one of the last boot."""
    image = identity.identify(request.where)
    _tell_doubt(request, image)
    _expect_directories(backing)
    _sweep(request, backing)
    if request.reset or find_kind(_FACTORY_RESET):
        _reset_once(request, backing)
    remove_file(f"{STATE}/{request.name}.changed")  # from before a soft reboot
    staged = bool(backing.find_kind(_STAGED))
    settled = True
    if request.rollback != "no" or backing.find_kind("frozen"):
        from overlay_prepare import rollback

        remove_file(f"{STATE}/{request.name}.{rollback.EVENT}")  # of the system before a soft reboot
        settled = rollback.settle(request, backing, image, staged)
    if staged and not settled:
        _refuse(request, backing, "what an update has frozen can't be folded; nothing is reset")
    elif staged:
        _reset_as_staged(request, backing)
    if stamp.is_current(backing, image):
        make_layers(request, backing)
    else:
        _probe(request, backing)
        if fitness.keeps_acls(request.where) and not fitness.keeps_acls(backing.fd):
            # overlayfs does not copy up a file whose ACL it can't keep (EOPNOTSUPP, Linux 6.12).
            say(WARNING, f"{request.where}: its disk keeps no ACLs: what has one in the image can't be changed")
        _follow_image(request, backing, image, settled)
    if request.rollback != "no":
        _mark_capable(request, backing, image)
    _tell_others(request, backing)
    _check_work(request, backing)
    try:
        keep_room(backing)
    except OSError as error:
        say(WARNING, f"{request.where}: no inodes are set aside for the overlay itself: {describe(error)}")


def _expect_directories(backing: Folder) -> None:
    """Put aside what is not a directory, before any of the steps uses it."""
    for name in _DIRECTORIES:
        backing.expect(name, "d")
    if backing.find_kind("direct"):
        with backing.open("direct") as top:
            others = (e.name for e in top.scan() if not e.is_dir(follow_symlinks=False) and ASIDE not in e.name)
            # What is beyond that is in nobody's way, as what is passed through is looked at by its name.
            for name in [name for _, name in zip(range(_MOST_ASIDE), others)]:
                top.expect(name, "d")


def _sweep(request: Request, backing: Folder) -> None:
    """Remove what a power cut has left, once in a boot: later, such files may be those of the background process."""
    if find_kind(f"{STATE}/{request.name}.json"):
        return
    for name in [entry.name for entry in backing.scan() if entry.name in _LITTER]:
        try:
            remove(backing, name)
        except OSError:
            pass  # in nobody's way, and the next boot tries again


def _tell_others(request: Request, backing: Folder) -> None:
    """Report where files are that an image with another Passthrough= has moved out of the upper layer."""
    if not backing.find_kind("direct"):
        return
    from overlay_prepare.passthrough import list_others

    try:
        # Not moved back: a container engine's own overlays would lose overlayfs's marks on the way.
        for path, place in list_others(backing, request.direct):
            say(WARNING, f"{path} is not passed through by this image; what was written there is in {place}")
    except OSError as error:
        say(WARNING, f"{request.where}: {describe(error)}")


def _probe(request: Request, backing: Folder) -> None:
    """Raises Unusable if the disk can't hold an upper layer, OSError if a new disk could not be tried."""
    from overlay_generator.render import OPTIONS_PERSISTENT

    try:
        fitness.probe(backing, OPTIONS_PERSISTENT)
    except OSError as error:
        if not backing.find_kind(stamp.NAME):
            raise
        say(WARNING, f"{request.where}: the disk could not be tried, and was fit before: {describe(error)}")


def _check_work(request: Request, backing: Folder) -> None:
    """Raises Unusable if the work directory can be neither used nor replaced, and memory is to take its place then."""
    try:
        fitness.check_work(backing)
    except Unusable as error:
        _replace_work(request, backing, error)


def _replace_work(request: Request, backing: Folder, error: Unusable) -> None:
    """Put aside a work directory that can't be used. Raises Unusable if that is no help and memory is wanted then."""
    from overlay_prepare.reset import put_aside

    try:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_SPACE:
            raise error  # a new one needs space as well
        put_aside(backing, "work")
        backing.make("work").close()
        fitness.check_work(backing)
        say(WARNING, f"{request.where}: {error}; a new one takes its place")
    except (Unusable, OSError):
        if request.fallback:
            raise error from None
        # The kernel then mounts the overlay read-only, which at least shows what was written.
        say(ERROR, f"{request.where}: {error}")


def _tell_doubt(request: Request, image: str) -> None:
    """Report it if nothing tells the next image from this one, and a policy is to be carried out when it comes."""
    doubt = identity.find_doubt(image, request.where) if request.policy != "keep" else ""
    if doubt:
        text = f"the next image may be taken for this one, as {doubt}, and Policy={request.policy} drops nothing then"
        say(NOTICE, f"{request.where}: {text}; add IMAGE_VERSION= to os-release with each build")


def _choose_policy(request: Request, previous: str, image: str) -> str:
    """The policy that may be carried out: on a guess nothing is dropped."""
    # If the image before is not known, only what is certainly wrong in the upper layer is changed.
    if not previous or request.policy == "keep":
        return "keep"
    if identity.compare(previous, image) == identity.UNSURE:
        reason = f"whether this is another image can't be told, so Policy={request.policy} drops nothing"
        text = f"{request.where}: {reason}; add IMAGE_VERSION= to os-release with each build"
        _tell_not_done(request, NOTICE, text, reason)
        return "keep"
    return request.policy


def _follow_image(request: Request, backing: Folder, image: str, settled: bool) -> None:
    """Make the upper layer fit for `image`, a text of identify(), and do what the policy for updates asks for."""
    from overlay_prepare import events, imagechange, imagenames
    from overlay_prepare.normalise import normalise
    from overlay_prepare.opaque import find_concerned, is_removed

    where = request.where
    previous = _find_previous(request, backing)
    # Nothing is dropped either if the image is the same as before: then a change to another one was interrupted, or
    # that one's policy failed.
    policy = _choose_policy(request, previous, image) if previous != image else "keep"
    if request.rollback != "no":
        from overlay_prepare import rollback

        policy = rollback.follow(request, backing, previous, image, policy, settled)
        if not policy:
            return
    if policy == "reset" and not make_passed(request, backing):
        # What is passed through from now on is to survive it.
        reason = "what is to be passed through could not be taken over"
        _tell_not_done(request, ERROR, f"{where}: Policy=reset is not carried out: {reason}", reason)
        policy = "keep"
    if policy == "reset":
        from overlay_prepare.resetrequest import Staged

        _reset(request, backing, Staged(whole=True), "another image", direct=False)
    make_layers(request, backing)
    # In this order, so that a power cut at any moment leaves either the note that it is changing, or all of it done.
    stamp.mark_changing(backing, previous)
    uuids, uuid = stamp.read_uuids(backing), identity.find_uuid(where)
    every = _may_be_followed(uuids, uuid)
    with backing.open("upper") as upper, backing.open("work") as work:
        count, opaque = normalise(upper, work, files=every, matters=find_concerned(where, backing))
    # Right now: on a full disk, one of the notes would take the last inode, and the overlay would come up read-only.
    _check_work(request, backing)
    dropped, finished = _apply_policy(request, backing, policy, image)
    carried = _reveal(request, backing, opaque)
    if previous not in ("", image):
        imagechange.forget_updated(where, backing)
    posix.sync()
    kept = [] if every or uuids is None else uuids
    stamp.write_uuids(backing, [*kept, *([uuid] if uuid and uuid not in kept else [])])
    if carried is not None:
        try:
            removed = imagenames.find_removed(backing, lambda path: is_removed(backing, path))
            imagenames.write(where, backing, [*carried, *removed])
        except OSError as error:
            # The old list is gone. Without a list, what the next image adds stays hidden in opaque directories.
            say(WARNING, f"{where}: the image's names are not noted: {describe(error)}")
    if finished and carried is not None:
        try:
            stamp.write(backing, image)
        except OSError as error:
            say(WARNING, f"{where}: all of it is done once more at the next boot: {describe(error)}")
    if previous not in ("", image):
        imagechange.announce(request, previous, image, count, "kept" if request.rollback != "no" else "")
    elif count:
        say(NOTICE, imagechange.describe_change(where, count))
    if dropped:
        entries = spell_count(dropped, "entry", "entries")
        text = f"{where}: {entries} dropped by Policy={policy}, see {backing.path}/dropped"
        fields = {"where": where, "policy": policy, "count": f"{dropped}", "list": f"{backing.path}/dropped"}
        tell(events.ENTRIES_DROPPED, NOTICE, text, fields)
    if previous and labels.is_on():
        text = f"restorecon -nrv {where} shows what the new policy labels differently, and -rv corrects that"
        say(NOTICE, f"{where}: another image; the upper layer keeps its SELinux labels: {text}")


def _mark_capable(request: Request, backing: Folder, image: str) -> None:
    from overlay_prepare import frozen

    try:
        frozen.mark_capable(backing, image)
    except OSError as error:
        say(WARNING, f"{request.where}: the next update will not be frozen: {describe(error)}")


def _find_previous(request: Request, backing: Folder) -> str:
    """The identity of the image that the upper layer was over; "" if that can't be read, which is reported."""
    try:
        return stamp.read_previous(backing)
    except OSError as error:
        policy = "" if request.policy == "keep" else f", and Policy={request.policy} is not carried out"
        text = f"{request.where}: nobody knows what image was there before{policy}: {describe(error)}"
        if policy:
            _tell_not_done(request, WARNING, text, describe(error))
        else:
            say(WARNING, text)
        return ""


def _tell_not_done(request: Request, level: int, text: str, reason: str) -> None:
    """Report that what the owner wants of an update was not done."""
    from overlay_prepare.events import POLICY_NOT_DONE

    tell(POLICY_NOT_DONE, level, text, {"where": request.where, "policy": request.policy, "reason": reason})


def _reveal(request: Request, backing: Folder, opaque: "list[str]") -> "list[str] | None":
    """Show what the image adds in the directories `opaque`. Returns what to note along with its names, or None if this
    failed and is to be done again at the next boot; until then something of the image stays hidden, as it was.
    """
    from overlay_prepare.opaque import reveal

    try:
        return reveal(request.where, backing, opaque)
    except OSError as error:
        say(WARNING, f"{request.where}: not all that the image adds is shown, until the next boot: {describe(error)}")
        return None


def _may_be_followed(uuids: "list[str] | None", uuid: "str | None") -> bool:
    """True if a reference that a file of the upper layer carries may lead into a file system with `uuid`."""
    if uuids is None or uuid is None or len(uuids) > _MOST_UUIDS:
        return True
    release = posix.uname().release.split(".")
    try:
        old = (int(release[0]), int(release[1])) < _FOLLOWS_NO_ZEROS
    except (IndexError, ValueError):
        old = True
    return uuid in uuids or (not uuid and old)


def _apply_policy(request: Request, backing: Folder, policy: str, image: str) -> "tuple[int, bool]":
    """The number of entries dropped, and False if the policy has to be carried out again at the next boot.

    What a policy can't do is reported, and stays in the upper layer as it is.
    """
    if policy not in ("prune", "refresh"):
        return 0, True
    from overlay_prepare.policy import apply

    title = " ".join(line for line in image.split("\n") if line[:6] in ("IMAGE_", "BUILD_"))
    try:
        dropped, reason, kept = apply(policy, request.where, backing, title or "another image")
    except (OSError, RecursionError) as error:
        if isinstance(error, OSError) and not error.filename:
            error.filename = backing.path  # an error of write(2) has no file name
        text = f"{request.where}: Policy={policy}: {describe(error)}; it is tried again at the next boot"
        _tell_not_done(request, WARNING, text, describe(error))
        return 0, False
    if reason:
        text = f"{request.where}: Policy={policy}: {reason}"
        if kept:
            _tell_not_done(request, WARNING, text, reason)
        else:
            say(WARNING, text)
    return dropped, True


def _reset_once(request: Request, backing: Folder) -> None:
    """Put the upper layer aside, once in a boot: the unit may run again, and must not drop what was written since."""
    from overlay_prepare.resetrequest import Staged

    done = f"{request.name}.reset"
    if find_kind(f"{STATE}/{done}"):
        return
    _reset(request, backing, Staged(whole=True), "reset as asked at boot")
    write(STATE, done, "")


def _reset_as_staged(request: Request, backing: Folder) -> None:
    """Do what the operator has asked for, once: the request is removed when all of it is done, or renamed if it can't
    be done.

    All of it is on the disk before: else the request could be gone after a power cut, and the work undone (seen on
    btrfs).
    """
    from overlay_prepare.resetrequest import parse

    path = backing.spell(_STAGED)
    try:
        text = (backing.read(_STAGED, _MOST_STAGED) or b"").decode("utf-8", "surrogateescape")
        _reset(request, backing, parse(text), "reset as asked by the operator")
        backing.unlink(_STAGED)
    except WrongKind as error:
        if error.filename == path:
            _tell_refused(request, ERROR, f"{describe(error)}; nothing is reset")
            backing.put_aside(_STAGED, error.strerror)
        else:
            _refuse(request, backing, f"{describe(error)}; the rest of it is not done")
    except ValueError as error:
        _refuse(request, backing, f"{error}; nothing is reset")
    except (OSError, RecursionError) as error:
        _refuse(request, backing, f"{describe(error)}; the rest of it is not done")
    backing.sync()


def _tell_refused(request: Request, level: int, text: str) -> None:
    from overlay_prepare.events import RESET_REFUSED

    tell(RESET_REFUSED, level, text, {"where": request.where, "reason": text})


def _refuse(request: Request, backing: Folder, reason: str) -> None:
    # Not tried again at each boot: if that keeps the device from coming up, nobody can withdraw the request.
    _tell_refused(request, ERROR, f"{backing.spell(_STAGED)}: {reason}")
    posix.sync()
    backing.expect(_STAGED + ASIDE, "f")
    backing.rename(_STAGED, _STAGED + ASIDE)


def _reset(request: Request, backing: Folder, asked: "Staged", reason: str, direct: bool = True) -> None:
    from overlay_prepare.reset import reset

    count, problems = reset(request.where, backing, asked, direct)
    for problem in problems:
        _tell_refused(request, WARNING, problem)
    if count:
        from overlay_prepare.events import RESET_DONE

        aside = f"{spell_count(count, 'thing was', 'things were')} put aside"
        what = "the upper layer is empty" if asked.whole and not asked.keep else aside
        fields = {"where": request.where, "reason": reason, "count": f"{count}"}
        tell(RESET_DONE, NOTICE, f"{request.where}: {reason}; {what}", fields)
