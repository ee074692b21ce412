"""Prepares the layers of a persistent overlay, at each boot: run by prepare-NAME-overlay.service before the mount.

The steps stand in prepare(). What can't be prepared leaves the image's directory as it is, or, where the owner of the
image said nofail, gets an upper layer in memory; either is said, and neither stops the boot.
"""

import posix
import sys

from overlay_generator import base, stamp
from overlay_generator.files import make_directory, write_whole
from overlay_generator.upper import make_upper

_STATE = "/run/overlay-generator"
_MESSAGES = "/run/motd.d"


class Request:
    """The arguments: what to prepare where. `wanted` is fstab's type, `fallback` the options of a tmpfs or ""."""

    def __init__(
        self, where: str, backing: str, mount: str, wanted: str = "", fallback: str = "", reset: bool = False
    ) -> None:
        self.where = where
        self.backing = backing
        self.mount = mount
        self.wanted = wanted
        self.fallback = fallback
        self.reset = reset


def run(argv: "list[str]") -> None:
    """main() as the whole life of a process, without the interpreter's teardown. Does not return."""
    posix._exit(main(argv))


def main(argv: "list[str]") -> int:
    """The exit status, 0 or 1, of `prepare --mount=POINT [--type=TYPE] [--fallback=OPTIONS] [--reset=yes] DIRECTORY
    BACKING`.
    """
    try:
        options = dict(word[2:].split("=", 1) for word in argv[1:-2])
        request = Request(
            argv[-2],
            argv[-1],
            options["mount"],
            options.get("type", ""),
            options.get("fallback", ""),
            options.get("reset") == "yes",
        )
    except (ValueError, KeyError, IndexError):
        _say(3, "prepare: wrong arguments; it is run by its unit alone")
        return 1
    try:
        reason = prepare(request)
    except Exception as error:
        _say(3, f"{request.where} stays as the image has it: {_describe(error)}")
        return 1
    try:
        _note(request, reason)
        _empty_trash(request)
    except OSError as error:
        _say(4, f"{request.where}: {_describe(error)}")
    return 0


def prepare(request: Request) -> str:
    """Make everything but the bind of lower; "" if that went as asked, else why the upper layer is lost.

    Raises base.Unusable or OSError where the owner of the image wants no fallback.
    """
    try:
        mounted = base.find_mounted(request.mount)
        if request.fallback and mounted.fstype == "tmpfs" and request.wanted != "tmpfs":
            # The fallback unit has been here: systemd could not mount the disk.
            make_directory(request.backing, 0o700)
            _make_layers(request)
            return f"{request.mount} could not be mounted"
        base.verify(mounted, request.wanted)
        # A directory on the disk, where that is mounted above it for several.
        make_directory(request.backing, 0o700)
        if mounted.fstype == "tmpfs":
            _make_layers(request)
        else:
            _make_persistent(request)
        return ""
    except (base.Unusable, OSError) as error:
        if not request.fallback:
            raise
        reason = _describe(error)
    _mount_fallback(request)
    make_directory(request.backing, 0o700)
    _make_layers(request)
    return reason


def _make_layers(request: Request) -> None:
    for name in ("lower", "work"):
        make_directory(f"{request.backing}/{name}", 0o700)
    for warning in make_upper(request.where, request.backing):
        _say(4, warning)


def _make_persistent(request: Request) -> None:
    """Make the layers, and the upper one fit for the image below, if that is another one than at the last boot."""
    identity = stamp.identify(request.where)
    if request.reset:
        _reset_once(request)
    if stamp.is_current(request.backing, identity):
        _make_layers(request)
        return
    base.probe(request.backing)
    _make_layers(request)
    _follow_image(request, identity)


def _follow_image(request: Request, identity: str) -> None:
    """Take out of the upper layer what belongs to another image than that of `identity`."""
    from overlay_generator.normalise import normalise

    # In this order, so that a power cut at any moment leaves a stamp of no image or the work done.
    stamp.mark_changing(request.backing)
    count = normalise(f"{request.backing}/upper", f"{request.backing}/work")
    posix.sync()
    stamp.write(request.backing, identity)
    if count:
        _say(5, f"{request.where}: another image; {count} references to the old one were taken out of the upper layer")


def _reset_once(request: Request) -> None:
    """Put the upper layer aside, once in a boot: the unit may run again, and must not drop what was written since."""
    from overlay_generator.reset import reset

    done = f"{_STATE}/{request.backing.rpartition('/')[2]}.reset"
    try:
        posix.stat(done)
        return
    except FileNotFoundError:
        pass
    if reset(request.backing):
        _say(5, f"{request.where}: reset as asked on the kernel command line; the upper layer is empty")
    _write(_STATE, done.rpartition("/")[2], "")


def _mount_fallback(request: Request) -> None:
    """Put a tmpfs in the place of what is mounted; nothing uses that yet, and it is not touched. Raises OSError."""
    # Not on top of it: with a device below the tmpfs, the shutdown hangs (systemd 257).
    _run("/bin/umount", request.mount)
    _run("/bin/mount", "-n", "-t", "tmpfs", "-o", request.fallback, "tmpfs", request.mount)


def _run(*command: str) -> None:
    """Run `command`, named by its path. Raises OSError if it fails."""
    pid = posix.posix_spawn(command[0], command, posix.environ)
    if posix.waitpid(pid, 0)[1]:
        raise OSError(0, f"{command[0]} failed", command[-1])


def _empty_trash(request: Request) -> None:
    """Delete what resets have put aside, in a process of its own that the boot does not wait for."""
    from overlay_generator.reset import TRASH

    try:
        posix.stat(f"{request.backing}/{TRASH}")
    except FileNotFoundError:
        return
    if posix.fork() == 0:
        from overlay_generator.reset import empty_trash

        try:
            posix.nice(19)
            empty_trash(request.backing)
        finally:
            posix._exit(0)


def _note(request: Request, reason: str) -> None:
    """Leave word of how it went where people and programs look: the journal, a file, the message at login."""
    if reason:
        text = f"{request.where}: NOT persistent: {reason}; all that is written is lost at the next boot"
        _say(4, text)
    name = request.backing.rpartition("/")[2]
    fields = {"where": request.where, "backing": request.backing, "fallen_back": reason}
    body = ", ".join(f"{_quote(key)}: {_quote(value)}" for key, value in fields.items())
    _write(_STATE, f"{name}.json", f"{{{body}}}\n")
    if reason:
        _write(_MESSAGES, f"overlay-generator-{name}", f"WARNING: {text}\n")


def _write(directory: str, name: str, text: str) -> None:
    make_directory(directory, 0o755)
    write_whole(f"{directory}/{name}", text, 0o644)


def _quote(text: str) -> str:
    """`text` as a JSON string; the module json costs as much as the interpreter's start."""
    escaped = ("\\" + c if c in '"\\' else c if c.isprintable() else f"\\u{ord(c) & 0xFFFF:04x}" for c in text)
    return f'"{"".join(escaped)}"'


def _describe(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return str(error) if isinstance(error, base.Unusable) else f"{type(error).__name__}: {error}"


def _say(level: int, text: str) -> None:
    # The prefix is sd-daemon(3)'s.
    sys.stderr.write(f"<{level}>{text}\n")
