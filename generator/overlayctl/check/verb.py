# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The verb check: mistakes in a machine or in the tree of an image, each with its place and what to do."""

import os
from typing import TYPE_CHECKING

from overlay_generator import boot
from overlay_generator.cmdline import read_request, split_words
from overlay_generator.gather import read_entries
from overlay_generator.model import FstabEntry, Plan
from overlayctl.check import acls as checkacls
from overlayctl.check import cmdline as checkcmdline
from overlayctl.check import fstab as checkfstab
from overlayctl.check import hardening as checkhardening
from overlayctl.check import kernel as checkkernel
from overlayctl.check import python as checkpython
from overlayctl.check import system as checksystem
from overlayctl.check import units as checkunits
from overlayctl.check.finding import ERROR, LEVELS, NOTE, WARNING, Finding, make
from overlayctl.check.image import Image
from overlayctl.errors import Failure
from overlayctl.given import require_directory
from overlayctl.output import printable
from overlayctl.status.machine import read_environ
from overlayctl.status.space import spell_size

if TYPE_CHECKING:
    import argparse

    from overlayctl.output import Output

VERB = "check"
HELP = "look for mistakes in a machine or in the tree of an image"
DESCRIPTION = """\
Look for what would keep a directory from being writable at boot, lose data, or cost time: in this machine, or in the
tree of an image before it is flashed. No root is needed. Every finding has its place and says what to do.
"""
EXAMPLES = """\
examples:
  overlayctl check
  overlayctl check --root build/target --kernel build/linux/.config --cmdline 'quiet overlayfs.mounts=/var'
  sudo overlayctl check --hardening
      also mount flags, and setuid programs and the like in the upper layers
  overlayctl check --root build/target --json | jq -r '.findings[].rule'

exit status: 0 nothing found (notes don't count), 1 something was found, 3 it could not be checked
"""

_ASSUMED = "overlayfs.mounts"
_COLOURS = {ERROR: "red", WARNING: "yellow", NOTE: "cyan"}
_ORDER = LEVELS
# The version of packaging/schemas/check.json: it goes up when a name is removed or gets another meaning.
_SCHEMA = 1


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """The command line of the verb."""
    parser.add_argument("--root", metavar="DIR", help="the tree of an image (default: this machine)")
    parser.add_argument("--kernel", metavar="CONFIG", help="the kernel's configuration, plain or gzipped")
    parser.add_argument("--cmdline", metavar="WORDS", help="the kernel command line that the image will be booted with")
    parser.add_argument(
        "--hardening", action="store_true", help="also what a stranger with the disk could make of it; as root"
    )
    parser.add_argument("--json", action="store_true", help="everything as one JSON object, see overlayctl(1)")


def run(options: "argparse.Namespace") -> int:
    """The exit status. Raises Failure."""
    root = ""
    if options.root is not None:
        require_directory(options.root, f"--root {options.root}")
        root = os.path.abspath(options.root)
        root = "" if root == "/" else root
    findings = sort(find(Image(root), options.cmdline, options.kernel, options.hardening))
    if options.json:
        options.output.write(_spell_json(findings))
    else:
        options.output.write(_spell_text(findings, options.output))
    return int(any(finding.level != NOTE for finding in findings))


def find(
    image: Image, cmdline: "str | None" = None, kernel: "str | None" = None, hardening: bool = False
) -> "list[Finding]":
    """All findings for `image`. Raises Failure."""
    lines = checkcmdline.find(image, cmdline)
    findings = checkcmdline.check(lines)
    chosen = checkcmdline.choose(lines)
    text = chosen.text if chosen else ""
    asked = bool(read_request(split_words(text), "").mounts)
    if chosen is None:
        findings.append(make("cmdline-unknown"))
    elif not asked and not findings:
        findings.append(make("no-flag", chosen.source, chosen.line))
    environ = read_environ(image.root)
    environ["SYSTEMD_PROC_CMDLINE"] = text if asked else f"{text} {_ASSUMED}"
    try:
        plan = boot.make_plan(image.root, environ)
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}") from error
    assert plan is not None
    findings += _check_plan(plan, chosen.source if chosen and asked else "")
    request = read_request(split_words(environ["SYSTEMD_PROC_CMDLINE"]), plan.source)
    entries = tuple(entry for entry in read_entries(image.root, environ, request)[0] if entry.where)
    findings += _check_around(image, plan, entries, kernel)
    findings += checksystem.check_machine_id(image, text)
    if hardening:
        findings += checkhardening.check(plan, entries, running=not image.root)
    return findings + [make("too-large", path, size=spell_size(size)) for path, size in image.too_large.items()]


def sort(findings: "list[Finding]") -> "list[Finding]":
    """`findings` without duplicates, the worst first, then by their places."""
    unique = list(dict.fromkeys(findings))
    return sorted(unique, key=lambda f: (_ORDER.index(f.level), f.source, f.line, f.rule))


def _check_plan(plan: Plan, source: str) -> "list[Finding]":
    """What the generator itself will say at boot, in the same words. `source`: where its command line really is."""
    findings = []
    for problem in plan.problems:
        place = source or problem.source if problem.source.startswith("/proc/") else problem.source
        findings.append(make("wrong-input", place, problem.line, text=problem.text))
    for skipped in plan.skipped:
        if skipped.level != "quiet":
            findings.append(make("not-overlaid" if skipped.level == "error" else "left-alone", text=str(skipped)))
    return findings + [make("hint", text=hint) for hint in (*map(str, plan.storage), *plan.hints)]


def _check_around(image: Image, plan: Plan, entries: "tuple[FstabEntry, ...]", kernel: "str | None") -> "list[Finding]":
    """What the generator takes for granted."""
    wheres = tuple(mount.where for mount in plan.mounts)
    asked = wheres + tuple(skipped.where for skipped in plan.skipped)
    findings = checkfstab.check(entries, asked)
    types = checkfstab.upper_types(entries, asked)
    with_acl = checkacls.find(image, wheres)
    findings += checkacls.check(with_acl, types)
    in_memory = any(mount.backing.tmpfs or mount.backing.nofail for mount in plan.mounts)
    try:
        text, source = checkkernel.find(image, kernel)
    except OSError as error:
        raise Failure(f"--kernel {kernel}: {error.strerror}") from error
    if text:
        findings += checkkernel.check(text, source, in_memory, tuple(types), with_acl)
    elif kernel:
        raise Failure(f"--kernel {kernel}: not the configuration of a kernel")
    else:
        findings.append(make("kernel-unknown"))
    plan.static = checksystem.is_static(image, plan)
    if not plan.static:
        library = checksystem.find_library(image)
        generator = checksystem.check_generator(image, library)
        findings += generator
        if not any(finding.rule in ("generator-missing", "generator-masked") for finding in generator):
            findings += checkpython.check(image, library)
    findings += checksystem.check_commands(image, plan)
    findings += checksystem.check_version(image)
    findings += checksystem.check_rollback(image, plan)
    findings += checksystem.check_identity(image, any(not mount.backing.volatile for mount in plan.mounts))
    # On a running machine /var is the overlay, and the services have run.
    findings += checksystem.check_updated(image, plan) if image.root else []
    return findings + checkunits.check(image, wheres)


def _spell_text(findings: "list[Finding]", output: "Output") -> str:
    lines = []
    for finding in findings:
        place = f"{output.paint(printable(finding.place), 'bold')}: " if finding.place else ""
        level = output.paint(finding.level, _COLOURS[finding.level])
        lines.append(f"{place}{level}: {printable(finding.text)} [{finding.rule}]\n")
        if finding.advice:
            lines.append(f"    {printable(finding.advice)}\n")
    counts = [(level, sum(1 for finding in findings if finding.level == level)) for level in _ORDER]
    words = ", ".join(f"{count} {level}{'s' if count > 1 else ''}" for level, count in counts if count)
    return "".join(lines) + (words or "nothing found") + "\n"


def _spell_json(findings: "list[Finding]") -> str:
    import json
    from dataclasses import asdict

    from overlay_generator import __version__

    counts = {f"{level}s": sum(1 for finding in findings if finding.level == level) for level in _ORDER}
    found = {"schema": _SCHEMA, "version": __version__, **counts, "findings": [asdict(f) for f in findings]}
    return json.dumps(found, indent=2) + "\n"
