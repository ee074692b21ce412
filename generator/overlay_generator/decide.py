# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy: which directories get an overlay, on what, and why the others don't. Pure.

A directory that is asked for is left alone if one of these rules holds, and the first one is the reason:

 1. No unit can be written for its path.
 2. An overlay there could never be right: PID 1 needs it first, or it is not on a disk.
 3. We run in the initrd or in a user's manager.
 4. systemd.volatile= asks for another kind of writable directory there.
 5. fstab mounts something there: the owner's word, and two generators must not fight over one unit.
 6. A unit of ours is masked, or an administrator's or vendor's unit mounts something there.
 7. Something is mounted there already, by the initrd or a container manager: PID 1 would take our unit for mounted.
 8. It is missing, not a directory, or reached through a symbolic link, where mount units refuse to work.
 9. The kernel has no overlayfs, or SELinux lets nobody use what is mounted.
10. What should hold the upper layer can't.
"""

from overlay_generator.fstab import (
    can_be_upper,
    find_type,
    has_option,
    is_automount,
    is_bind,
    is_required,
    needs_only_device,
    read_value,
)
from overlay_generator.model import Backing, Directory, FstabEntry, Inputs, OverlayMount, Plan, Problem, Skipped
from overlay_generator.names import (
    BACKING_ROOT,
    EARLY_UNITS,
    VOLATILE_ROOT,
    ancestors,
    backing_name,
    backing_path,
    find_fault,
    is_below,
    mount_unit,
    normalise,
    parent_of,
    unit_names,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_generator.found import OnOverlay
    from overlay_generator.requirers import Softened

_READ_BEFORE = "PID 1 has read it before anything can be mounted"
_API = "it is a file system of the kernel or of PID 1, and writable already"
_REFUSED = {
    "/": "the root directory can't be overlaid once it is running",
    "/usr": "PID 1 runs from it before anything can be mounted",
    "/etc": _READ_BEFORE,
    "/etc/systemd": _READ_BEFORE,
    "/usr/lib/systemd": _READ_BEFORE,
    "/run": _API,
    "/proc": _API,
    "/sys": _API,
    "/dev": _API,
}
_REFUSED_TREES = ("/run", "/proc", "/sys", "/dev", "/etc/systemd", "/usr/lib/systemd")

# systemd-gpt-auto-generator mounts a partition there if the directory is empty and the root's disk has one of the type
# for it. It does so for /var as well, but only if the partition's UUID is derived from this machine's ID.
_FOUND_BY_TYPE = ("/home", "/srv", "/var/tmp")

# Each tmpfs may take what systemd.volatile=state gives to /var, all together no more than half of memory.
_ONE_SIZE, _ALL_SIZES = 25, 50
# How an option begins that may set no limit, see endless.py.
_NO_LIMIT = ("x-systemd.device-timeout=0", "x-systemd.device-timeout=infinity")


def decide(inputs: Inputs) -> Plan:
    """The plan for `inputs`; always one, whatever they are."""
    skipped: list[Skipped] = []
    accepted: dict[str, Backing] = {}
    for where in inputs.request.mounts:
        refusal = _find_refusal(inputs, where)
        if refusal is None:
            backing = _choose_backing(inputs, where)
            if isinstance(backing, Backing):
                accepted[where] = backing
                continue
            refusal = backing
        skipped.append(refusal)
    problems: list[Problem] = []
    hints: list[str] = []
    softened: list[Softened] = []
    if _may_wait(inputs, accepted):
        from overlay_generator.untangle import break_cycles

        softened += break_cycles(inputs, accepted, skipped, problems, hints, _make_memory)
    for refusal in skipped:
        if refusal.where in inputs.settings:
            settings = inputs.settings[refusal.where]
            refusal.notify, refusal.require = settings.notify, settings.require
    mounts = tuple(_plan_mount(inputs, where, accepted, problems, hints) for where in accepted)
    swaps = _find_swaps(inputs, mounts) if inputs.swaps else ()
    softened += _find_softened(inputs, mounts, problems)
    in_memory = sum(1 for mount in mounts if mount.backing.tmpfs or mount.backing.nofail)
    return Plan(
        mounts,
        tuple(skipped),
        (*inputs.request.problems, *inputs.problems, *_find_idle_resets(inputs), *problems),
        source=inputs.request.source,
        size=max(1, min(_ONE_SIZE, _ALL_SIZES // max(1, in_memory))),
        load_module=inputs.kernel == "module",
        library=inputs.library,
        hints=(
            *inputs.unseen,
            *hints,
            *(_describe_swap(path, where) for path, where in swaps),
        ),
        storage=_find_storage(inputs, mounts) if inputs.storage else (),
        mounter=inputs.mounter,
        early=_find_early_units(inputs, accepted),
        shell=inputs.shell,
        swaps=swaps,
        wide=inputs.wide,
        softened=tuple(softened),
    )


def _may_wait(inputs: Inputs, accepted: "dict[str, Backing]") -> bool:
    """False if it is plain that no overlay can wait for itself. Most boots end here, those with a disk too."""
    around = {*ancestors(backing_path("/", VOLATILE_ROOT))}
    no_volumes = not inputs.crypttab and not inputs.request.luks
    for where, backing in accepted.items():
        around.update(ancestors(where))
        if not backing.tmpfs:
            around.update(ancestors(backing.mount))
            entry = _find_entry(inputs, backing.mount)
            if mount_unit(backing.mount) in inputs.texts or (entry and not (no_volumes and needs_only_device(entry))):
                return True
    return any(entry.where in around or "x-systemd.before" in entry.options for entry in inputs.entries)


def _find_swaps(inputs: Inputs, mounts: "tuple[OverlayMount, ...]") -> "tuple[tuple[str, str], ...]":
    """The swap files that lie on an overlay, where the kernel can't use them, each with the overlaid directory."""
    aside = {entry.where for entry in inputs.entries}
    aside.update(word.text for mount in mounts for word in mount.settings.passthrough)
    overlaid = {mount.where for mount in mounts}
    found = []
    for entry in inputs.swaps:
        path = normalise(entry.what)
        nearest = next((above for above in ancestors(path) if above in aside or above in overlaid), "")
        if path.startswith("/") and nearest in overlaid and nearest not in aside:
            found.append((path, nearest))
    return tuple(found)


def _describe_swap(path: str, where: str) -> str:
    return (
        f"{path} can't be used as swap: the kernel can't swap to a file on an overlay, and it is left out; "
        f"keep it beside the upper layer, or pass its directory through (Passthrough= in the section [{where}])"
    )


def _find_early_units(inputs: Inputs, accepted: "dict[str, Backing]") -> "tuple[str, ...]":
    """The units of the image that would use /var before it is overlaid."""
    if "/var" not in accepted:
        return ()
    return tuple(name for name in EARLY_UNITS if name in inputs.units and inputs.units[name].kind != "mask")


def _find_storage(inputs: Inputs, mounts: "tuple[OverlayMount, ...]") -> "tuple[OnOverlay, ...]":
    from overlay_generator.found import find_on_overlays

    return find_on_overlays(inputs, mounts)


def _find_softened(
    inputs: Inputs, mounts: "tuple[OverlayMount, ...]", problems: "list[Problem]"
) -> "tuple[Softened, ...]":
    if not any("x-systemd.required-by=" in entry.options for entry in inputs.entries):
        return ()
    from overlay_generator.requirers import find_softened

    return find_softened(inputs, mounts, problems)


def _find_endless(inputs: Inputs, mount: str) -> str:
    if not any(start in entry.options for entry in inputs.entries for start in _NO_LIMIT):
        return ""
    from overlay_generator.endless import find_endless, name_device

    entry = find_endless(inputs.entries, mount)
    return name_device(entry.what) if entry else ""


def _find_idle_resets(inputs: Inputs) -> "list[Problem]":
    """A problem for each path to be reset where no overlay is asked for."""
    return [
        Problem(
            f"overlayfs.reset: {path} is not among the directories to overlay; nothing is reset there",
            inputs.request.source,
        )
        for path in inputs.request.reset
        if path != "/" and path not in inputs.request.mounts
    ]


def _find_refusal(inputs: Inputs, where: str) -> "Skipped | None":
    fault = find_fault(where) or _find_refused(where)
    if fault:
        return Skipped(where, fault, "error")
    if inputs.context == "initrd":
        return Skipped(where, "the initrd leaves it to the system that it starts", "quiet")
    if inputs.context == "user":
        return Skipped(where, "a user's service manager mounts nothing", "quiet")
    reason = _find_volatile(inputs, where) or _find_in_fstab(inputs, where)
    if reason:
        return Skipped(where, reason)
    return _find_unit(inputs, where) or _find_mounted(inputs, where) or _find_misfit(inputs, where)


def _find_refused(where: str) -> str:
    if where == BACKING_ROOT or is_below(where, BACKING_ROOT):
        return "it lies inside a backing directory of the overlays"
    for tree in _REFUSED_TREES:
        if is_below(where, tree):
            return f"it lies in {tree}: {_REFUSED[tree]}"
    return _REFUSED.get(where, "")


def _find_volatile(inputs: Inputs, where: str) -> str:
    mode = inputs.request.volatile
    if mode == "state" and where != "/var" and not is_below(where, "/var"):
        return ""
    return f"systemd.volatile={mode} on the kernel command line makes it writable its own way" if mode else ""


def _find_in_fstab(inputs: Inputs, where: str) -> str:
    entry = _find_entry(inputs, where)
    if entry and entry.fault:
        # systemd-fstab-generator has written the unit, of the name that ours would have.
        return f"{entry} is to mount {entry.what} there, and systemd can't use that line"
    return f"{entry} mounts {entry.what} there" if entry else ""


def _find_entry(inputs: Inputs, where: str) -> "FstabEntry | None":
    """The entry that mounts at `where`; the first, as systemd-fstab-generator drops the others."""
    for entry in inputs.entries:
        if entry.where == where:
            return entry
    return None


def _find_unit(inputs: Inputs, where: str) -> "Skipped | None":
    for name in unit_names(where):
        unit = inputs.units.get(name)
        if name in inputs.request.masked:
            return Skipped(where, f"{name} is masked by systemd.mask= on the kernel command line")
        if unit and unit.kind == "mask":
            return Skipped(where, f"{name} is masked by {unit.path}")
    unit = inputs.units.get(mount_unit(where))
    if unit and unit.kind != "buildroot":
        return Skipped(where, f"{unit.path} provides {mount_unit(where)}")
    return None


def _find_mounted(inputs: Inputs, where: str) -> "Skipped | None":
    at = [mounted for mounted in inputs.mounted if mounted.where == where]
    uppers = {f"upperdir={backing_path(where, root)}/upper" for root in (BACKING_ROOT, VOLATILE_ROOT)}
    if any(mounted.fstype == "overlay" and uppers.intersection(mounted.options.split(",")) for mounted in at):
        # A daemon-reload: what is at and below it now is what earlier runs of ours and fstab asked for.
        return None
    if at:
        return Skipped(where, f"a file system of type {at[-1].fstype} is mounted there already")
    for mounted in inputs.mounted:
        if is_below(mounted.where, where):
            return Skipped(where, f"{mounted.where} below it is mounted already, and would be hidden")
    return None


def _find_misfit(inputs: Inputs, where: str) -> "Skipped | None":
    directory = inputs.directories.get(where, Directory("unseen"))
    if directory.state == "symlink":
        return Skipped(where, f"{directory.detail}; ask for the directory it leads to")
    if directory.state == "missing":
        return Skipped(where, f"{directory.detail} does not exist in the image; {_advise(where)}", "error")
    if directory.state == "file":
        return Skipped(where, "it is not a directory", "error")
    if inputs.kernel == "absent":
        kernel = f"kernel {inputs.release}" if inputs.release else "the kernel"
        reason = f"{kernel} has overlayfs neither built in nor as a module; build it with CONFIG_OVERLAY_FS"
        return Skipped(where, reason, "error")
    if inputs.mounter and inputs.mounter.fault:
        return Skipped(where, f"SELinux: {inputs.mounter.fault}; see docs/security-modules.md", "error")
    return None


def _advise(where: str) -> str:
    """What to do about a directory that does not exist."""
    for sign in ":;|+&":
        if f"{sign}/" in where:
            return f"if several are meant, separate them by commas: {where.replace(f'{sign}/', ',/')}"
    return "create it there"


def _choose_backing(inputs: Inputs, where: str) -> "Backing | Skipped":
    """Where upper and work of `where` go at this boot."""
    backing = _find_backing(inputs, where)
    if not inputs.request.in_memory or (isinstance(backing, Backing) and backing.volatile):
        return backing
    return _make_memory(inputs, where)


def _make_memory(inputs: Inputs, where: str) -> Backing:
    """A tmpfs of our own for `where`, apart from what the owner's line of fstab mounts, which is to stay as it is."""
    path = backing_path(where, VOLATILE_ROOT)
    return Backing(path, path, True, True, False, inputs.request.source)


def _find_backing(inputs: Inputs, where: str) -> "Backing | Skipped":
    """The owner's file system if there is one, else a tmpfs of ours."""
    path = backing_path(where)
    for inner in inputs.entries:
        if is_below(inner.where, path) and not inner.fault:
            reason = f"{inner} mounts at {inner.where}, but upper and work must be on one mount: mount it at {path}"
            return Skipped(where, reason, "error")
    for mount in (path, *ancestors(path)):
        entry = _find_entry(inputs, mount) if mount != "/run" else None
        if entry and entry.fault:
            # Apart from it: a unit of ours at that place would have the same name.
            memory = _make_memory(inputs, where)
            memory.lost = "" if inputs.request.in_memory else f"{entry} can't hold its upper layer: {entry.fault}"
            return memory
        if entry:
            fstype = find_type(entry)
            if not can_be_upper(fstype):
                reason = f"{entry} mounts {fstype} at {mount}, which can't hold an upper layer"
                return Skipped(where, f"{reason}: use ext4, xfs, btrfs or f2fs, on raw NAND ubifs", "error")
            return Backing(
                path,
                mount,
                tmpfs=False,
                volatile=fstype == "tmpfs",
                nofail=not is_required(entry),
                source=entry.source.partition(" (")[0],
                fstype=fstype,
                growfs=has_option(entry, "x-systemd.growfs"),
                automount=is_automount(entry),
                bind=is_bind(entry),
                after_swap=read_value(entry.fstype) == "tmpfs" and is_bind(entry),
                endless=_find_endless(inputs, mount),
            )
    unit = inputs.units.get(mount_unit(path))
    if unit:
        # Its Type= may be anything: the options that are safe for a disk are safe for a tmpfs too. Where nothing else
        # makes it part of the boot, a boot without the overlay does not fail with it either.
        return Backing(path, path, False, False, not unit.required, unit.path)
    if any(mounted.where == path and mounted.fstype != "tmpfs" for mounted in inputs.mounted):
        return Backing(path, path, False, False, False, inputs.request.source)
    return Backing(path, path, True, True, False, inputs.request.source, lost=_find_hidden(inputs, path))


def _find_hidden(inputs: Inputs, path: str) -> str:
    """Why a line for `path` may be missing in what is known of fstab, "" if nothing is missing."""
    around = set() if inputs.request.in_memory else {"/", path, *ancestors(path)}
    return next((str(problem) for problem in inputs.problems if around.intersection(problem.hides)), "")


def _plan_mount(
    inputs: Inputs,
    where: str,
    accepted: "dict[str, Backing]",
    problems: "list[Problem]",
    hints: "list[str]",
) -> OverlayMount:
    """The overlay on `where`, ordered among the mounts around it.

    Inside another overlay of ours, lower is bound before that one is mounted, so that it is the image's own
    directory: a persistent upper must not have an overlay below it. A mount of fstab in between ends this.
    """
    before = []
    parent = parent_of(where)
    optional = False
    inside = True
    for above in ancestors(where):
        entry = _find_entry(inputs, above)
        if entry and not entry.fault:
            inside = False
            optional = optional or not is_required(entry)
        elif inside and above in accepted:
            before.append(mount_unit(above))
            parent = parent_of(above)
    directory = inputs.directories.get(where, Directory("unseen"))
    reset = bool({"/", where}.intersection(inputs.request.reset))
    settings = None
    if where in inputs.settings:
        from overlay_generator.settings import settle

        settings = settle(inputs, where, accepted, problems, hints)
    yields = where in _FOUND_BY_TYPE and mount_unit(where) not in inputs.units
    return OverlayMount(
        where, backing_name(where), accepted[where], directory, parent, tuple(before), optional, reset, settings, yields
    )
