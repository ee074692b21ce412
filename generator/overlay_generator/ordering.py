# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The order that fstab and crypttab ask for: finds an overlay that waits for itself, through what holds its upper
layer. systemd breaks such an ordering cycle by dropping one of its units, whichever it comes upon first. Pure.

A node is a word with what it stands for: `overlay /var`, `mount /data`, `crypt NAME`, `swap`, `seed` (the random seed),
`late` (what starts when all local file systems are mounted), `unit NAME`. Modelled on systemd's src/core/mount.c,
src/fstab-generator and src/cryptsetup/cryptsetup-generator.c, 247 to 262.
"""

from overlay_generator.fstab import find_type, find_values, is_bind, is_network, is_noauto
from overlay_generator.model import Backing, FstabEntry, Inputs, Value
from overlay_generator.names import ancestors, is_below, mount_unit, normalise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Edges = Iterator[tuple[str, str]]

_RANDOM = ("/dev/urandom", "/dev/random", "/dev/hw_random", "/dev/hwrng")
_SEED = "/var/lib/systemd/random-seed"
_MAPPER = "/dev/mapper/"
# What comes after local-fs.target, or may: the network is brought up by units that do.
_LATE = frozenset((
    "local-fs.target", "sysinit.target", "basic.target", "sockets.target", "timers.target", "paths.target",
    "multi-user.target", "graphical.target", "network.target", "network-online.target", "remote-fs.target",
    "remote-fs-pre.target", "remote-cryptsetup.target", "nss-lookup.target", "time-sync.target", "initrd.target",
))  # fmt: skip
_EARLY = frozenset(("local-fs-pre.target", "cryptsetup-pre.target", "swap.target", "cryptsetup.target"))
# Settings of a unit that make it wait for the mounts of a path (systemd.exec(5)).
_PLACES = {
    "RequiresMountsFor": "", "WantsMountsFor": "", "StateDirectory": "/var/lib/", "CacheDirectory": "/var/cache/",
    "LogsDirectory": "/var/log/",
}  # fmt: skip


class Volume(Value):
    """A line of crypttab(5): `name` is that of the device, `key` and `header` are where these are read from."""

    __slots__ = ("device", "header", "key", "name", "network", "source")

    def __init__(self, name: str, device: str, key: str, header: str, network: bool, source: str) -> None:
        self.name = name
        self.device = device
        self.key = key
        self.header = header
        self.network = network
        self.source = source


def parse_crypttab(text: str, source: str = "/etc/crypttab") -> "list[Volume]":
    """The volumes of `text`; an invalid line is left out, as systemd-cryptsetup-generator does."""
    volumes = []
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split()
        if len(fields) < 2 or fields[0].startswith("#"):
            continue
        name, device, key, options = [*fields, "", ""][:4]
        header = next((word[7:] for word in options.split(",") if word.startswith("header=")), "")
        # KEY:DEVICE is read from that device, and not from what is mounted.
        path, colon, _ = key.partition(":")
        key = "" if colon and path.startswith("/") and not path.startswith("/dev/") else key
        volumes.append(Volume(name, device, key, header, "_netdev" in options.split(","), f"{source}:{number}"))
    return volumes


def find_cycle(inputs: Inputs, accepted: "Mapping[str, Backing]", where: str) -> "list[str]":
    """Why the overlay on `where`, one of `accepted`, would wait for itself: the steps in words, none if it does not."""
    return _find_way(_Machine(inputs, accepted), f"overlay {where}", f"overlay {where}")


def find_suspect(inputs: Inputs, accepted: "Mapping[str, Backing]", where: str) -> "list[str]":
    """As find_cycle(), for a disk that may be on a volume that waits for `where`, though nothing says that it is."""
    machine = _Machine(inputs, accepted)
    entry = machine.entries.get(accepted[where].mount)
    if not entry or (entry.what.startswith("/") and not entry.what.startswith("/dev/")):
        return []
    named = {other.what for other in (*inputs.entries, *inputs.swaps)}
    for volume in machine.volumes.values():
        if f"{_MAPPER}{volume.name}" not in named:
            volume_first = _find_way(machine, f"crypt {volume.name}", f"overlay {where}")
            if volume_first:
                return volume_first
    return []


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
        self.entries: dict[str, FstabEntry] = {}
        for entry in inputs.entries:
            self.entries.setdefault(entry.where, entry)
        self.volumes = {volume.name: volume for volume in parse_crypttab(inputs.crypttab)}

    def find_needs(self, node: str) -> "Edges":
        """The nodes that come before `node`, each with words that say why, "" where that goes without saying."""
        kind, _, name = node.partition(" ")
        if kind == "overlay":
            yield from self._need_for_overlay(name)
        elif kind == "mount":
            yield from self._need_for_mount(self.entries[name])
        elif kind == "crypt":
            yield from self._need_for_volume(self.volumes[name])
        elif kind == "unit":
            yield from self._need_for_unit(name)
        elif kind == "seed":
            yield from self._need_path(_SEED, f"the random seed is in {_SEED}")
        elif kind == "swap":
            for entry in self.inputs.swaps:
                if not is_noauto(entry):
                    yield from self._need_for_swap(entry)
        elif kind == "late":
            for where in self.accepted:
                yield f"overlay {where}", ""

    def _need_for_overlay(self, where: str) -> "Edges":
        yield from self._need_backing(where)
        for above in ancestors(where):
            if above in self.accepted:
                break
            if above in self.entries:
                yield f"mount {above}", ""
                break
        for inner in self.accepted:
            # Its lower layer is bound before this overlay is mounted, and that bind waits for its backing.
            if is_below(inner, where):
                yield from self._need_backing(inner)

    def _need_backing(self, where: str) -> "Edges":
        backing = self.accepted[where]
        if not backing.tmpfs and backing.mount in self.entries:
            yield f"mount {backing.mount}", ""

    def _need_for_mount(self, entry: FstabEntry) -> "Edges":
        if entry.where != "/":
            yield from self._need_above(entry.where, f"{entry} mounts at {entry.where}")
        yield from self._need_source(entry)
        yield from self._need_options(entry)
        ours = any(entry.where == backing.mount for backing in self.accepted.values())
        if find_type(entry) == "tmpfs" and not ours:
            # Of one that holds an upper layer, a drop-in of ours removes this dependency.
            yield "swap", f"{entry} is a tmpfs, which comes after all swap"
        for other in self.entries.values():
            if mount_unit(entry.where) in map(_find_unit, find_values(other, "x-systemd.before")):
                yield f"mount {other.where}", f"{other} says x-systemd.before= for {entry.where}"

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
            for path in find_values(entry, name):
                yield from self._need_path(normalise(path), f"{entry} says {name}={path}")
        for name in ("x-systemd.requires", "x-systemd.after", "x-systemd.wants"):
            for unit in find_values(entry, name):
                yield f"unit {_find_unit(unit)}", f"{entry} says {name}={unit}"

    def _need_for_volume(self, volume: Volume) -> "Edges":
        if volume.network:
            yield "late", f"{volume.source} waits for the network"
        if volume.key in _RANDOM:
            yield "seed", f"{volume.source} has a random key, which comes after the random seed"
        for path, what in ((volume.key, "key"), (volume.header, "header"), (volume.device, "device")):
            path = normalise(path)
            if path.startswith(_MAPPER) and path[len(_MAPPER) :] in self.volumes:
                yield f"crypt {path[len(_MAPPER) :]}", f"{volume.source} is on {path}"
            elif path.startswith("/") and not path.startswith("/dev/"):
                yield from self._need_path(path, f"{volume.source} has its {what} in {path}")

    def _need_for_unit(self, name: str) -> "Edges":
        if name in _LATE:
            yield "late", f"{name} comes after all local file systems"
        elif name == "swap.target":
            yield "swap", ""
        elif name == "cryptsetup.target":
            for volume in self.volumes:
                yield f"crypt {volume}", ""
        elif name == "systemd-random-seed.service":
            yield "seed", ""
        elif name.endswith(".mount"):
            for where in (*self.entries, *self.accepted):
                if mount_unit(where) == name:
                    yield f"{'mount' if where in self.entries else 'overlay'} {where}", ""
        elif name in self.inputs.texts:
            yield from self._need_by_text(name, self.inputs.texts[name])

    def _need_by_text(self, name: str, text: str) -> "Edges":
        settings = [line.partition("=") for line in text.replace("\\\n", " ").split("\n") if "=" in line]
        values = [(key.strip(), value.strip()) for key, _, value in settings]
        is_early = ("DefaultDependencies", "no") in values or name.endswith((".target", ".device"))
        if not is_early:
            yield "late", f"{name} comes after all local file systems"
        for key, value in values:
            if key == "After":
                for word in value.split():
                    yield f"unit {word}", f"{name} comes after {word}"
            elif key in _PLACES:
                for word in value.split():
                    yield from self._need_path(normalise(_PLACES[key] + word), f"{name} uses {_PLACES[key]}{word}")

    def _need_above(self, path: str, step: str) -> "Edges":
        for above in ancestors(path):
            if above in self.entries or above in self.accepted:
                # That one waits for those above it by itself.
                yield f"{'mount' if above in self.entries else 'overlay'} {above}", step
                return

    def _need_path(self, path: str, step: str) -> "Edges":
        if path in self.entries or path in self.accepted:
            yield f"{'mount' if path in self.entries else 'overlay'} {path}", step
        else:
            yield from self._need_above(path, step)


def find_units(entries: "list[FstabEntry]") -> "list[str]":
    """The units that options of `entries` name, without those whose place in the order is known."""
    found = [
        _find_unit(value)
        for entry in entries
        if "x-systemd." in entry.options
        for name in ("x-systemd.requires", "x-systemd.after", "x-systemd.wants")
        for value in find_values(entry, name)
    ]
    return list(dict.fromkeys(name for name in found if _is_unknown(name)))


def read_units(entries: "list[FstabEntry]", read: "Callable[[str], str]") -> "dict[str, str]":
    """The texts of the units that options of `entries` name, and of those that these wait for, as `read` has them."""
    texts: dict[str, str] = {}
    names = find_units(entries)
    for name in names:
        text = read(name)
        if text:
            texts[name] = text
        lines = (line.partition("=") for line in text.replace("\\\n", " ").split("\n"))
        after = [word for key, _, value in lines if key.strip() == "After" for word in value.split()]
        # The list grows while the loop goes through it.
        names += [other for other in after if _is_unknown(other) and other not in names]
    return texts


def _is_unknown(name: str) -> bool:
    """True if only the text of the unit `name` tells what it waits for."""
    return name not in _LATE and name not in _EARLY and not name.endswith((".mount", ".device", ".swap"))


def _find_unit(name: str) -> str:
    """The unit that x-systemd.requires=`name` means: a path is a mount or a device, a bare name a mount."""
    if name.startswith("/dev/"):
        return f"{name}.device"
    if name.startswith("/"):
        return mount_unit(normalise(name))
    return name if "." in name else f"{name}.mount"
