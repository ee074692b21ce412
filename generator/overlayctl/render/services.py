# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the generator's prepare does in Python, as commands of coreutils or BusyBox and services with conditions. Pure.

The services run beside prepare, and take over its dependencies and conditions: where prepare may not write, they may
not either.
"""

import json

from overlay_generator.model import UnitFile
from overlay_generator.names import fallback_mark, mount_unit, prepare_unit, quote_paths
from overlay_generator.render import confine, name_log
from overlay_prepare.events import FELL_BACK, RESET_DONE
from overlayctl.render import flags
from overlayctl.render.text import say, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_generator.model import Backing, OverlayMount
    from overlayctl.render.text import Sections

# Beside the generator's own package, which such an image does not have.
NOTES = "usr/lib/overlay-generator/static"

READ_ONLY = "the overlay is read-only; see the kernel's messages"
_STATE = "/run/overlay-generator"
# What an image with Python keeps beside the upper layer, and is wrong once another image has used the layer.
_STALE = ("image", "uuids", "names", "reset")


def name_service(mount: "OverlayMount", kind: str) -> str:
    """The name of one of the services: upper, reset, trash, warn, volatile or mount."""
    return f"{kind}-{mount.name}-overlay.service"


def needs_owner(mount: "OverlayMount") -> bool:
    """True if the upper layer lasts and is not root's: it is made once, and chown would undo what came after."""
    owner = (mount.directory.uid, mount.directory.gid)
    return not mount.backing.tmpfs and mount.directory.state == "directory" and owner != (0, 0)


def make_layers(mount: "OverlayMount", memory: str = "") -> "list[str]":
    """The commands in place of the Python of prepare; `memory` is an empty tmpfs to make the layers in instead."""
    path = memory or mount.backing.path
    lasting = not memory and not mount.backing.tmpfs
    directory = mount.directory
    mode = directory.mode if directory.state == "directory" else 0o755
    made_before = lasting and needs_owner(mount)
    plain = mode == 0o755 and not made_before
    # In coreutils and BusyBox, -m counts only for a directory that mkdir makes.
    commands = [f"/bin/mkdir -p -m 0700 {path}", f"/bin/chmod 0700 {path}"]
    commands.append(f"/bin/mkdir -p {path}/lower {path}/work{f' {path}/upper' if plain else ''}")
    if not plain and not made_before:
        commands.append(f"/bin/mkdir -p -m {mode:04o} {path}/upper")
    if not lasting and (directory.uid, directory.gid) != (0, 0):
        # chown(2) drops the set-group-ID bit, so the mode comes again after it.
        commands.append(f"/bin/chown {directory.uid}:{directory.gid} {path}/upper")
        commands.append(f"/bin/chmod {mode:04o} {path}/upper")
    if lasting:
        stale = [] if mount.backing.volatile else [f"{path}/{name}" for name in _STALE]
        stale += [_name_message(mount)] if mount.backing.nofail else []
        stale += [] if mount.backing.volatile else [f"{_STATE}/{mount.name}.failed"]
        commands += [f"/bin/rm -f {' '.join(stale)}"] if stale else []
        commands.append(f"/bin/mkdir -p {_STATE}")
        commands.append(f"/bin/ln -sf /{NOTES}/{mount.name}.json {_STATE}/{mount.name}.json")
    return commands


def write_notes(mount: "OverlayMount") -> "list[UnitFile]":
    """What the units link to in /run: the texts that the generator's prepare would write."""
    name = mount.name
    notes = [] if mount.backing.tmpfs else [(f"{name}.json", _spell_state(mount, ""))]
    if mount.backing.nofail:
        notes.append((f"{name}.failed", f"{_explain(mount.backing)}\n"))
        notes.append((f"{name}.fallen-back.json", _spell_state(mount, _explain(mount.backing))))
        notes.append((f"{name}.motd", f"WARNING: {_warn(mount)}\n"))
    if not mount.backing.volatile:
        notes.append((f"{name}.read-only", f"{READ_ONLY}\n"))
    return [UnitFile(NOTES, path, text, mount.where) for path, text in notes]


def fail_by(mount: "OverlayMount", note: str) -> "list[str]":
    """The commands after which overlay-not-persistent@NAME.service fails, with the text of the file `note`."""
    return [f"/bin/mkdir -p {_STATE}", f"/bin/ln -sf /{NOTES}/{mount.name}.{note} {_STATE}/{mount.name}.failed"]


def name_event(event: str, reason: str) -> str:
    """The setting that makes all that a service says that event, with the `reason` (LogExtraFields=, systemd.exec(5)).

    From systemd 252 on what PID 1 says of the service has it too: to count, match SYSLOG_IDENTIFIER= as well.
    """
    return f"LogExtraFields={quote_paths(f'MESSAGE_ID={event}', f'OVERLAY_REASON={reason}')}"


def make_upper(mount: "OverlayMount", prepare: "Sections") -> "Sections":
    """Makes the upper layer with its owner, where there is none."""
    path, directory = mount.backing.path, mount.directory
    unit = _run_before(mount, prepare, f"Make the upper layer of {mount.where}")
    unit.append(f"ConditionPathExists=!{path}/upper")
    if not mount.backing.volatile:
        unit.insert(1, f"After={name_service(mount, 'reset')}")
    return _oneshot(
        mount,
        unit,
        f"/bin/mkdir -p {path}/upper.new",
        f"/bin/chown {directory.uid}:{directory.gid} {path}/upper.new",
        f"/bin/chmod {directory.mode:04o} {path}/upper.new",
        # By a rename, so that a power cut leaves it with its owner, or none.
        f"/bin/mv {path}/upper.new {path}/upper",
    )


def make_reset(mount: "OverlayMount", prepare: "Sections", rendered: "list[str]") -> "Sections":
    """Puts the upper layer aside where the kernel command line asks for that; `rendered` are all directories."""
    path, done = mount.backing.path, f"{_STATE}/{mount.name}.reset"
    unit = _run_before(mount, prepare, f"Reset the overlay on {mount.where}")
    # Once in a boot: the unit may run again, and must not drop what was written since.
    unit += [f"ConditionPathExists={path}/upper", f"ConditionPathExists=!{done}"]
    unit += flags.reset(mount.where, rendered)
    # %b, the boot's own id, is a name that no earlier reset has taken.
    trash = f"{path}/trash/%b"
    reason = "reset as asked at boot"
    sections = _oneshot(
        mount,
        unit,
        f"/bin/mkdir -p {_STATE} {trash}",
        f"/bin/rm -f {path}/image",
        # The work directory may be missing, and without it the old upper layer is as good as before.
        f"-/bin/mv {path}/work {trash}/",
        f"/bin/mv {path}/upper {trash}/",
        f"/bin/touch {done}",
        say(5, f"{mount.where}: {reason}; the upper layer is empty"),
    )
    sections["Service"].insert(0, name_event(RESET_DONE, reason))
    return sections


def make_trash(mount: "OverlayMount", prepare: "Sections") -> "Sections":
    """Deletes what resets have put aside, while the boot goes on."""
    trash = f"{mount.backing.path}/trash"
    unit = _run_after(mount, prepare, f"Delete what was reset on {mount.where}", "umount.target")
    unit.append(f"ConditionPathExists={trash}")
    # simple: nobody waits for it, and after a power cut the next boot goes on with it.
    return {
        "Unit": unit,
        "Service": [
            "Type=simple",
            "Nice=19",
            "IOSchedulingClass=idle",
            *confine(patience="90s").splitlines(),
            f"ExecStart=/bin/rm -rf {trash}",
        ],
    }


def make_warning(mount: "OverlayMount", prepare: "Sections") -> "Sections":
    """Makes known, where somebody looks, that memory is in the place of the disk."""
    name = mount.name
    unit = _run_after(
        mount, prepare, f"Report that {mount.where} is not persistent", f"{mount_unit(mount.where)} umount.target"
    )
    unit.append(f"ConditionPathExists={fallback_mark(mount.backing.mount)}")
    unit.append(f"ConditionPathIsMountPoint={mount.backing.path}/lower")
    sections = _oneshot(
        mount,
        unit,
        say(4, _warn(mount)),
        f"/bin/ln -sf /{NOTES}/{name}.fallen-back.json {_STATE}/{name}.json",
        *fail_by(mount, "failed"),
        "/bin/mkdir -p /run/motd.d",
        f"/bin/ln -sf /{NOTES}/{name}.motd {_name_message(mount)}",
    )
    sections["Service"][:0] = [name_event(FELL_BACK, _explain(mount.backing)), "StandardOutput=journal+console"]
    return sections


def _run_before(mount: "OverlayMount", prepare: "Sections", description: str) -> "list[str]":
    dropped = ("Description=", "Before=", "Wants=reset-", "Requires=upper-")
    lines = [line for line in prepare["Unit"] if not line.startswith(dropped)]
    return [f"Description={value(description)}", f"Before={prepare_unit(mount.where)} umount.target", *lines]


def _run_after(mount: "OverlayMount", prepare: "Sections", description: str, before: str) -> "list[str]":
    # prepare has run, so its conditions that there is something to do don't hold any more.
    dropped = ("Description=", "Before=", "Wants=reset-", "Requires=upper-", "ConditionPathIsMountPoint=!")
    lines = [line for line in prepare["Unit"] if not line.startswith(dropped)]
    return [f"Description={value(description)}", f"After={prepare_unit(mount.where)}", f"Before={before}", *lines]


def _name_message(mount: "OverlayMount") -> str:
    return f"/run/motd.d/overlay-generator-{mount.name}"


def _oneshot(mount: "OverlayMount", unit: "list[str]", *commands: str) -> "Sections":
    confined = confine().splitlines()
    run = (f"ExecStart={command}" for command in commands)
    service = ["Type=oneshot", *name_log(mount.where).splitlines(), *confined, *run]
    return {"Unit": unit, "Service": service}


def _spell_state(mount: "OverlayMount", reason: str) -> str:
    return json.dumps({"where": mount.where, "backing": mount.backing.path, "fallen_back": reason}) + "\n"


def _explain(backing: "Backing") -> str:
    return f"{backing.mount} could not be mounted, or only read-only"


def _warn(mount: "OverlayMount") -> str:
    return f"{mount.where}: NOT persistent: {_explain(mount.backing)}; all that is written is lost at the next boot"
