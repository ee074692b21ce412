# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The order that fstab and crypttab ask for: finds an overlay that waits for itself, through what holds its upper
layer. systemd breaks such an ordering cycle by dropping one of its units, whichever it comes upon first. Pure.

A node is a word with what it stands for: `overlay /var`, `mount /data`, `crypt NAME`, `swap`, `seed` (the random seed),
`late` (what starts when all local file systems are mounted), `unit NAME`. Modelled on systemd's src/core/mount.c,
src/fstab-generator and src/cryptsetup/cryptsetup-generator.c, 247 to 262.
"""

from overlay_generator.fstab import (
    ORDER,
    find_mounts,
    find_values,
    is_automount,
    is_bind,
    is_network,
    is_noauto,
    is_required,
    names_units,
    read_value,
)
from overlay_generator.model import Backing, FstabEntry, Inputs
from overlay_generator.names import (
    ancestors,
    escape_path,
    fallback_unit,
    is_below,
    mangle_unit,
    mount_unit,
    normalise,
    prepare_unit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from overlay_generator.crypttab import Volume

    Edges = Iterator[tuple[str, str]]

_RANDOM = ("/dev/urandom", "/dev/random", "/dev/hw_random", "/dev/hwrng")
_SEED = "/var/lib/systemd/random-seed"
_MAPPER = "/dev/mapper/"
# No volume is called so.
_PARTITIONS = ("/dev/sd", "/dev/vd", "/dev/hd", "/dev/xvd", "/dev/mmcblk", "/dev/nvme", "/dev/loop", "/dev/ram")
# What comes after local-fs.target, or may: the network is brought up by units that do.
_LATE = frozenset((
    "local-fs.target", "sysinit.target", "basic.target", "sockets.target", "timers.target", "paths.target",
    "multi-user.target", "graphical.target", "network.target", "network-online.target", "remote-fs.target",
    "remote-fs-pre.target", "remote-cryptsetup.target", "nss-lookup.target", "time-sync.target", "initrd.target",
))  # fmt: skip
_EARLY = frozenset(("local-fs-pre.target", "cryptsetup-pre.target", "swap.target", "cryptsetup.target"))


def find_cycle(inputs: Inputs, accepted: "Mapping[str, Backing]", where: str) -> "list[str]":
    """Why the overlay on `where`, one of `accepted`, would wait for itself, whatever holds its upper layer: the steps
    in words, none if it does not.
    """
    machine = _Machine(inputs, accepted)
    ways = (_find_way(machine, node, node) for node in (f"prepare {where}", f"overlay {where}"))
    return next((way for way in ways if way), [])


def find_backing_cycle(inputs: Inputs, accepted: "Mapping[str, Backing]", where: str) -> "list[str]":
    """The same for what is to hold the upper layer: why that would wait for this layer, or for itself."""
    machine = _Machine(inputs, accepted)
    node = machine.find_backing(accepted[where])
    # For itself by the lines of fstab alone: without the overlay nothing may start it, as where it is an automount.
    return _find_way(machine, node, f"prepare {where}") or (_find_way(machine, node, node) if node else [])


def find_suspect(
    inputs: Inputs, accepted: "Mapping[str, Backing]", where: str
) -> "tuple[FstabEntry | None, list[str]]":
    """As find_backing_cycle(), for a disk that may be on a volume that waits for `where`, though nothing says that it
    is: the entry for the disk, and the steps.
    """
    machine = _Machine(inputs, accepted)
    suspects = _find_unnamed(machine, machine.find_backing(accepted[where])) if machine.volumes else []
    if suspects:
        elsewhere = {normalise(entry.what) for entry in (*inputs.entries, *inputs.swaps) if _is_all(entry)}
        for volume in machine.volumes.values():
            if f"{_MAPPER}{volume.name}" not in elsewhere:
                steps = _find_way(machine, f"crypt {volume.name}", f"prepare {where}")
                if steps:
                    return suspects[0], steps
    return None, []


def _find_unnamed(machine: "_Machine", start: str) -> "list[FstabEntry]":
    """The entries at or behind the node `start` whose disk may be a volume of crypttab under another name."""
    nodes = [start]
    found = []
    for node in nodes:
        kind, _, name = node.partition(" ")
        if kind == "mount":
            entry = machine.entries[name]
            what = normalise(entry.what)
            is_known = what.startswith(_PARTITIONS) or what[len(_MAPPER) :] in machine.volumes
            if "=" in what or (what.startswith("/dev/") and not is_known):
                found.append(entry)
        # The list grows while the loop goes through it.
        nodes += [
            other for other in dict.fromkeys(other for other, _ in machine.find_needs(node)) if other not in nodes
        ]
    return found


def _is_all(entry: FstabEntry) -> bool:
    """True if nothing else can be mounted from the volume of `entry`, and it is mounted at boot."""
    return not is_noauto(entry) and entry.fstype != "btrfs" and "subvol" not in entry.options


def _find_way(machine: "_Machine", start: str, goal: str) -> "list[str]":
    """The steps from the node `start` to `goal`, the shortest way; none if there is no way."""
    # Breadth first: the shortest way says most.
    ways: list[tuple[str, list[str]]] = [(start, [])]
    seen: set[str] = set()
    for node, steps in ways:
        for other, step in machine.find_needs(node):
            way = [*steps, step] if step else steps
            if other == goal:
                return way
            if other not in seen:
                seen.add(other)
                ways.append((other, way))
    return []


class _Machine:
    def __init__(self, inputs: Inputs, accepted: "Mapping[str, Backing]") -> None:
        self.inputs = inputs
        self.accepted = accepted
        self.entries = find_mounts(inputs.entries)
        self.volumes: dict[str, Volume] = {}
        if inputs.crypttab or inputs.request.luks:
            from overlay_generator.crypttab import find_volumes

            self.volumes = find_volumes(inputs.crypttab, inputs.request.luks, inputs.request.source)
        self.before: dict[str, list[FstabEntry]] = {}
        for entry in self.entries.values():
            for name in find_values(entry, "x-systemd.before"):
                self.before.setdefault(mangle_unit(name, ".mount"), []).append(entry)
        self.nodes: dict[str, str] = {}

    def find_backing(self, backing: Backing) -> str:
        """The node of what holds `backing`, "" if nothing is known of it."""
        if backing.tmpfs:
            return ""
        if backing.mount in self.entries:
            return f"mount {backing.mount}"
        return f"unit {mount_unit(backing.mount)}"

    def find_needs(self, node: str) -> "Edges":
        """The nodes that come before `node`, each with words that say why, "" where that goes without saying."""
        kind, _, name = node.partition(" ")
        if kind == "overlay":
            yield from self._need_for_overlay(name)
        elif kind == "prepare":
            yield from self._need_for_prepare(name)
        elif kind == "mount":
            yield from self._need_for_mount(self.entries[name])
        elif kind == "crypt":
            yield from self._need_for_volume(self.volumes[name])
        elif kind == "unit":
            yield from self._need_for_unit(name)
        elif kind == "seed":
            yield from self._need_path(_SEED, f"the random seed is in {_SEED}")
        elif kind == "swap" and name:
            yield from self._need_for_swap(self.inputs.swaps[int(name)])
        elif kind == "swap":
            for number, entry in enumerate(self.inputs.swaps):
                if not is_noauto(entry):
                    yield f"swap {number}", ""
            yield from self._need_those_before("swap.target", "swap.target")
        elif kind == "late":
            for where in self.accepted:
                if not self._is_optional(where):
                    yield f"overlay {where}", ""

    def _is_optional(self, where: str) -> bool:
        """True if nothing of a boot waits for the overlay on `where`, as it lies on a mount that may be missing."""
        if where == "/var" or is_below(where, "/var"):
            return False
        return any(above in self.entries and not is_required(self.entries[above]) for above in ancestors(where))

    def _need_for_overlay(self, where: str) -> "Edges":
        yield f"prepare {where}", ""
        # As any mount unit it comes after the mount around it, be that one of ours.
        yield from self._need_above(where, "")
        yield from self._need_those_before(mount_unit(where), where)
        for inner in self.accepted:
            # The lower layer of that one is bound before this overlay is mounted.
            if where in self._find_around(inner):
                yield f"prepare {inner}", ""

    def _need_for_prepare(self, where: str) -> "Edges":
        backing = self.accepted[where]
        if backing.tmpfs:
            yield from self._need_above(backing.path, f"the memory for {where} is at {backing.path}")
            yield from self._need_those_before(mount_unit(backing.path), where)
        else:
            yield self.find_backing(backing), ""
            yield from self._need_those_before(fallback_unit(backing.mount), where)
        yield from self._need_those_before(prepare_unit(where), where)
        yield from self._need_above([where, *self._find_around(where)][-1], "")

    def _find_around(self, where: str) -> "list[str]":
        """The overlays around that on `where`, nearest first, up to a mount of fstab, as _plan_mount() has them."""
        around = []
        for above in ancestors(where):
            if above in self.entries:
                break
            if above in self.accepted:
                around.append(above)
        return around

    def _need_those_before(self, unit: str, what: str) -> "Edges":
        for other in self.before.get(unit, ()):
            if mount_unit(other.where) != unit:
                yield f"mount {other.where}", f"{other} says x-systemd.before= for {what}"

    def _need_for_mount(self, entry: FstabEntry) -> "Edges":
        if entry.where != "/":
            yield from self._need_above(entry.where, f"{entry} mounts at {entry.where}")
        yield from self._need_source(entry)
        yield from self._need_options(entry)
        ours = any(entry.where == backing.mount for backing in self.accepted.values())
        if read_value(entry.fstype) == "tmpfs" and not ours:
            # Of one that holds an upper layer, a drop-in of ours removes this dependency. PID 1 looks at the type
            # alone, which a bind mount may have as well.
            yield "swap", f"{entry} is a tmpfs, which comes after all swap"
        yield from self._need_those_before(mount_unit(entry.where), entry.where)

    def _need_for_swap(self, entry: FstabEntry) -> "Edges":
        yield from self._need_source(entry)
        yield from self._need_options(entry)

    def _need_source(self, entry: FstabEntry) -> "Edges":
        what = normalise(entry.what)
        if what.startswith(_MAPPER) and what[len(_MAPPER) :] in self.volumes:
            yield f"crypt {what[len(_MAPPER) :]}", f"{entry} is on {what}"
        elif what.startswith("/") and not what.startswith("/dev/") and (is_bind(entry) or not is_network(entry)):
            yield from self._need_path(what, f"{entry} takes {what}")

    def _need_options(self, entry: FstabEntry) -> "Edges":
        if is_network(entry) and entry.where:
            yield "late", f"{entry} waits for the network"
        for name in ("x-systemd.requires-mounts-for", "x-systemd.wants-mounts-for"):
            for value in find_values(entry, name):
                # A list, as systemd copies it into the unit.
                for path in _split_words(value):
                    yield from self._need_path(normalise(path), f"{entry} says {name}={path}")
        for name in ORDER:
            for value in find_values(entry, name):
                unit = mangle_unit(value, ".mount")
                # That a unit waits for itself is dropped by systemd.
                if unit != mount_unit(entry.where or entry.what):
                    yield f"unit {unit}", f"{entry} says {name}={value}"

    def _need_for_volume(self, volume: "Volume") -> "Edges":
        if volume.network:
            yield "late", f"{volume.source} waits for the network"
        if normalise(volume.key) in _RANDOM:
            yield "seed", f"{volume.source} has a random key, which comes after the random seed"
        for path, what in ((volume.key, "key"), (volume.header, "header"), (volume.device, "device")):
            path = normalise(path)
            if path.startswith(_MAPPER) and path[len(_MAPPER) :] in self.volumes:
                yield f"crypt {path[len(_MAPPER) :]}", f"{volume.source} is on {path}"
            elif path.startswith("/") and not path.startswith("/dev/"):
                yield from self._need_path(path, f"{volume.source} has its {what} in {path}")

    def _need_for_unit(self, name: str) -> "Edges":
        if not self.nodes:
            self._name_nodes()
        if name in self.nodes:
            yield self.nodes[name], ""
        elif name in _LATE:
            yield "late", f"{name} comes after all local file systems"
        elif name.endswith(".automount") and f"{name[:-10]}.mount" in self.nodes:
            where = self.nodes[f"{name[:-10]}.mount"].partition(" ")[2]
            if where in self.entries and is_automount(self.entries[where]):
                yield from self._need_above(where, f"{self.entries[where]} mounts at {where}")
        elif name == "cryptsetup.target":
            for volume in self.volumes.values():
                if volume.waited:
                    yield f"crypt {volume.name}", ""
        elif name in self.inputs.texts:
            yield from self._need_by_text(name, self.inputs.texts[name])

    def _name_nodes(self) -> None:
        """Note which units of systemd's generators and of ours have a node of their own."""
        self.nodes = {"swap.target": "swap", "systemd-random-seed.service": "seed"}
        for name in self.volumes:
            instance = escape_path(f"/{name}")
            device = escape_path(_MAPPER + name)
            for unit in (f"systemd-cryptsetup@{instance}.service", f"blockdev@{device}.target", f"{device}.device"):
                self.nodes[unit] = f"crypt {name}"
        for number, entry in enumerate(self.inputs.swaps):
            self.nodes[f"{escape_path(normalise(entry.what))}.swap"] = f"swap {number}"
        for where, backing in self.accepted.items():
            self.nodes[prepare_unit(where)] = f"prepare {where}"
            self.nodes[mount_unit(where)] = f"overlay {where}"
            if not backing.tmpfs and backing.mount in self.entries:
                self.nodes[fallback_unit(backing.mount)] = f"mount {backing.mount}"
        for where in self.entries:
            self.nodes[mount_unit(where)] = f"mount {where}"

    def _need_by_text(self, name: str, text: str) -> "Edges":
        from overlay_generator.unittext import Needs, read_mount

        needs = Needs(name, text)
        if needs.late:
            yield "late", f"{name} comes after all local file systems"
        for unit in needs.units:
            yield f"unit {unit}", f"{name} comes after {unit}"
        for path in needs.paths:
            yield from self._need_path(normalise(path), f"{name} uses {path}")
        if name.endswith((".mount", ".swap", ".automount")):
            entry = read_mount(name, needs)
            yield from self._need_source(entry)
            if entry.where:
                yield from self._need_above(entry.where, f"{name} mounts at {entry.where}")
            if is_network(entry) and needs.defaults:
                yield "late", f"{name} waits for the network"
            if entry.fstype == "tmpfs" and needs.defaults:
                yield "swap", f"{name} is a tmpfs, which comes after all swap"

    def _need_above(self, path: str, step: str) -> "Edges":
        for above in ancestors(path):
            if above in self.entries or above in self.accepted:
                # That one waits for those above it by itself.
                yield f"{'mount' if above in self.entries else 'overlay'} {above}", step
                return

    def _need_path(self, path: str, step: str) -> "Edges":
        if ".." in path.split("/"):
            return  # systemd takes no such path, neither here nor elsewhere
        if path in self.entries or path in self.accepted:
            yield f"{'mount' if path in self.entries else 'overlay'} {path}", step
        else:
            yield from self._need_above(path, step)


def find_units(entries: "list[FstabEntry]") -> "list[str]":
    """The units that options of `entries` name, without those whose place in the order is known."""
    found = [
        mangle_unit(value, ".mount")
        for entry in entries
        if names_units(entry)
        for name in ORDER
        for value in find_values(entry, name)
    ]
    return list(dict.fromkeys(name for name in found if is_unknown(name)))


def is_unknown(name: str) -> bool:
    """True if only the text of the unit `name` tells what it waits for."""
    return name not in _LATE and name not in _EARLY and not name.endswith(".device")


def _split_words(text: str) -> "list[str]":
    """`text` as a list of words, which may be quoted."""
    if not any(character in text for character in " \t\"'\\"):
        return [text]
    from overlay_generator.unittext import split_words

    return split_words(text)
