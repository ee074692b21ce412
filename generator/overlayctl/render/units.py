# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The units of a plan for an image without Python: the generator's own, changed where only the boot can know. Pure.

What the generator's render() makes of the plan is taken apart and put together again, so that the two can't drift
apart. What is different, and why:

- Each unit gets conditions in place of what the generator would have seen at boot: the kernel command line
  (flags.py), and units of other generators, which outrank static ones: those are left alone.
- A tmpfs of ours gives way to a line that was added to fstab later. Its overlay has options that no disk may have; /var
  is read-only then, until somebody renders again. Otherwise memory would seem to persist, or data would go there.
- prepare runs mkdir, chmod, rm and ln in place of Python (services.py).
- Without Python no image can be told from another. So the overlay of a disk has the options that don't depend on it
  (see limits.py for where that is not enough), and the notes of an image with Python (`image`, `uuids`, `names`) are
  removed, as they go stale: such an image, when it comes back, makes the upper layer fit again. So is a reset that an
  operator has staged there, as it was meant for older data. Stopping the boot, or dropping data, because the image has
  changed would be worse than what can go wrong.
- overlayfs.reset is a service before prepare: renames into trash/BOOT-ID, deleted while the boot goes on.
- overlayfs.upper=volatile is two services with the commands of the generator's plan for such a boot. They mount the
  overlay themselves, before var.mount, which is skipped: the options of a unit can't depend on a condition.
- Labels of SELinux are set by chcon, and the context to mount in is given by the builder, as no policy can be asked.
- If a nofail disk is missing or read-only, the generator's fallback service runs, and another one reports that.
"""

from overlay_generator.model import UnitFile, UnitLink
from overlay_generator.names import ancestors, failure_mark, fallback_unit, mount_unit, prepare_unit, verify_unit
from overlay_generator.render import render as render_boot
from overlay_prepare.events import READ_ONLY
from overlayctl.render import flags as render_flags
from overlayctl.render import services as static_services
from overlayctl.render.failure import make_failing
from overlayctl.render.services import make_layers, name_service, needs_owner
from overlayctl.render.text import find, parse, replace, say, spell, value, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_generator.model import OverlayMount, Plan
    from overlayctl.render.text import Sections

    File = UnitFile | UnitLink

UNITS = "usr/lib/systemd/system"

_GENERATED = "/run/systemd/generator"
_PYTHON = "ExecStart=/usr/bin/python3 "


def render(plan: "Plan", in_memory: "Plan", always: bool = False) -> "list[File]":
    """The files of `plan`, `directory` relative to the image's root; `always`: also without overlayfs.mounts.

    `in_memory` is the same plan for a boot with overlayfs.upper=volatile. Raises ValueError for what it does not know.
    """
    # Without a shell there is a line for each command, which can be changed here.
    job = _Job(_without_shell(plan), _without_shell(in_memory), always, plan.shell)
    plan = job.plan
    files = [static for file in render_boot(plan) for static in job.make(file)]
    for mount in plan.mounts:
        files += job.add_for(mount)
    return files


def _without_shell(plan: "Plan") -> "Plan":
    values = {name: getattr(plan, name) for name in plan.__slots__}
    return type(plan)(**{**values, "shell": False, "static": True})


class _Job:
    """One rendering; `prepared` has the prepare service of each directory once it is made."""

    def __init__(self, plan: "Plan", in_memory: "Plan", always: bool, shell: bool) -> None:
        self.plan = plan
        self.shell = shell
        self.always = always
        self.wheres = [mount.where for mount in plan.mounts]
        self.prepared: dict[str, Sections] = {}
        self.in_memory = {mount.where: mount for mount in in_memory.mounts}
        self.texts = {file.path: file.text for file in render_boot(in_memory) if isinstance(file, UnitFile)}

    def make(self, file: "File") -> "list[File]":
        """What becomes of one file of the generator's: itself, or nothing."""
        mount = next((m for m in self.plan.mounts if file.group in (m.where, m.backing.mount)), None)
        if mount is None:
            return []  # of a directory passed through
        if isinstance(file, UnitLink):
            return [UnitLink(UNITS, file.path, file.target, file.group)]
        sections = parse(file.text)
        if file.path == fallback_unit(mount.backing.mount):
            self._change_fallback(mount, sections)
        elif file.path == prepare_unit(mount.where):
            self._change_prepare(mount, sections)
        elif file.path == mount_unit(mount.where):
            sections["Unit"] += [*self._flags(mount), *_disk_flags(mount)]
        elif file.path == mount_unit(mount.backing.path):
            sections["Unit"] += self._flags(mount)
        elif file.path == verify_unit(mount.where):
            text = f"{mount.where}: {static_services.READ_ONLY}"
            commands = [f"ExecStart={command}" for command in static_services.fail_by(mount, "read-only")]
            fields = static_services.name_event(READ_ONLY, static_services.READ_ONLY)
            lines = [fields, "StandardOutput=journal+console", f"ExecStart={say(3, text)}", *commands]
            replace(sections["Service"], _PYTHON, lines)
        elif ".automount.d/" in file.path:
            return []  # it would count in a boot without the flag too
        # A device's limit counts without the flag as well: there nothing waits for it.
        elif not any(f".{kind}.d/" in file.path for kind in ("service", "mount", "swap", "device")):
            raise ValueError(f"no static form of {file.path} is known")
        text = spell(sections)
        if _PYTHON in text:
            raise ValueError(f"{file.path} needs Python")
        return [UnitFile(UNITS, file.path, text, file.group)]

    def add_for(self, mount: "OverlayMount") -> "list[File]":
        """What is done by Python in the generator's units, and what they would be in another boot."""
        prepare = self.prepared[mount.where]
        services = {}
        if needs_owner(mount):
            services["upper"] = static_services.make_upper(mount, prepare)
        if mount.backing.nofail:
            services["warn"] = static_services.make_warning(mount, prepare)
        if not mount.backing.volatile:
            services["reset"] = static_services.make_reset(mount, prepare, self.wheres)
            services["trash"] = static_services.make_trash(mount, prepare)
        files: list[File] = [
            UnitFile(UNITS, name_service(mount, kind), spell(sections), mount.where)
            for kind, sections in services.items()
        ]
        if not mount.backing.volatile:
            files += self._make_volatile(mount)
        files += make_failing(mount, UNITS, self.shell, [*self._flags(mount), *render_flags.on_disk()])
        return [*files, *static_services.write_notes(mount)]

    def _make_layers(self, mount: "OverlayMount", memory: str = "") -> "list[str]":
        path = memory or mount.backing.path
        names = ("lower", "upper", "work")
        # With "-", as there may be no SELinux in a boot of it. Without what the image's directory has nobody may mount
        # there, nor copy up by way of work.
        label = f"-/usr/bin/chcon --reference={word(mount.where)} {' '.join(f'{path}/{name}' for name in names)}"
        return [*make_layers(mount, memory), *([label] if self.plan.mounter else [])]

    def _flags(self, *mounts: "OverlayMount") -> "list[str]":
        return render_flags.wanted([mount.where for mount in mounts], self.wheres, self.always)

    def _change_fallback(self, mount: "OverlayMount", sections: "Sections") -> None:
        where = mount.backing.mount
        users = [other for other in self.plan.mounts if other.backing.mount == where]
        # With the generator, prepare finds a disk that is read-only. One of two conditions is enough: triggers ("|").
        either = [f"ConditionPathIsMountPoint=|!{value(where)}", f"ConditionPathIsReadWrite=|!{value(where)}"]
        replace(sections["Unit"], "ConditionPathIsMountPoint=!", either)
        # Nor once an overlay uses it.
        sections["Unit"] += [f"ConditionPathIsMountPoint=!{other.backing.path}/lower" for other in users]
        sections["Unit"] += [*self._flags(*users), *_disk_flags(mount)]
        # Not on top of what is mounted: with a device below the tmpfs, the shutdown hangs (systemd 257).
        service = sections["Service"]
        service.insert(find(service, "ExecStart="), f"ExecStart=-/bin/umount -q {where}")

    def _change_prepare(self, mount: "OverlayMount", sections: "Sections") -> None:
        backing = mount.backing
        unit, service = sections["Unit"], sections["Service"]
        if find(service, _PYTHON) >= 0:
            replace(service, _PYTHON, (f"ExecStart={command}" for command in self._make_layers(mount)))
        # Nothing makes this mark here: a unit's own commands can't tell that one of them has failed.
        unit.remove(f"ConditionPathExists=!{failure_mark(mount.where)}")
        unit += self._flags(mount)
        unit.append(_no_generated(mount_unit(mount.where)))
        if backing.tmpfs:
            unit.append(_no_generated(mount_unit(backing.path)))
        else:
            unit.append(f"ConditionPathIsReadWrite={value(backing.mount)}")
        unit += _disk_flags(mount)
        wants = [] if backing.volatile else [name_service(mount, "reset"), name_service(mount, "trash")]
        wants += [name_service(mount, "warn")] if backing.nofail else []
        pulled = [f"Wants={' '.join(wants)}"] if wants else []
        pulled += [f"Requires={name_service(mount, 'upper')}"] if needs_owner(mount) else []
        replace(unit, "DefaultDependencies=no", ["DefaultDependencies=no", *pulled])
        self.prepared[mount.where] = sections

    def _make_volatile(self, mount: "OverlayMount") -> "list[File]":
        """What the generator plans for a boot that leaves the disk alone, under names of its own."""
        where = mount.where
        path = self.in_memory[where].backing.path
        tmpfs, prepare, overlay = (
            parse(self.texts[name]) for name in (mount_unit(path), prepare_unit(where), mount_unit(where))
        )
        flags = [*self._flags(mount), *render_flags.in_memory()]
        tmpfs["Unit"] += flags
        self._change_volatile_prepare(mount, path, prepare, flags)
        kind = "wants" if mount.optional else "requires"
        name = name_service(mount, "mount")
        return [
            UnitFile(UNITS, mount_unit(path), spell(tmpfs), where),
            UnitFile(UNITS, name_service(mount, "volatile"), spell(prepare), where),
            UnitFile(UNITS, name, spell(self._mount_volatile(mount, overlay, flags)), where),
            UnitLink(UNITS, f"local-fs.target.{kind}/{name}", f"../{name}", where),
        ]

    def _change_volatile_prepare(
        self, mount: "OverlayMount", path: str, sections: "Sections", flags: "list[str]"
    ) -> None:
        where = mount.where
        unit, service = sections["Unit"], sections["Service"]
        replace(unit, "Description=", [f"Description={value(f'Prepare memory for the overlay on {where}')}"])
        # Beside each overlay's mount unit, as the generator has it, there is a service here.
        names = [name_service(m, "mount") for m in self.plan.mounts if mount_unit(m.where) in mount.before]
        own = name_service(mount, "mount")
        replace(unit, "Before=", [" ".join((unit[find(unit, "Before=")], own, *names))])
        unit.remove(f"ConditionPathExists=!{failure_mark(where)}")
        unit += [*flags, _no_generated(mount_unit(where))]
        if find(service, _PYTHON) >= 0:
            replace(service, _PYTHON, (f"ExecStart={command}" for command in self._make_layers(mount, path)))

    def _mount_volatile(self, mount: "OverlayMount", overlay: "Sections", flags: "list[str]") -> "Sections":
        where = mount.where
        around = [m for m in self.plan.mounts if m.where in ancestors(where)]
        after = [name for m in around for name in (mount_unit(m.where), name_service(m, "mount"))]
        unit = [
            line.replace(prepare_unit(where), name_service(mount, "volatile"))
            for line in overlay["Unit"]
            if not line.startswith(("Description=", "Before="))
        ]
        before = [mount_unit(where), "umount.target", *(() if mount.optional else ("local-fs.target",))]
        options = overlay["Mount"][find(overlay["Mount"], "Options=")].partition("=")[2]
        return {
            "Unit": [
                f"Description={value(f'Overlay on {where} in memory, for this boot')}",
                *unit,
                *([f"After={' '.join(after)}"] if after else []),
                f"Before={' '.join(before)}",
                f"ConditionPathIsMountPoint=!{value(where)}",
                *flags,
            ],
            "Service": [
                "Type=oneshot",
                "RemainAfterExit=yes",
                # With "-": where it can't be mounted, the image's directory stays and the boot goes on.
                *[line for line in overlay["Mount"] if line.startswith("SELinuxContext=")],
                f"ExecStart=-/bin/mount -n -t overlay -o {options} overlay {word(where)}",
            ],
        }


def _disk_flags(mount: "OverlayMount") -> "list[str]":
    return [] if mount.backing.volatile else render_flags.on_disk()


def _no_generated(unit: str) -> str:
    return f"ConditionPathExists=!{_GENERATED}/{value(unit)}"
