# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads what status shows: each directory that is asked for or overlaid, and all that is known of it."""

import errno
import os
from dataclasses import dataclass, replace

from overlay_generator import boot
from overlay_generator.cmdline import read_request, split_words
from overlay_generator.gather import read_command_line, read_entries
from overlay_generator.model import FstabEntry, OverlayMount, Plan, Skipped, UnitFile
from overlay_generator.names import backing_name, backing_path, is_below, mount_unit, normalise
from overlay_generator.render import render
from overlay_prepare import folder, identity, resetrequest, stamp
from overlay_prepare.report import BEHIND, STATE
from overlay_prepare.resetrequest import Staged
from overlayctl import frozen, mounts
from overlayctl.frozen import Frozen, find_undone
from overlayctl.mounts import Mount, Table
from overlayctl.status import devices, holders, nextboot, space, units, volatile
from overlayctl.status.devices import Device
from overlayctl.status.holders import Holder
from overlayctl.status.space import Memory, Space
from overlayctl.status.units import UnitState

# Of the caller's environment only what systemd's own tools take as overrides (systemd.generator(7)).
_OVERRIDES = (
    "SYSTEMD_PROC_CMDLINE", "SYSTEMD_FSTAB", "SYSTEMD_IN_INITRD", "SYSTEMD_SCOPE", "SYSTEMD_VIRTUALIZATION",
    "CREDENTIALS_DIRECTORY", "ENCRYPTED_CREDENTIALS_DIRECTORY",
)  # fmt: skip
# Where PID 1 keeps what it shows its generators as CREDENTIALS_DIRECTORY (systemd 251 and later).
_CREDENTIALS = "/run/credentials/@system"
_LARGEST_STATE = 1 << 20  # bytes
_MOST_COUNTED = 200_000  # entries


@dataclass(frozen=True)
class DirectoryStatus:
    """One directory. `overlay` is its mount, None while it has none; `backing` the mount that holds the upper layer.

    `image` is the image that prepare has noted, `image_current` whether that is the one below (None: not known).
    `fallen_back` is why memory is in the place of a disk, `behind` what prepare could not do in the background, a
    sentence in each line. `staged` is what the next boot will reset, `dropped` the log of what updates of the image
    have dropped, if there is one. `volatile` is why a file system that looks like one on a disk is gone after a boot.
    What can't be read is empty. `stopped` is why the disk takes no writes, which the overlay does not say of itself:
    it is `read_only` then.
    `covered` is what else is mounted there.
    `frozen` is what an update has frozen, `undone` the directory that a step back has put aside, "" for none.
    """

    where: str
    wanted: "OverlayMount | None" = None
    skipped: "Skipped | None" = None
    overlay: "Mount | None" = None
    backing_path: str = ""
    backing: "Mount | None" = None
    device: "Device | None" = None
    volatile: str = ""
    fallen_back: str = ""
    behind: str = ""
    space: "Space | None" = None
    read_only: bool = False
    stopped: str = ""
    covered: "Mount | None" = None
    image: str = ""
    image_current: "bool | None" = None
    hidden: "tuple[Mount, ...]" = ()
    holders: "tuple[Holder, ...]" = ()
    units: "tuple[UnitState, ...]" = ()
    staged: "Staged | None" = None
    dropped: str = ""
    frozen: "Frozen | None" = None
    undone: str = ""
    differences: "tuple[str, ...]" = ()


@dataclass(frozen=True)
class MachineStatus:
    """All directories, sorted; `problems` are mistakes in what was asked for, `notes` what could not be looked at."""

    directories: "tuple[DirectoryStatus, ...]" = ()
    problems: "tuple[str, ...]" = ()
    notes: "tuple[str, ...]" = ()
    memory: "Memory | None" = None


def _find_stop(where: str, backing: Mount) -> str:
    """Why nothing can be written to the file system of the upper layer any more, "" if it can."""
    if backing.stopped:
        return f"the file system at {backing.where} is read-only"
    try:
        os.stat(where)
    except OSError as error:
        # xfs that has shut itself down says nothing in mountinfo (Linux 6.18).
        if error.errno in (errno.EIO, errno.EUCLEAN, errno.ESTALE):
            return f"the file system at {backing.where} answers with '{error.strerror}'"
    return ""


def read_environ(root: str = "") -> "dict[str, str]":
    """What PID 1 would give the generator of the machine at `root`, as far as that can be known here."""
    environ = {key: os.environ[key] for key in _OVERRIDES if key in os.environ}
    if not root and "container" in os.environ:
        environ["container"] = os.environ["container"]  # noqa: SIM112
    if not root and os.path.isdir(_CREDENTIALS):
        environ.setdefault("CREDENTIALS_DIRECTORY", _CREDENTIALS)
    return environ


def resolve(paths: "list[str]") -> "list[str]":
    """`paths` as absolute ones without duplicates, links on the way followed, but not one at the end."""
    found: dict[str, None] = {}
    for path in paths:
        folder, _, name = os.path.abspath(path).rpartition("/")
        found[os.path.join(os.path.realpath(folder or "/"), name) if name else "/"] = None
    return [normalise(path) for path in found]


def read_staged(backing: str) -> "Staged | None":
    """What the operator has staged in `backing`; None where nothing is. Raises OSError, ValueError."""
    data = read_state(backing, resetrequest.NAME)
    return None if data is None else resetrequest.parse(data.decode("utf-8", "surrogateescape"))


def read_state(backing: str, name: str) -> "bytes | None":
    """The small file `name` of a backing directory, None where there is none. Raises OSError, for a FIFO as well."""
    # Whoever can write to the disk can put anything there: nothing is followed, and nothing waited for.
    with folder.open_top(backing, lambda _text: None) as opened:
        return opened.read(name, _LARGEST_STATE)


def read_fallen_back(where: str) -> str:
    """Why prepare put memory in the place of the disk of `where`, "" if it did not.

    Raises OSError, ValueError, AttributeError where that can't be read.
    """
    import json

    try:
        with open(f"{STATE}/{backing_name(where)}.json", encoding="utf-8") as stream:
            return str(json.load(stream).get("fallen_back", ""))
    except FileNotFoundError:
        return ""


def read_behind(where: str) -> str:
    """What prepare's background process could not do for `where`, "" if all is well. Raises OSError."""
    try:
        with open(f"{STATE}/{backing_name(where)}.{BEHIND}", encoding="utf-8", errors="replace") as stream:
            return stream.read(1 << 16).strip()
    except FileNotFoundError:
        return ""


def read(paths: "tuple[str, ...]" = (), thorough: bool = True) -> MachineStatus:
    """The status of this machine, or of the directories that hold `paths` alone. Raises OSError.

    Without `thorough` what takes long is left out: labels of disks, processes, memory.
    """
    return Reader(thorough).read(paths)


class Reader:
    """Collects notes while it reads; each is reported once."""

    def __init__(self, thorough: bool = True) -> None:
        self.thorough = thorough
        self.notes: dict[str, None] = {}
        self.plan: Plan | None = None
        self.table = Table()
        self.fstab = "/etc/fstab"
        self.entries: list[FstabEntry] = []
        self.states: dict[str, UnitState] = {}

    def read(self, paths: "tuple[str, ...]") -> MachineStatus:
        """The status of what `paths` name, of everything without any. Raises OSError."""
        environ = read_environ()
        self.fstab = environ.get("SYSTEMD_FSTAB") or self.fstab
        self.plan = boot.make_plan("", environ)
        if self.plan:
            request = read_request(split_words(read_command_line("", environ)[0]), self.plan.source)
            self.entries = read_entries("", environ, request)[0]
        self.table = mounts.read()
        chosen = self._choose(paths)
        self.states = self._read_units(chosen)
        memory = None
        try:
            memory = space.measure_memory() if self.thorough else None
        except space.Missing as missing:
            self._note(missing)
        directories = tuple(self._read_directory(where) for where in chosen)
        if chosen:
            self.notes.update(dict.fromkeys(nextboot.explain(self.table, (self.fstab,))))
        if os.geteuid() != 0 and any(directory.overlay for directory in directories):
            self._note("as root there is more to see: the image's stamp, what is staged, all processes")
        problems = tuple(str(problem) for problem in self.plan.problems) if self.plan else ()
        return MachineStatus(directories, problems, tuple(self.notes), memory)

    def _note(self, text: object) -> None:
        self.notes[str(text)] = None

    def _choose(self, paths: "tuple[str, ...]") -> "list[str]":
        known = set(self.table.overlays())
        if self.plan:
            known |= {mount.where for mount in self.plan.mounts} | {skipped.where for skipped in self.plan.skipped}
        if not paths:
            return sorted(known)
        return sorted({find_directory(path, known) or path for path in paths})

    def _read_units(self, chosen: "list[str]") -> "dict[str, UnitState]":
        names = sorted({name for where in chosen for name in self._unit_names(where)})
        if not names:
            return {}
        try:
            return units.read(names)
        except units.Missing as missing:
            self._note(missing)
            return {}

    def _unit_names(self, where: str) -> "list[str]":
        """The units that make the overlay on `where`, in the order in which they start."""
        wanted = self._find_wanted(where)
        files = render(self.plan) if self.plan else []
        own = [f.path for f in files if isinstance(f, UnitFile) and f.group == where and "/" not in f.path]
        backing = [mount_unit(wanted.backing.mount)] if wanted else []
        return list(dict.fromkeys([*backing, *own] or [mount_unit(where)]))

    def _find_wanted(self, where: str) -> "OverlayMount | None":
        return next((mount for mount in self.plan.mounts if mount.where == where), None) if self.plan else None

    def _read_directory(self, where: str) -> DirectoryStatus:
        wanted = self._find_wanted(where)
        skipped = next((s for s in self.plan.skipped if s.where == where), None) if self.plan else None
        overlay = self.table.overlay(where)
        backing_at = mounts.backing_of(overlay) if overlay else wanted.backing.path if wanted else backing_path(where)
        backing = self.table.holding(backing_at) if overlay or wanted else None
        own = tuple(self.states[name] for name in self._unit_names(where) if name in self.states)
        image, current = (
            self._read_image(backing_at) if overlay and backing and backing.fstype != "tmpfs" else ("", None)
        )
        fallen_back = self._read_fallen_back(where) if overlay else ""
        if wanted and overlay and backing and backing.fstype == "tmpfs":
            # Memory was planned, so prepare found nothing wrong.
            fallen_back = fallen_back or wanted.backing.lost
        stopped = _find_stop(where, backing) if overlay and backing else ""
        return DirectoryStatus(
            where=where,
            wanted=wanted,
            skipped=skipped,
            overlay=overlay,
            backing_path=backing_at,
            backing=backing,
            device=self._read_device(backing) if overlay and backing and self.thorough else None,
            volatile=self._find_volatile(backing) if overlay and backing else "",
            fallen_back=fallen_back,
            behind=self._read_behind(where) if overlay else "",
            space=space.measure(where) if overlay else None,
            read_only=bool(stopped) or (bool(overlay or skipped) and self._is_read_only(where, overlay)),
            stopped=stopped,
            covered=None if overlay else self.table.top(where),
            image=image,
            image_current=current,
            hidden=self._find_hidden(overlay, backing),
            holders=tuple(self._find_holders(where, backing_at, own)) if overlay and self.thorough else (),
            units=own,
            staged=self._read_staged(backing_path(where)),
            dropped=_find_log(backing_at),
            frozen=self._read_frozen(backing_at) if overlay else None,
            undone=find_undone(backing_at),
            differences=tuple(
                nextboot.compare_mounted(wanted, overlay, backing, bool(fallen_back))
                or (nextboot.compare(self.plan, where) if wanted else [])
                or self._compare_disk(wanted, overlay, backing, bool(fallen_back))
            ),
        )

    def _compare_disk(
        self, wanted: "OverlayMount | None", overlay: "Mount | None", backing: "Mount | None", fallen_back: bool
    ) -> "list[str]":
        if not wanted or not overlay or not backing or wanted.backing.tmpfs:
            return []
        entry = next((entry for entry in self.entries if entry.where == wanted.backing.mount), None)
        return nextboot.compare_disk(entry, backing, fallen_back)

    def _is_read_only(self, where: str, overlay: "Mount | None") -> bool:
        # A work directory that can't be used: mount(2) succeeds, and the superblock is read-only (Linux 6.1 to 6.18).
        measured = space.measure(where)
        return bool((overlay and overlay.read_only) or (measured and measured.read_only))

    def _read_device(self, backing: Mount) -> "Device | None":
        try:
            return devices.find(backing.device)
        except devices.Missing as missing:
            self._note(missing)
            return None

    def _find_volatile(self, backing: Mount) -> str:
        try:
            return volatile.find(backing, self.table)
        except volatile.Unknown as unknown:
            self._note(f"{unknown}: whether {backing.where} is there after a boot is not known")
            return ""

    def _read_fallen_back(self, where: str) -> str:
        try:
            return read_fallen_back(where)
        except (OSError, ValueError, AttributeError) as error:
            path = f"{STATE}/{backing_name(where)}.json"
            self._note(f"{path} can't be read ({error}): whether memory replaces a disk is not known")
            return ""

    def _read_behind(self, where: str) -> str:
        try:
            return read_behind(where)
        except OSError as error:
            self._note(f"{error.filename} can't be read ({error.strerror}): what failed in the background is not known")
            return ""

    def _read_image(self, backing: str) -> "tuple[str, bool | None]":
        try:
            data = read_state(backing, stamp.NAME)
            if data is None:
                return "", None
            noted = data.decode("utf-8", "replace").strip("\n")
            now = identity.identify(f"{backing}/lower").strip("\n")
        except folder.WrongKind as error:
            self._note(f"{error.filename} {error.strerror}: which image was used last is not known")
            return "", None
        except OSError:
            return "", None
        return noted, {identity.SAME: True, identity.OTHER: False}.get(identity.compare(noted, now))

    def _read_staged(self, backing: str) -> "Staged | None":
        try:
            return read_staged(backing)
        except ValueError as error:
            path = f"{backing}/{resetrequest.NAME}"
            self._note(f"{path} is not understood, and resets nothing: {error}; see overlayctl reset --cancel")
        except folder.WrongKind as error:
            self._note(f"{error.filename} {error.strerror}, and resets nothing; see overlayctl reset --cancel")
        except OSError:
            pass  # readable by root alone, which a note says
        return None

    def _read_frozen(self, backing: str) -> "Frozen | None":
        try:
            found = frozen.read(backing)
            if found is None or not self.thorough:
                return found
            from overlayctl.layers.count import count
            from overlayctl.layers.directory import Directory

            top = Directory.open_top(os.fsencode(f"{backing}/upper"))
            files, size, whole = count(top, _MOST_COUNTED)
            return replace(found, files=files, size=size, whole=whole)
        except folder.WrongKind as error:
            self._note(f"{error.filename} {error.strerror}: what an update has frozen is not known")
        except OSError:
            pass  # closed to all but root, which is reported
        return None

    def _find_hidden(self, overlay: "Mount | None", backing: "Mount | None") -> "tuple[Mount, ...]":
        found = self.table.hidden_by(overlay) if overlay else []
        if overlay and backing:
            found += [mount for mount in self.table.hidden_by(backing) if mount.where == backing.where]
        return tuple(found)

    def _find_holders(self, where: str, backing: str, own: "tuple[UnitState, ...]") -> "list[Holder]":
        entered = next((state.entered for state in own if state.name == mount_unit(where)), 0.0)
        try:
            return holders.find(where, f"{backing}/lower", entered or None)
        except space.Missing as missing:
            self._note(missing)
        except OSError:
            pass  # readable by root alone, which a note says
        return []


def _find_log(backing: str) -> str:
    path = f"{backing}/dropped"
    return path if os.path.exists(path) else ""


def find_directory(path: str, known: "set[str]") -> str:
    """The directory of `known` that is `path` or the nearest above it, "" if there is none. Pure."""
    above = [where for where in known if where == path or is_below(path, where)]
    return max(above, key=len, default="")
