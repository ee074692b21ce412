# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The status as lines for a person, who may read them on a serial line: ASCII alone, except for names."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from overlayctl.output import printable
from overlayctl.status import health
from overlayctl.status.document import is_persistent
from overlayctl.status.health import Verdict
from overlayctl.status.machine import DirectoryStatus, MachineStatus
from overlayctl.status.space import FULL, Memory, spell_size

if TYPE_CHECKING:
    from overlay_prepare.resetrequest import Staged
    from overlayctl.frozen import Frozen
    from overlayctl.output import Output
    from overlayctl.status.units import UnitState

_COLOURS = {health.AS_ASKED: "green", health.DEGRADED: "yellow", health.NOT_ACTIVE: "red"}
_BAR = 20
# Those whose superblock or UUID prepare may have noted.
_FILE_SYSTEMS = ("squashfs", "erofs", "ext4", "xfs", "ubifs")
_FEW = 5


def spell(machine: MachineStatus, named: bool, output: "Output") -> str:
    """All of it, with an empty line between two directories."""
    blocks = [_spell_directory(directory, machine.memory, named, output) for directory in machine.directories]
    if not blocks:
        blocks = ["Nothing is asked for: overlayfs.mounts is not on the kernel command line, or is no.\n"]
    rest = [f"{output.paint('problem', 'red')}  {printable(text)}\n" for text in machine.problems]
    rest += [f"{output.paint('note', 'dim')}  {printable(text)}\n" for text in machine.notes]
    return "\n".join([*blocks, "".join(rest)] if rest else blocks)


def _spell_directory(directory: DirectoryStatus, memory: "Memory | None", named: bool, output: "Output") -> str:
    verdict = health.judge(directory, named)
    state = output.paint(_head(directory, verdict), _COLOURS[verdict.level])
    head = f"{output.paint(printable(directory.where), 'bold')}: {state}\n"
    lines = [("why", reason) for reason in verdict.reasons]
    if directory.overlay:
        lines += _tell_overlay(directory, memory)
    if directory.units:
        lines += [("" if number else "units", _tell_unit(unit)) for number, unit in enumerate(directory.units)]
    if directory.staged:
        lines += _tell_staged(directory.staged)
    lines += [("next boot", text) for text in _tell_next_boot(directory)]
    return head + "".join(f"  {output.paint(f'{name:<9}', 'dim')} {printable(text)}\n" for name, text in lines)


def _head(directory: DirectoryStatus, verdict: Verdict) -> str:
    """The state in a few words: the first thing that is read, and for most readers the last."""
    if not directory.overlay:
        return "not overlaid, left alone" if verdict.level == health.AS_ASKED else "not overlaid"
    writable = "READ-ONLY" if directory.read_only else "writable"
    if is_persistent(directory):
        return f"{writable}, persistent, {health.WORDS[verdict.level]}"
    kept = "NOT persistent" if directory.fallen_back or directory.volatile else "in memory"
    return f"{writable}, {kept}, {health.WORDS[verdict.level]}"


def _tell_overlay(directory: DirectoryStatus, memory: "Memory | None") -> "Iterator[tuple[str, str]]":
    yield "on", _tell_backing(directory)
    if directory.wanted and directory.wanted.settings.policy != "keep":
        yield "policy", f"{directory.wanted.settings.policy}, when the image changes"
    if directory.wanted and directory.wanted.settings.passthrough:
        yield "past it", " ".join(word.text for word in directory.wanted.settings.passthrough)
    if directory.image:
        state = {True: "the image below", False: "NOT the image below", None: "perhaps the image below"}
        yield (
            "image",
            f"{_name_image(directory.image)}: the upper layer is fit for it, {state[directory.image_current]}",
        )
    if directory.dropped:
        yield "dropped", f"{directory.dropped} lists what updates of the image have dropped"
    yield from _tell_frozen(directory)
    space = directory.space
    if space:
        yield "space", f"{_bar(space.percent)}  {spell_size(space.used)} of {spell_size(space.used + space.free)}"
        if space.inodes:
            yield "inodes", f"{_bar(space.inodes_percent)}  {space.inodes_used:,} of {space.inodes:,}"
        # For a disk in memory this is not known: zram compresses, brd keeps what was deleted.
        if memory and not is_persistent(directory) and not directory.volatile:
            yield "memory", f"{spell_size(space.used)} of the machine's {spell_size(memory.total)} are in it"
    for mount in directory.hidden:
        yield "hidden", f"{mount.fstype} {mount.source} at {mount.where} was there before and is covered"
    for holder in directory.holders[:_FEW]:
        more = f" and {len(holder.paths) - 1} more" if len(holder.paths) > 1 else ""
        text = f"{holder.paths[0]}{more} by {holder.name} ({holder.pid}), opened below the overlay; restart it"
        yield "held", text
    if len(directory.holders) > _FEW:
        count = len(directory.holders) - _FEW
        yield "held", f"by {count} more {'process' if count == 1 else 'processes'}, see --json"


def _tell_frozen(directory: DirectoryStatus) -> "Iterator[tuple[str, str]]":
    frozen, wanted = directory.frozen, directory.wanted
    if frozen and frozen.folding:
        yield "frozen", "what an update froze and what came after it are being folded: the next boot goes on with that"
    elif frozen:
        day = f"since {time.strftime('%Y-%m-%d %H:%M', time.localtime(frozen.since))}, " if frozen.since else ""
        name = f"version {frozen.from_version}" if frozen.from_version else "the image before"
        commit = wanted.settings.commit if wanted else "next-update"
        back = "" if frozen.find_end(commit) else ", which come back with that image"
        yield "frozen", f"{day}the data of {name}{back}"
        if back and directory.staged and directory.staged.whole:
            yield "", "with what is staged below no image finds them again"
        if frozen.files >= 0:
            least = "" if frozen.whole else "at least "
            count = f"{least}{frozen.files:,} files with {spell_size(frozen.size)}"
            yield "", f"{count} were written since" + (", and would not be seen" if back else "")
        yield "", f"kept for good {_tell_commit(frozen, commit)}"
        if wanted and wanted.settings.passthrough:
            yield "", "what is passed through is shared by all images, and never goes back"
    if directory.undone:
        yield "undone", f"{directory.undone} has what a step back has put aside, see overlayctl export --undone"


def _tell_commit(frozen: "Frozen", commit: str) -> str:
    """When what is frozen becomes one with what is newer, in words."""
    if frozen.staged:
        return "from the next boot on, as overlayctl commit has asked"
    if commit == "good":
        return "from the next boot on, as this boot is good" if frozen.good else "once a boot is good (Commit=good)"
    if commit.isdigit():
        if frozen.find_end(commit):
            return "from the next boot on, as this image is good for long enough"
        after = f"{int(commit) // 86400}d" if int(commit) % 86400 == 0 else f"{int(commit)}s"
        return f"{after} after the first good boot"
    return "at the next update" if commit == "next-update" else "at the next update, or by overlayctl commit"


def _name_image(noted: str) -> str:
    """What prepare's note says of its image, in words (overlay_prepare/identity.py)."""
    lines = noted.split("\n")
    names = [line for line in lines if line.startswith(("IMAGE_", "BUILD_"))]
    kinds = [line.partition("=")[0].partition("-")[0] for line in lines]
    kind = next((kind for kind in kinds if kind in _FILE_SYSTEMS), "image")
    return " ".join(names) or f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} without a name"


def _tell_backing(directory: DirectoryStatus) -> str:
    backing, device = directory.backing, directory.device
    if backing is None:
        return f"{directory.backing_path}, which is not seen from here"
    words = [backing.fstype]
    if backing.fstype != "tmpfs":
        words.append(backing.source)
    if device:
        words += [f'{name} "{text}"' for name, text in (("label", device.label), ("of", device.model)) if text]
    words.append(f"at {backing.where}")
    if directory.wanted and not directory.fallen_back and not directory.differences:
        words.append(f"(by {directory.wanted.backing.source})")
    return " ".join(words)


def _tell_unit(unit: "UnitState") -> str:
    if unit.load == "not-found":
        return f"there is no {unit.name}"
    if unit.active == "inactive" and not unit.condition:
        return f"{unit.name} skipped by its conditions"
    return f"{unit.name} {unit.active} ({unit.sub})"


def _tell_staged(staged: "Staged") -> "Iterator[tuple[str, str]]":
    if staged.whole:
        yield "staged", "for the next boot: an empty upper layer"
    for path in staged.paths:
        yield "staged", f"for the next boot: the image's {path}"
    for glob in staged.keep:
        yield "staged", f"but {glob} is kept"
    yield "", "overlayctl reset --cancel takes that back"


def _tell_next_boot(directory: DirectoryStatus) -> "list[str]":
    if directory.differences:
        few = list(directory.differences[:_FEW])
        more = len(directory.differences) - len(few)
        return [*few, *([f"and {more} more changes"] if more else [])]
    return ["the same, by today's fstab and configuration"] if directory.overlay else []


def _bar(percent: int) -> str:
    """A bar and a number, e.g. `[####      ]  38%`; an exclamation mark where it is nearly full."""
    filled = min(_BAR, max(0, percent * _BAR // 100))
    return f"[{'#' * filled}{' ' * (_BAR - filled)}] {percent:>3}%{'!' if percent >= FULL else ''}"
