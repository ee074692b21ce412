# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlay-generator run by a person: shows what it would write, for this machine or an image's tree. Never at boot."""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from typing import NoReturn

from overlay_generator import __version__, boot
from overlay_generator.model import UnitFile, UnitLink

_EXAMPLES = """\
examples:
  overlay-generator --print
      what the next daemon-reload of this machine would get
  overlay-generator --root build/target --cmdline overlayfs.mounts=/var --print
      what an image would boot with
  overlay-generator --root build/target --cmdline overlayfs.mounts=/var /tmp/out
      the same as files, all in one directory

exit status: 0 nothing wrong, 1 something was wrong (see stderr), 2 wrong usage
"""

# Of the caller's environment only what systemd's own tools take as overrides: whether this shell runs in a
# container says nothing about an image.
_OVERRIDES = (
    "SYSTEMD_PROC_CMDLINE", "SYSTEMD_FSTAB", "SYSTEMD_IN_INITRD", "SYSTEMD_SCOPE", "SYSTEMD_VIRTUALIZATION",
    "CREDENTIALS_DIRECTORY", "ENCRYPTED_CREDENTIALS_DIRECTORY",
)  # fmt: skip


def main(arguments: "Sequence[str]") -> int:
    """The exit status: 0, or 1 if something was wrong. Raises SystemExit (2) for wrong usage."""
    options = _parse(arguments)
    root = os.path.abspath(options.root) if options.root else ""
    root = "" if root == "/" else root
    environ = {key: os.environ[key] for key in _OVERRIDES if key in os.environ} if root else dict(os.environ)
    if options.cmdline is not None:
        environ["SYSTEMD_PROC_CMDLINE"] = options.cmdline
    try:
        if options.print:
            status = _print_plan(root, environ)
            sys.stdout.flush()
            return status
        places = options.directory if len(options.directory) == 3 else options.directory * 3
        return boot.generate(root, environ, dict(zip(("normal", "early", "late"), places)))
    except BrokenPipeError:
        return 1  # the reader has closed the pipe
    except OSError as error:
        hint = "; give it with --cmdline" if str(error.filename).endswith("/proc/cmdline") else ""
        return boot.fail(f"{error.filename}: {error.strerror}{hint}")


def show(files: "Iterable[UnitFile | UnitLink]") -> str:
    """All of `files` as one text for a person, the units each below a line with its name."""
    return "".join(
        f"==> {file.directory}/{file.path} -> {file.target}\n"
        if isinstance(file, UnitLink)
        else f"==> {file.directory}/{file.path} <==\n{file.text}\n"
        for file in files
    )


def _print_plan(root: str, environ: "dict[str, str]") -> int:
    plan = boot.make_plan(root, environ)
    if plan is None:
        print("# Nothing asked for: overlayfs.mounts is not on the kernel command line.")
        return 0
    print(show(boot.make_files(plan)), end="")
    for skipped in plan.skipped:
        if skipped.level == "quiet":
            print(f"# {skipped}")
    return boot.report(plan)


def _parse(arguments: "Sequence[str]") -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="overlay-generator",
        usage="overlay-generator [--root DIR] [--cmdline WORDS] (--print | NORMAL [EARLY LATE])",
        description="Show or write the units that make directories of a read-only image writable.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", metavar="DIR", help="the tree to look at (default: this machine)")
    parser.add_argument("--cmdline", metavar="WORDS", help="the kernel command line (default: /proc/cmdline there)")
    parser.add_argument("--print", action="store_true", help="print the units and write nothing")
    parser.add_argument("--version", action="version", version=f"overlay-generator {__version__}")
    parser.add_argument("directory", nargs="*", help="the directories to write to, as in systemd.generator(7)")
    options = parser.parse_args(arguments)
    if options.print == bool(options.directory):
        parser.error("give either --print or the directories to write to")
    if len(options.directory) not in (0, 1, 3):
        parser.error("give one directory or three")
    if options.root and not os.path.isdir(options.root):
        parser.error(f"--root {options.root}: not a directory")
    return options


def run(argv: "Sequence[str] | None" = None) -> NoReturn:
    """main() as the whole life of a process, started by the trampoline or as the command that pip installs.

    Raises SystemExit for --help and wrong usage.
    """
    try:
        status = main((argv or sys.argv)[1:])
    except SystemExit:
        raise
    except BaseException as error:
        status = boot.fail_by(error)
    # Not sys.exit(): flushing, the interpreter would complain once more about a reader that has gone away.
    os._exit(status)


if __name__ == "__main__":
    run()
