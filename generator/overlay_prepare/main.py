# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prepares the layers of an overlay at each boot, before it is mounted: run by prepare-NAME-overlay.service.

The steps are in prepare(). If the layers can't be prepared, the image's directory stays as it is, or, with nofail in
fstab, the upper layer is in memory; either is reported, and neither stops the boot.
"""

import posix

from overlay_generator.names import failure_mark, fallback_mark
from overlay_prepare import fitness, labels
from overlay_prepare.files import find_kind
from overlay_prepare.folder import Folder
from overlay_prepare.layers import make_layers, open_backing
from overlay_prepare.patience import Patience
from overlay_prepare.report import ERROR, WARNING, describe, fail, leave, leave_behind, note, say, tell
from overlay_prepare.request import Request, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def run(argv: "list[str]") -> None:
    """main() as the whole life of a process, without the interpreter's teardown. Does not return."""
    posix._exit(main(argv))


def main(argv: "list[str]") -> int:
    """The exit status, 0 or 1, of `prepare ARGUMENT...` (request.py) or one of its words alone, such as `--stage`."""
    if argv[1:] == ["--stage"]:
        from overlay_prepare.factoryreset import stage_all

        return stage_all()
    if argv[1:] == ["--boot-good"]:
        from overlay_prepare.commit import mark_all

        return mark_all()
    if argv[1:] == ["--boot-check"]:
        from overlay_prepare.bootcheck import check_all

        return check_all()
    if argv[1:2] == ["--tell"]:
        from overlay_prepare.telling import tell_all

        return tell_all(argv[2:])
    try:
        request = parse(argv[1:])
    except ValueError as error:
        say(ERROR, f"prepare: {error}; it is run by its unit alone")
        return 1
    if request.verify:
        return _tell_read_only(request)
    try:
        reason = prepare(request)
    except Exception as error:
        _leave_alone(request, describe(error))
        return 1
    try:
        note(request.where, request.backing, reason)
    except OSError as error:
        _tell_unwritten(request, error)
    if reason and request.adapt and request.notify:
        from overlay_prepare.adapt import raise_failure

        raise_failure(request.where)
    try:
        _work_behind(request, reason)
    except OSError as error:
        say(WARNING, f"{request.where}: {describe(error)}")
    return 0


def prepare(request: Request) -> str:
    """Make everything but the bind mount of lower. Returns "" if that went as asked, else why nothing is kept.

    Where memory was planned, the bind mount is made too, and so is the overlay if a disk is in its place, see adapt.py.

    Raises what went wrong if the owner of the image wants no fallback, Refused if a fallback would be no help.
    """
    if request.mounter:
        labels.verify_mounter(request.mounter, request.where)
    if request.adapt:
        from overlay_prepare import adapt

        return adapt.prepare(request)
    try:
        with Patience():
            return _prepare(request)
    except Exception as error:
        # Any exception: what is on the disk may trigger a bug of ours as well, and nofail means that the boot goes on.
        if not request.fallback:
            raise
        reason = describe(error)
    _mount_fallback(request)
    _make_in_memory(request)
    return reason


def _prepare(request: Request) -> str:
    """Make the layers on what is mounted; "" or, where that is memory in place of a disk, why. Raises OSError."""
    mounted = fitness.find_mounted(request.mount)
    if request.fallback and mounted.fstype == "tmpfs" and _is_fallback(request):
        # The fallback unit has been here: systemd could not mount the disk.
        _make_in_memory(request)
        return f"{request.mount} could not be mounted"
    fitness.verify(mounted, request.wanted)
    labels.warn_of_one_label(mounted)
    if mounted.fstype == "tmpfs":
        _make_in_memory(request)
    else:
        from overlay_prepare.persistent import make_persistent

        with open_backing(request) as backing:
            make_persistent(request, backing)
            fitness.warn_of_projects(mounted, backing, request.where)
    return ""


def _make_in_memory(request: Request) -> None:
    with open_backing(request) as backing:
        make_layers(request, backing)


def _is_fallback(request: Request) -> bool:
    """True if the tmpfs at the backing directory is there in place of a disk, and not by the owner's own unit."""
    # Only fstab tells which type is wanted; a mount unit that nothing requires may be for a tmpfs as well.
    return request.wanted != "tmpfs" and bool(request.wanted or find_kind(fallback_mark(request.mount)))


def _mount_fallback(request: Request) -> None:
    """Mount a tmpfs in place of what is mounted, which nothing uses yet and which stays unchanged. Raises OSError."""
    # If prepare is started again, it finds out by this. Without /run there would be no tmpfs either.
    fitness.run("/bin/mkdir", "-p", fallback_mark(request.mount))
    # Not mounted on top of the disk: with a device below the tmpfs, the shutdown hangs (systemd 257).
    fitness.run("/bin/umount", request.mount)
    fitness.run("/bin/mount", "-n", "-t", "tmpfs", "-o", request.fallback, "tmpfs", request.mount)


def _leave_alone(request: Request, reason: str) -> None:
    """Report that the image's own directory stays as it is, and let the unit fail that shows it."""
    from overlay_prepare.events import NOT_OVERLAID

    text = f"{request.where} stays as the image has it: {reason}"
    tell(NOT_OVERLAID, ERROR, text, {"where": request.where, "backing": request.backing, "reason": reason})
    _mark_failed(request)
    try:
        fail(request.name, reason)
    except OSError as error:
        _tell_unwritten(request, error)


def _mark_failed(request: Request) -> None:
    """Leave the mark that keeps PID 1 from running this again for each service that needs the directory."""
    try:
        posix.close(posix.open(failure_mark(request.where), posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC, 0o644))
    except FileNotFoundError:
        pass  # this was not started by a unit of the generator
    except OSError as error:
        say(WARNING, f"{request.where} is prepared again for each service with a directory in it: {describe(error)}")


def _work_behind(request: Request, reason: str) -> None:
    """Delete what resets have put aside, and describe a new image, in a process that the boot does not wait for."""
    leave_behind(request.name, [])  # forget what an earlier run of the unit could not do
    with open_backing(request) as backing:
        trash = backing.find_kind("trash")
        identity = ""
        if request.policy == "refresh" and not reason:
            from overlay_prepare import manifest, stamp

            identity = stamp.read_previous(backing)
            if manifest.is_current(backing, identity):
                identity = ""
        if not trash and not identity:
            return
        # As its working directory, the process sees the image even when the overlay is mounted on top.
        posix.chdir(request.where)
        if posix.fork() == 0:
            try:
                # The unit's shell has raised the priority of its session and of each process in it, see render.py.
                posix.setsid()
                posix.nice(39)
                problems = []
                if trash:
                    what = "what a reset has put aside can't be deleted"
                    problems += _do_behind(request.where, what, backing, _empty_trash)
                if identity:
                    what = "the list of what the image has can't be made, and the next update will keep everything"
                    problems += _do_behind(request.where, what, backing, _describe_image)
                leave_behind(request.name, problems)
            finally:
                posix._exit(0)


def _empty_trash(backing: Folder) -> None:
    from overlay_prepare.reset import empty_trash

    empty_trash(backing)


def _describe_image(backing: Folder) -> None:
    from overlay_prepare import manifest, stamp

    manifest.write(backing, stamp.read_previous(backing))


def _do_behind(where: str, failure: str, backing: Folder, work: "Callable[[Folder], None]") -> "list[str]":
    """Do `work`. Returns the sentence that says that it failed, which is in the journal already, or nothing."""
    try:
        work(backing)
    except Exception as error:
        # Nobody waits for this process or would see a traceback. A minimal Python may also lack a module.
        text = f"{failure}: {describe(error)}"
        say(ERROR, f"{where}: {text}")
        return [text]
    return []


def _tell_read_only(request: Request) -> int:
    """Report that the overlay came up read-only; 0. Nothing is done about it: what was written can at least be read."""
    from overlay_prepare.events import READ_ONLY

    reason = f"the kernel mounted it read-only, as {request.backing}/work can't be used; see the kernel's messages"
    fields = {"where": request.where, "backing": request.backing, "reason": reason}
    tell(READ_ONLY, ERROR, f"{request.where}: {reason}", fields)
    try:
        leave(request.where, request.backing, reason, f"{request.where}: {reason}")
    except OSError as error:
        _tell_unwritten(request, error)
    return 0


def _tell_unwritten(request: Request, error: OSError) -> None:
    """Report that /run is full or the like: the journal has the reason, and what reads files there does not."""
    say(WARNING, f"{request.where}: overlayctl status does not learn how this went: {describe(error)}")
