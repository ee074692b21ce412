# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A whole run at boot on one screen: PID 1 calls, units come out (systemd.generator(7)).

Import discipline: the modules of this path import `posix`, `_signal` and each other, nothing else, and what a
boot without the flag doesn't need is imported inside functions. PID 1 waits for us at each boot and reload.
"""

import posix

from overlay_generator import gather

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from overlay_generator.model import Plan, Problem, UnitFile, UnitLink

# PID 1 gives all generators together 90 s, and freezes if they take longer (systemd 253 and later). With a shorter
# limit, a starved machine that took more than 10 s for what takes 0.1 s here was left with a read-only /var.
TIME_LIMIT = 40


def run(argv: "list[str]") -> None:
    """main() as the whole life of a process. Does not return."""
    # Not sys.exit(): the interpreter's teardown takes a quarter of the time of its start, and nothing is buffered.
    posix._exit(main(argv))


def main(argv: "list[str]") -> int:
    """The exit status: 0, or 1 with at least one line in the log. Raises nothing."""
    try:
        if len(argv) == 2:
            return generate("", gather.read_environ(), {"normal": argv[1], "early": argv[1], "late": argv[1]})
        if len(argv) == 4:
            return generate("", gather.read_environ(), {"normal": argv[1], "early": argv[2], "late": argv[3]})
        return fail(f"takes one directory or three, not {len(argv) - 1}; see overlay-generator --help")
    except BaseException as error:
        # Nobody would see a traceback, and dying by a signal takes the other generators along (systemd 254).
        return fail_by(error)


def generate(root: str, environ: "Mapping[str, str]", directories: "Mapping[str, str]") -> int:
    """Write the units for the machine at `root` into `directories`; the exit status. Raises OSError."""
    _guard()
    plan = make_plan(root, environ)
    if plan is None:
        return 0
    from overlay_generator.write import write

    yielding = [mount.where for mount in plan.mounts if mount.yields]
    told: list[str] = []
    if yielding and not root:
        from overlay_generator.siblings import wait

        doubt = wait(gather.read_file)
        if doubt:
            at = ", ".join(yielding)
            told.append(f"another generator may provide {at} as well: {doubt}; the first to write the unit has it")
    left: list[Problem] = []
    problems = write(make_files(plan), directories, yielding, left)
    _log_notices([*told, *map(str, left)])
    # Reported once: what a unit reports with fields does not go to the kernel log, too. But errors do: in an emergency
    # shell, before that unit has run, nothing else can be read.
    return report(plan, told=not root and not problems) | _log_problems(problems)


def make_plan(root: str, environ: "Mapping[str, str]") -> "Plan | None":
    """The plan for the machine at `root`, None where nothing asks for one. Raises OSError."""
    text, source = gather.read_command_line(root, environ)
    # Nearly every boot of a machine without the flag ends here. Quotes may stand anywhere in a word.
    if "overlayfs." not in text.replace('"', "").replace("'", ""):
        return None
    from overlay_generator.cmdline import read_request, split_words
    from overlay_generator.decide import decide

    settings, wrong = gather.read_configuration(root)
    request = read_request(split_words(text), source, tuple(settings))
    # A faulty configuration is nobody's concern on a boot that asks for nothing.
    request.problems += tuple(wrong) if request.mounts else ()
    return decide(gather.gather(root, environ, request, settings))


def make_files(plan: "Plan") -> "list[UnitFile | UnitLink]":
    """All units of `plan`."""
    from overlay_generator.render import render

    files = render(plan)
    if plan.softened:
        from overlay_generator.requirers import render_softened

        files += render_softened(plan.softened)
    if plan.skipped or any(mount.backing.lost or not mount.backing.volatile for mount in plan.mounts):
        from overlay_generator.failure import render_failures

        files += render_failures(plan)
    unmet = any(skipped.level == "error" for skipped in plan.skipped)
    if unmet or plan.storage or any(mount.backing.lost for mount in plan.mounts):
        from overlay_generator.events import render_events

        files += render_events(plan)
    return files


def report(plan: "Plan", told: bool = False) -> int:
    """Log what was wrong in `plan` and what is left alone; 1 if something was wrong, else 0. What events.py has a unit
    tell is left out if that is `told`, but for errors.
    """
    status = _log_problems(plan.problems)
    loud = [skipped for skipped in plan.skipped if skipped.level != "quiet"]
    storage = () if told else plan.storage
    if not loud and not plan.hints and not storage:
        return status
    from overlay_generator.log import ERROR, NOTICE, WARNING, log

    for one in storage:
        log(WARNING if one.storage.fails else NOTICE, str(one))
    for hint in plan.hints:
        log(NOTICE, hint)
    for skipped in loud:
        log(ERROR if skipped.level == "error" else NOTICE, str(skipped))
    return int(status or any(skipped.level == "error" for skipped in loud))


def fail(text: str) -> int:
    """Log `text` as an error; 1, the exit status that goes with it."""
    from overlay_generator.log import ERROR, log

    log(ERROR, text)
    return 1


def fail_by(error: BaseException) -> int:
    """Log an error that nobody expected; 1, the exit status that goes with it."""
    return fail(f"{type(error).__name__}: {error}; what is not named above was not done")


class Stopped(BaseException):
    """A signal ended the run. Not an Exception: no step may take it for a fault of its own."""


def _guard() -> None:
    """Turn signals that would kill us into an exception: half-written units are removed, other generators live on."""
    # The built-in half of the module signal, loaded in every interpreter; signal itself imports enum (3 ms).
    import _signal  # type: ignore[import-not-found]

    def stop(number: int, _frame: object) -> None:
        raise Stopped(f"not done after {TIME_LIMIT} s" if number == _signal.SIGALRM else f"signal {number}")

    for number in (_signal.SIGALRM, _signal.SIGTERM, _signal.SIGINT):
        _signal.signal(number, stop)
    _signal.alarm(TIME_LIMIT)


def _log_notices(texts: "Sequence[str]") -> None:
    """Log what another generator mounts, or may mount, as a notice: that is nobody's fault."""
    if texts:
        from overlay_generator.log import NOTICE, log

        for text in texts:
            log(NOTICE, text)


def _log_problems(problems: "Sequence[Problem]") -> int:
    if not problems:
        return 0
    from overlay_generator.log import ERROR, log

    for problem in problems:
        log(ERROR, str(problem))
    return 1
