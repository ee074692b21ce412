# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The status as OpenMetrics text (prometheus.io/docs/specs/om), all of which node_exporter understands as well. Pure.

node_exporter reads files with the parser of the older text format, which refuses a type that it does not know; so
everything is a gauge, even what OpenMetrics would call info. What is not known has no line.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from overlay_generator import __version__
from overlayctl.output import printable
from overlayctl.status import health
from overlayctl.status.document import is_persistent
from overlayctl.status.machine import DirectoryStatus, MachineStatus
from overlayctl.status.volatile import is_memory

# In the order in which they are written; the names and labels are promised in overlayctl(1).
HELP = {
    "overlay_generator_info": "The version of overlay-generator.",
    "overlay_problems": "Mistakes in what was asked for, by the kernel command line, fstab and the configuration.",
    "overlay_notes": "What could not be looked at, see overlayctl status.",
    "overlay_wanted": "1 if an overlay is planned there.",
    "overlay_active": "1 if it is mounted.",
    "overlay_writable": "1 if it is mounted and can be written to.",
    "overlay_read_only": "1 if nothing can be written there.",
    "overlay_persistent": "1 if what is written is there after a boot.",
    "overlay_persistent_wanted": "1 if it was asked for on a disk.",
    "overlay_fallen_back": "1 if memory is in the place of its disk, or something else went wrong with that at boot.",
    "overlay_status": "0 as asked, 1 degraded, 2 not active: as the exit status of overlayctl status.",
    "overlay_upper_size_bytes": "Size of the file system that holds the upper layer.",
    "overlay_upper_used_bytes": "What is used of it.",
    "overlay_upper_free_bytes": "What an ordinary user may still write.",
    "overlay_upper_inodes": "How many files that file system can hold.",
    "overlay_upper_inodes_used": "How many it holds.",
    "overlay_dropped_entries": "Entries of the upper layer that updates of the image have dropped, as far as listed.",
    "overlay_reset_staged": "1 if the next boot will reset something.",
    "overlay_image_info": "The image that the upper layer is fit for; for one in memory the one that runs.",
    "overlay_image_current": "1 if that is the image below.",
}


@dataclass(frozen=True)
class Facts:
    """What is known of a directory besides its status; None if this user can't see it."""

    dropped: "int | None" = None
    staged: "bool | None" = None


def spell(machine: MachineStatus, facts: "dict[str, Facts]", image: str) -> str:
    """All metrics; `facts` are those of directories, `image` the names of the one that runs, as os-release has them."""
    samples: dict[str, list[str]] = {name: [] for name in HELP}
    samples["overlay_generator_info"].append(_spell_sample("overlay_generator_info", {"version": __version__}, 1))
    for name, found in (("overlay_problems", machine.problems), ("overlay_notes", machine.notes)):
        samples[name].append(_spell_sample(name, {}, len(found)))
    for directory in machine.directories:
        label = {"directory": directory.where}
        for name, value in _measure(directory, facts.get(directory.where, Facts())):
            samples[name].append(_spell_sample(name, label, value))
        # Of a disk only what is noted there, which not everybody may read; memory is made for the image that runs.
        if named := directory.image or (image if is_memory(directory.backing) else ""):
            sample = _spell_sample("overlay_image_info", {**label, **_name_image(named)}, 1)
            samples["overlay_image_info"].append(sample)
    return "".join(_spell_family(name, lines) for name, lines in samples.items() if lines) + "# EOF\n"


def is_staged(directory: DirectoryStatus) -> bool:
    """True if the next boot will reset something there."""
    return directory.staged is not None


def _measure(directory: DirectoryStatus, facts: Facts) -> "Iterator[tuple[str, int]]":
    wanted, active = directory.wanted, directory.overlay is not None
    yield "overlay_wanted", int(wanted is not None)
    yield "overlay_active", int(active)
    yield "overlay_writable", int(active and not directory.read_only)
    yield "overlay_read_only", int(directory.read_only)
    yield "overlay_persistent", int(is_persistent(directory))
    on_disk = wanted and (wanted.backing.lost or not (wanted.backing.tmpfs or wanted.backing.volatile))
    yield "overlay_persistent_wanted", int(bool(on_disk))
    yield "overlay_fallen_back", int(bool(directory.fallen_back))
    yield "overlay_status", health.judge(directory).level
    space = directory.space
    if space:
        yield "overlay_upper_size_bytes", space.size
        yield "overlay_upper_used_bytes", space.used
        yield "overlay_upper_free_bytes", space.free
    if space and space.inodes:
        yield "overlay_upper_inodes", space.inodes
        yield "overlay_upper_inodes_used", space.inodes_used
    if facts.dropped is not None:
        yield "overlay_dropped_entries", facts.dropped
    if facts.staged is not None:
        yield "overlay_reset_staged", int(facts.staged)
    if directory.image_current is not None:
        yield "overlay_image_current", int(directory.image_current)


def _name_image(text: str) -> "dict[str, str]":
    """The labels for the lines of a stamp, or of os-release(5)."""
    found = {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in text.split("\n"))}
    return {key.lower(): found.get(key, "") for key in ("IMAGE_ID", "IMAGE_VERSION", "BUILD_ID")}


def _spell_family(name: str, lines: "Iterable[str]") -> str:
    unit = f"# UNIT {name} bytes\n" if name.endswith("_bytes") else ""
    return f"# HELP {name} {HELP[name]}\n# TYPE {name} gauge\n{unit}{''.join(lines)}"


def _spell_sample(name: str, labels: "dict[str, str]", value: int) -> str:
    spelt = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{spelt}}} {value}\n" if spelt else f"{name} {value}\n"


def _escape(text: str) -> str:
    """`text` for a label, which is UTF-8 without exception: other bytes are spelt out, as control characters are."""
    text = printable(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text.replace("\\", "\\\\").replace('"', '\\"')
