# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reports what prepare has to say: to the journal, in a file for programs, and in the message at login."""

import posix
import sys

from overlay_prepare.files import make_directory, remove_file, write_whole
from overlay_prepare.patience import Late

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ERROR, WARNING, NOTICE = 3, 4, 5

STATE = "/run/overlay-generator"
BEHIND = "behind"  # NAME.behind: what the background process, which no boot waits for, could not do
_MESSAGES = "/run/motd.d"


class Unusable(Exception):
    """The file system can't hold an upper layer; the text says why, and what to do."""


class Refused(Exception):
    """An overlay would be of no use, wherever its upper layer is; the text says why, and what to do."""


def say(level: int, text: str) -> None:
    """Write one line for the journal and the console, with the prefix of sd-daemon(3); without journald, for the kernel
    log. If it can't be written it is lost: nothing of a boot may depend on it.
    """
    from overlay_generator.log import is_null, log

    # systemd gives /dev/null to a service whose stderr journald does not take (247 to 262).
    if is_null(2):
        log(level, text)
        return
    try:
        sys.stderr.write(f"<{level}>{_flatten(text)}\n")
    except OSError:
        pass  # there is nobody left to tell


def tell(event: str, level: int, text: str, fields: "dict[str, str]", console: bool = True) -> None:
    """say() for what is worth an alert: `event` is one of events.py, `fields` become OVERLAY_NAME= in the journal.

    In a unit this is one entry of the journal, and a line on the `console`, as for stderr; elsewhere it is a line.
    """
    from overlay_prepare.journal import send, show

    text = _flatten(text)
    if not send(event, level, text, fields):
        say(level, text)
    elif console:
        show(text)


def note(where: str, backing: str, reason: str) -> None:
    """Report how it went; `reason` says why nothing written is kept, "" if all went well. Raises OSError."""
    text = f"{where}: NOT persistent: {reason}; all that is written is lost at the next boot"
    if reason:
        from overlay_prepare.events import FELL_BACK

        tell(FELL_BACK, WARNING, text, {"where": where, "backing": backing, "reason": reason})
    leave(where, backing, reason, text)


def leave(where: str, backing: str, reason: str, text: str) -> None:
    """Write the file for programs, and `text` as the message at login where there is a `reason`.

    Each is tried, whatever became of the others. Raises the first OSError.
    """
    name = backing.rpartition("/")[2]
    fields = {"where": where, "backing": backing, "fallen_back": reason}
    body = ", ".join(f"{_quote(key)}: {_quote(value)}" for key, value in fields.items())
    motd = f"overlay-generator-{name}"
    acts: list[Callable[[], None]]
    if reason:
        acts = [lambda: fail(name, reason), lambda: write(_MESSAGES, motd, f"WARNING: {_flatten(text)}\n")]
    else:
        # From before a soft reboot.
        acts = [lambda: remove_file(f"{STATE}/{name}.failed"), lambda: remove_file(f"{_MESSAGES}/{motd}")]
    acts.append(lambda: write(STATE, f"{name}.json", f"{{{body}}}\n"))
    errors = []
    for act in acts:
        try:
            act()
        except OSError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def fail(name: str, reason: str) -> None:
    """Write what overlay-not-persistent@NAME.service of the generator fails by: its status text. Raises OSError."""
    try:
        write(STATE, f"{name}.failed", _flatten(" ".join(reason.split())) + "\n")
    except OSError:
        # The unit fails by an empty file as well, and a full /run (a tmpfs) may have room for one.
        path = f"{STATE}/{name}.failed"
        posix.close(posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NOFOLLOW, 0o644))
        raise


def leave_behind(name: str, problems: "list[str]") -> None:
    """Write what the background process could not do, a line for each; no file if there is nothing. Raises OSError."""
    if problems:
        write(STATE, f"{name}.{BEHIND}", "".join(f"{_flatten(problem)}\n" for problem in problems))
    else:
        remove_file(f"{STATE}/{name}.{BEHIND}")


def write(directory: str, name: str, text: str) -> None:
    """Write `text` to a file that everybody may read, in `directory`, made if it is missing. Raises OSError."""
    make_directory(directory, 0o755)
    write_whole(f"{directory}/{name}", text, 0o644)


def _flatten(text: str) -> str:
    """`text` without control characters: names and lines from a disk get to terminals."""
    if text.isascii() and text.isprintable():
        return text
    from overlay_generator.log import flatten

    return flatten(text)


def spell_count(count: int, one: str, many: str) -> str:
    """`count` and `one` or `many`, whichever fits."""
    return f"{count} {one if count == 1 else many}"


def _quote(text: str) -> str:
    """`text` as a JSON string; the module json costs as much as the interpreter's start."""
    escaped = ("\\" + c if c in '"\\' else c if c.isprintable() or c > "\uffff" else f"\\u{ord(c):04x}" for c in text)
    return f'"{"".join(escaped)}"'


def describe(error: Exception) -> str:
    """`error` as a sentence for a person; one that nobody expected has its type before it."""
    if isinstance(error, OSError):
        # The number of a descriptor says nothing to a person.
        known = error.filename and not isinstance(error.filename, int)
        return f"{error.filename}: {error.strerror}" if known else str(error.strerror)
    return str(error) if isinstance(error, (Unusable, Refused, Late)) else f"{type(error).__name__}: {error}"
