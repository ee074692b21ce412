# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The frame around the verbs: finds the one asked for, loads only that, and turns its result into an exit status."""

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from overlay_generator import __version__
from overlayctl.errors import FAILED, Failure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from types import ModuleType

    from overlayctl.output import Output

# Each with the same text as its module's HELP: loading all of them for a list takes too long.
VERBS = {
    "status": "show what the overlays are doing, and whether that is what was asked for",
    "metrics": "write the status as numbers, for Prometheus and the like",
    "diff": "show what has been changed against the image",
    "preview": "show what an update of the image will do, before it is made",
    "restore": "give files of the image back at the next boot",
    "reset": "empty upper layers at the next boot",
    "commit": "keep the data written since an update for good",
    "rollback": "show what would go back with the image before an update",
    "export": "write the changes into a tar for the next build of the image",
    "check": "look for mistakes in a machine or in the tree of an image",
    "render": "write static units for an image without Python",
    "save": "pack what the generator reads, for a bug report",
}
# A verb is the module `verb` in the folder of its name, except for those that share one.
_MODULES = {verb: f"overlayctl.stage.{verb}" for verb in ("restore", "reset", "commit", "rollback")}
PAGED = ("diff", "preview", "check")

_SIGNALLED = 128  # and the number of the signal, as shells have it
_INTERRUPTED = 130
_PIPE_CLOSED = 141
_TRUE = ("1", "yes", "true", "on")

_EXAMPLES = """\
examples:
  overlayctl status
      is /var writable, does it persist, how full is it
  overlayctl diff /var/lib
      what was changed there
  overlayctl restore /var/lib/app.conf
      the image's version again, from the next boot on
  overlayctl check --root build/target
      an image's tree, before it is flashed

See overlayctl VERB --help for the rest. Exit status 3: it could not be done, and a line says why.
"""


class Ended(BaseException):
    """A signal ends the process; `args[0]` is its number."""


def run() -> NoReturn:
    """main() as the whole life of a process."""
    import signal

    def end(number: int, _frame: object) -> None:
        for other in ends:
            signal.signal(other, signal.SIG_IGN)
        raise Ended(number)

    closed = _hold_standard_files()
    # As an exception, like Ctrl-C: what is half written goes. What is ignored, as by nohup(1), stays so.
    ends = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in ends:
        signal.signal(number, end)
    if closed:
        sys.stderr.write("overlayctl: standard output is closed\n")
        sys.exit(FAILED)
    sys.exit(main(sys.argv[1:]))


def _hold_standard_files() -> bool:
    """Let the first three descriptors be something, lest a file that is opened later be one of them; True if standard
    output was closed.
    """
    closed = sys.stdout is None
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")
    return closed


def main(words: "Sequence[str]") -> int:
    """The exit status of the command `words`. Raises nothing."""
    output: list[Output] = []
    try:
        status = _carry_out(words, output)
        for opened in output:
            opened.close()
        return status
    except SystemExit as error:  # --help, --version and wrong usage
        return error.code if isinstance(error.code, int) else FAILED
    except BrokenPipeError:
        _forget_output()
        return _PIPE_CLOSED
    except BaseException as error:
        return _fail(error, output)


def load(verb: str) -> "ModuleType":
    """The module of `verb`. Raises Failure if this installation does not have it."""
    from importlib import import_module

    name = _MODULES.get(verb, f"overlayctl.{verb}.verb")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise Failure(f"{verb} is not part of this installation") from error


def build_parser(verb: str = "") -> "argparse.ArgumentParser":
    """The parser of `verb`, or the one that lists all verbs. Raises Failure."""
    from overlayctl.parser import make_parser

    if verb:
        module = load(verb)
        parser = make_parser(f"overlayctl {verb}", module.DESCRIPTION, module.EXAMPLES)
        module.add_arguments(parser)
        return parser
    parser = make_parser("overlayctl", "Show, check and undo what the overlays of overlay-generator hold.", _EXAMPLES)
    parser.usage = "overlayctl [--color WHEN] [--no-pager] VERB [ARGUMENT...]"
    parser.add_argument("--version", action="version", version=f"overlayctl {__version__}")
    verbs = parser.add_argument_group("verbs")
    for name, text in VERBS.items():
        # Not subparsers: those would load every verb.
        verbs.add_argument(name, nargs="?", help=text)
    return parser


def _carry_out(words: "Sequence[str]", output: "list[Output]") -> int:
    before, verb, after = _split(words)
    if verb not in VERBS:
        parser = build_parser()
        if not verb:
            parser.parse_args(before)  # --help and --version end here
            parser.error("give a verb")
        parser.error(f'"{verb}" is not a verb{_suggest(verb)}')
    # Paths may stand before options and after them.
    options = build_parser(verb).parse_intermixed_args([*before, *after])
    module = load(verb)

    from overlayctl.output import Output

    options.output = Output(options.color, pager=verb in PAGED and not options.no_pager)
    output.append(options.output)
    return int(module.run(options))


def _split(words: "Sequence[str]") -> "tuple[list[str], str, list[str]]":
    """The options before the verb, the verb ("" without one), and what comes after it."""
    position = 0
    while position < len(words) and words[position].startswith("-"):
        position += 2 if words[position] == "--color" else 1
    verb = words[position] if position < len(words) else ""
    return list(words[:position]), verb, list(words[position + 1 :])


def _suggest(verb: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(verb, VERBS, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(VERBS)}"


def _fail(error: BaseException, output: "list[Output]") -> int:
    """Report `error` to a person, after what was written before it; the exit status."""
    if os.environ.get("OVERLAYCTL_DEBUG", "").lower() in _TRUE:
        import traceback

        traceback.print_exception(type(error), error, error.__traceback__)
    for opened in output:
        try:
            opened.close()
        except OSError:
            _forget_output()
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    if isinstance(error, Ended):
        return _SIGNALLED + int(error.args[0])
    _say(_describe(error))
    return FAILED


def _describe(error: BaseException) -> str:
    if isinstance(error, Failure):
        return str(error)
    if isinstance(error, OSError):
        # Layers are read by names that are bytes.
        name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
        if isinstance(error, PermissionError) and os.geteuid() != 0:
            return f"{name or 'this'}: {error.strerror}; try it as root"
        return f"{name}: {error.strerror}" if name else str(error.strerror or error)
    if isinstance(error, ModuleNotFoundError):
        return f"Python's module {error.name} is missing here; python3-minimal is not enough, install python3"
    if isinstance(error, MemoryError):
        return "there is not enough memory for this"
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"a bug of overlayctl: {what}; please report it with what OVERLAYCTL_DEBUG=1 shows and `overlayctl save`"


def _say(text: str) -> None:
    from overlayctl.output import printable

    try:
        sys.stderr.write(f"overlayctl: {printable(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody could read it


def _forget_output() -> None:
    """Let the interpreter's own last flush go nowhere: it would complain about the closed pipe."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
