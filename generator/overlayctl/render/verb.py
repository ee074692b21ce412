# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl render: the plan for an image's tree as static units, for images without Python.

What is decided here, and why:

- The plan is the generator's own for `--cmdline` (default: overlayfs.mounts), so the same is left alone for the same
  reason. Keys that are meant for a single boot are refused there.
- Units lie in /usr/lib/systemd/system, enabled by links: fstab's units, /etc and drop-ins outrank them as usual.
- A rendering replaces the one before it, as image builders keep their trees: its files are known by their first line.
  Files of others are never overwritten.
- A build without root sees its own user as the owner of everything: that user is taken as root.
- An image that has the generator and Python gets no static units: the two would act on the same directories.
- What the units can't do is written to standard error, every time (limits.py); that is not an error. Exit status 1 is
  for what somebody has to change.
"""

import copy
import os
import sys
from typing import TYPE_CHECKING

from overlay_generator import gather, inside
from overlay_generator.cmdline import read_request, split_words
from overlay_generator.decide import decide
from overlay_generator.dryrun import show
from overlay_generator.found import Mounter
from overlay_generator.model import Directory, UnitFile
from overlay_generator.selinux import is_context
from overlayctl.errors import Failure
from overlayctl.given import require_directory
from overlayctl.output import printable
from overlayctl.render import limits, units
from overlayctl.render.tree import Tree

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from overlay_generator.model import Inputs, Plan

VERB = "render"
HELP = "write static units for an image without Python"
DESCRIPTION = """\
Renders the units that the generator would make at boot as static ones, for the tree of an image that has no Python.
Conditions in them read the kernel command line. Without --output they are printed.
"""
EXAMPLES = """\
examples:
  overlayctl render --root build/target --output build/target
      static units for /var, mounted where the kernel command line has overlayfs.mounts
  overlayctl render --root build/target --output build/target --always
      the same, and no key needed; overlayfs.mounts=no still switches them off
  overlayctl render --root build/target --cmdline overlayfs.mounts=/var,/home
      print those for two directories

exit status: 0 done, 1 done and something has to be changed (see stderr), 3 it can't be done
"""

_GENERATOR = "/usr/lib/systemd/system-generators/overlay-generator"
_PYTHON = "/usr/bin/python3"
_PREFIX = "overlayfs."


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """Add the verb's own options."""
    parser.add_argument("--root", metavar="DIR", required=True, help="the tree of the image")
    parser.add_argument(
        "--output", metavar="DIR", dest="target", help="write below this directory; usually that of --root"
    )
    parser.add_argument(
        "--cmdline", metavar="WORDS", default="overlayfs.mounts",
        help="words of the kernel command line that are known now (default: overlayfs.mounts)",
    )  # fmt: skip
    parser.add_argument(
        "--selinux-context", metavar="CONTEXT", default="",
        help="mount in this SELinux context (default: the one that the policy gives to mount)",
    )  # fmt: skip
    parser.add_argument("--always", action="store_true", help="mount even if overlayfs.mounts is not given")


def run(options: "argparse.Namespace") -> int:
    """The exit status: 0, or 1 if something has to be changed. Raises Failure, OSError."""
    tree = Tree(_directory(options.root, "--root"))
    _refuse_other_ways(tree)
    words = _read_words(options.cmdline)
    context = options.selinux_context
    if context and not is_context(context):
        raise Failure(f"--selinux-context={context}: not USER:ROLE:TYPE or USER:ROLE:TYPE:RANGE")
    inputs = _gather(tree, options.cmdline, context)
    plan = _own(decide(inputs))
    if not plan.mounts:
        reasons = "; ".join(str(skipped) for skipped in plan.skipped)
        raise Failure(f"nothing to render: {reasons or 'the words of --cmdline ask for nothing'}")
    in_memory = _own(decide(_gather(tree, f"{options.cmdline} overlayfs.upper=volatile", context)))
    files = units.render(_without_rollback(plan), in_memory, options.always)
    if options.target is None:
        options.output.write(show(files))
    else:
        Tree(_directory(options.target, "--output")).replace(files)
    return _report(tree, words, inputs, plan, files, options.always)


def _directory(path: str, option: str) -> str:
    require_directory(path, f"{option} {path}")
    if os.path.realpath(path) == "/":
        raise Failure(
            f"{option} {path}: give the tree of an image; this machine has Python, and can have the generator"
        )
    return os.path.abspath(path)


def _read_words(cmdline: str) -> "list[str]":
    """The words of `cmdline`. Raises Failure if one of them means something only in one boot."""
    words = split_words(cmdline)
    for word in words:
        key = word.partition("=")[0].replace("-", "_")
        if key.startswith(_PREFIX) and key != "overlayfs.mounts":
            raise Failure(f"--cmdline: {key} is for one boot; the units read it there, leave it out here")
    return words


def _refuse_other_ways(tree: Tree) -> None:
    if tree.resolve(_GENERATOR) and tree.resolve(_PYTHON):
        raise Failure(f"the image has {_GENERATOR} and {_PYTHON}: it needs no static units; remove one of the two")


def _gather(tree: Tree, cmdline: str, context: str) -> "Inputs":
    """What the generator would see in the image, but for the units of an earlier rendering."""
    settings, wrong = gather.read_configuration(tree.root)
    request = read_request(split_words(cmdline), "--cmdline", tuple(settings))
    request.problems += tuple(wrong)
    # Nothing of the environment, which is the build machine's.
    inputs = gather.gather(tree.root, {"SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "0"}, request, settings)
    inputs.units = {name: unit for name, unit in inputs.units.items() if not tree.is_ours(unit.path)}
    if context or _has_selinux(tree):
        inputs.mounter = Mounter(context)
    return inputs


def _has_selinux(tree: Tree) -> bool:
    """True if the image loads a policy (selinux_config(5))."""
    place = tree.resolve("/etc/selinux/config")
    if not place:
        return False
    at = tree.root + place
    try:
        # Anything may stand there in a tree: neither a FIFO nor a device is waited for, and a file has an end.
        inside.refuse_device(at, os.stat(at))
        text = gather.read_file(at).decode("utf-8", "replace")
    except OSError as error:
        raise Failure(f"{at}: {error.strerror}") from error
    words = [line.strip().upper() for line in text.splitlines()]
    return any(word in ("SELINUX=ENFORCING", "SELINUX=PERMISSIVE") for word in words)


def _own(plan: "Plan") -> "Plan":
    """`plan` with root as the owner of what belongs to the user who runs this, as the image will be packed."""
    user = os.geteuid()
    if user == 0:
        return plan
    mounts = []
    for mount in plan.mounts:
        directory = mount.directory
        if directory.uid == user:
            mount = copy.copy(mount)
            mount.directory = Directory(directory.state, directory.detail, directory.mode, 0, 0, directory.labelled)
        mounts.append(mount)
    plan = copy.copy(plan)
    plan.mounts = tuple(mounts)
    return plan


def _without_rollback(plan: "Plan") -> "Plan":
    """`plan` with one layer below the upper one: the other would be made by prepare."""
    plan = copy.copy(plan)
    plan.mounts = tuple(copy.copy(mount) for mount in plan.mounts)
    for mount in plan.mounts:
        mount.settings = copy.copy(mount.settings)
        mount.settings.rollback = "no"
    return plan


def _report(
    tree: Tree, words: "list[str]", inputs: "Inputs", plan: "Plan", files: "list[units.File]", always: bool
) -> int:
    """Report what is wrong, what is left alone and what the units can't do; 1 if something was wrong, else 0."""
    words = [word.lstrip("-") for file in files if isinstance(file, UnitFile) for word in _find_commands(file.text)]
    # systemd finds its own by name, and a missing false(1) fails as well.
    needed = [word for word in words if word.startswith("/") and word != "/bin/false"]
    wrong = [str(problem) for problem in plan.problems]
    wrong += [str(skipped) for skipped in plan.skipped if skipped.level == "error"]
    wrong += limits.find_unheeded(plan)
    wrong += limits.find_missing_commands(needed, {path: tree.resolve(path) for path in needed})
    fixed = limits.find_fixed_uuid(plan, words, inputs.entries)
    wrong += [fixed] if fixed else []
    notes = [str(skipped) for skipped in plan.skipped if skipped.level != "error"]
    notes += [*map(str, plan.storage), *plan.hints, *limits.find_limits(plan, always)]
    _say("wrong", wrong)
    _say("note", notes)
    return 1 if wrong else 0


def _find_commands(text: str) -> "list[str]":
    lines = (line for line in text.splitlines() if line.startswith(("ExecStart=", "ExecStop=")))
    return [line.partition("=")[2].split(" ")[0] for line in lines]


def _say(kind: str, texts: "Iterable[str]") -> None:
    for text in dict.fromkeys(texts):
        sys.stderr.write(f"overlayctl: {kind}: {printable(text)}\n")
