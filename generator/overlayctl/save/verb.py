# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verb save: all that the generator reads, as a case of this project's tests, in a tar for a bug report."""

import io
import os
import subprocess
import tarfile
import tempfile
from typing import TYPE_CHECKING

from overlay_generator import __version__, boot
from overlay_generator.dryrun import show
from overlayctl.errors import Failure
from overlayctl.given import require_directory
from overlayctl.outfile import OutFile, standard_output, whole
from overlayctl.output import printable
from overlayctl.save import casedir, record, replay
from overlayctl.status import machine

if TYPE_CHECKING:
    import argparse

    from overlay_generator.model import Plan

VERB = "save"
HELP = "pack what the generator reads, for a bug report"
DESCRIPTION = """\
Pack all that the generator reads of this machine, or of the tree of an image, into a tar: the kernel command line,
fstab, configuration, mounts, unit files that concern it. Passwords are made unreadable, and what is in the tar is
listed: look at it before you send it. It is a directory as in tests/cases of the project, and becomes a test there.
"""
EXAMPLES = """\
examples:
  overlayctl save report.tar.gz
  overlayctl save --root build/target --cmdline 'quiet overlayfs.mounts=/var' --note 'no /var' report.tar

exit status: 0 done, 3 it could not be done
"""

_NAME = "saved"


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """The command line of the verb."""
    parser.add_argument("file", metavar="FILE", help="the tar to write, with gzip if it ends in gz; - for stdout")
    parser.add_argument("--root", metavar="DIR", help="the tree of an image (default: this machine)")
    parser.add_argument("--cmdline", metavar="WORDS", help="the kernel command line, in place of the one there")
    parser.add_argument("--note", metavar="TEXT", default="", help="a line on what is wrong")


def run(options: "argparse.Namespace") -> int:
    """The exit status. Raises Failure."""
    root = os.path.abspath(options.root) if options.root else ""
    if options.root:
        require_directory(root, f"--root {options.root}")
    root = "" if root == "/" else root
    environ = machine.read_environ(root)
    if options.cmdline is not None:
        environ["SYSTEMD_PROC_CMDLINE"] = options.cmdline
    with tempfile.TemporaryDirectory(prefix="overlayctl-") as scratch:
        case = casedir.Case(root, f"{scratch}/{_NAME}")
        warning = _fill(case, root, environ, options.note)
        names = _list(case.top)
        try:
            _pack(options.file, case.top)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failure(f"{options.file}: {error.strerror}") from error
    if options.file != "-":
        for name in names:
            mark = " (secrets in it were made unreadable)" if _is_blotted(name, case.blotted) else ""
            options.output.write(f"{printable(name)}{mark}\n")
    if warning:
        options.output.write(f"warning: {warning}\n") if options.file != "-" else None
    return 0


def _fill(case: casedir.Case, root: str, environ: "dict[str, str]", note: str) -> str:
    """Collect everything in `case`; a warning if it does not say what the machine does. Raises Failure."""
    try:
        plan, read = record.make_plan(root, environ)
    except OSError as error:
        hint = "; give it with --cmdline" if str(error.filename).endswith("cmdline") else ""
        raise Failure(f"{error.filename}: {error.strerror}{hint}") from error
    try:
        case.add(read, environ.get("SYSTEMD_PROC_CMDLINE"))
        case.finish()
        saved = {key: value for key, value in environ.items() if key != "container"}
        if "/proc/1/cmdline" in read.opened:
            saved.setdefault("SYSTEMD_VIRTUALIZATION", "container:other")
        if saved:
            case.write("env", "".join(f"{key}={value}\n" for key, value in sorted(saved.items()) if "\n" not in value))
        text = " ".join(note.split()) or f"Saved by overlayctl {__version__}, kernel {os.uname().release}."
        case.write("README", f"{text}\n")
        tree = f"{os.path.dirname(case.top)}/tree"
        noted = replay.build(case.top, tree)
        blotted = {key: casedir.blot(value.encode())[0].decode() for key, value in saved.items()}
        expected = replay.run_generator(tree, blotted, noted)
    except OSError as error:
        raise Failure(f"it could not be collected ({error.filename}: {error.strerror})") from error
    except (ValueError, subprocess.TimeoutExpired) as error:
        raise Failure(f"it could not be collected ({error})") from error
    case.write("expected", expected)
    return (
        "" if _is_same(plan, expected) else "what was saved gives other units than this machine: say so in the report"
    )


def _is_same(plan: "Plan | None", expected: str) -> bool:
    """True if every unit of `plan` is in `expected`, whatever directory the package is in."""
    for file in boot.make_files(plan) if plan else ():
        text = show([file]).replace(plan.library, "/usr/lib/overlay-generator") if plan else ""
        head, _, body = text.partition("\n")
        if head not in expected or body.strip("\n") not in casedir.blot(expected.encode())[0].decode():
            return False
    return True


def _is_blotted(name: str, blotted: "list[str]") -> bool:
    inside = name.partition("/")[2]
    return inside in blotted or (inside.startswith("root/") and inside[4:] in blotted)


def _list(top: str) -> "list[str]":
    names = []
    for folder, _folders, files in os.walk(top):
        names += [os.path.relpath(f"{folder}/{name}", os.path.dirname(top)) for name in files]
    return sorted(names)


def _pack(path: str, top: str) -> None:
    if path == "-":
        with standard_output() as out:
            _write(out, top, "")
        return
    with whole(path) as out:
        _write(out, top, "gz" if path.endswith(("gz", "z")) else "")


def _write(out: OutFile, top: str, compression: str) -> None:
    packed = io.BytesIO()  # small; if it can't be written, closing a tarfile would end in a traceback
    with tarfile.open(fileobj=packed, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        archive.add(top, _NAME, filter=_make_plain)
    out.write(packed.getvalue())


def _make_plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """`entry` without what matters to nobody: who saved it, and when."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry
