# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Units that fail if a directory is not what was asked for, so that systemd itself reports it. Pure.

`systemctl --failed`, `is-system-running` (degraded), OnFailure= and whatever watches a fleet look at nothing else. They
stop nothing and delay nothing: without default dependencies no target waits for them, and they are ordered after the
units that they report on. Their status text is the reason (StatusText of systemctl show, by systemd-notify(1)).
"""

from overlay_generator.model import OverlayMount, Plan, Skipped, UnitFile, UnitLink
from overlay_generator.names import (
    find_fault,
    missing_unit,
    mount_unit,
    prepare_unit,
    quote_word,
    unkept_unit,
    verify_unit,
    write_head,
)
from overlay_generator.render import name_log

# Seen on systemd 247 and 257: systemd-notify ends only when PID 1 has taken the text, so its process is still known.
_SERVICE = "Type=oneshot\nNotifyAccess=all\n"
# Without a path, PID 1 looks for it in the directories that it was built with (239 and later): /bin or /usr/bin.
_NOTIFY = "systemd-notify"
_LONGEST = 500  # characters of a reason
_DEPENDENCIES = "DefaultDependencies=no\nConflicts=umount.target\n"


def render_failures(plan: Plan) -> "list[UnitFile | UnitLink]":
    """The units of `plan` that fail, or will if prepare gives a reason: two files for each directory."""
    files: list[UnitFile | UnitLink] = []
    for skipped in plan.skipped:
        # A path that can't be a directory's has no unit either; it is in the log.
        named = skipped.where.startswith("/") and not find_fault(skipped.where)
        if named and skipped.level == "error" and skipped.notify == "fail":
            files += _add_link(missing_unit(skipped.where), _missing_service(plan, skipped), skipped.where)
    for mount in plan.mounts:
        if (mount.backing.lost or not mount.backing.volatile) and mount.settings.notify == "fail":
            files += _add_link(unkept_unit(mount.where), unkept_service(mount, plan.shell), mount.where)
    return files


def unkept_service(mount: OverlayMount, shell: bool) -> str:
    """The text of the unit that fails if prepare has left a file that says why nothing is kept, or in any case if that
    is known beforehand.
    """
    where, note = mount.where, f"/run/overlay-generator/{mount.name}.failed"
    after = (mount_unit(where), prepare_unit(where), verify_unit(where))
    condition = f"ConditionPathExists={note}\n"
    if mount.backing.lost:
        condition, commands = "", _fail_with(mount.backing.lost)
    elif shell:
        script = f'read -r reason <{note}; echo "$$reason" >&2; {_NOTIFY} --status="$$reason"; exit 1'
        commands = f"ExecStart=/bin/sh -c '{script}'\n"
    else:
        commands = _fail_with(f"see {note}")
    return (
        write_head(f"What is written to {where} is kept", mount.backing.source)
        + f"{_DEPENDENCIES}After={' '.join(after)}\nBefore=umount.target\n{condition}"
        + f"\n[Service]\n{_SERVICE}{name_log(where)}{commands}"
    )


def _missing_service(plan: Plan, skipped: Skipped) -> str:
    return (
        write_head(f"Overlay on {skipped.where}, as asked for", plan.source)
        + f"{_DEPENDENCIES}Before=umount.target\n\n[Service]\n{_SERVICE}{name_log(skipped.where)}"
        + _fail_with(skipped.reason)
    )


def _fail_with(reason: str) -> str:
    # File names may be in it: a unit file has to be UTF-8, and a line break would start another setting.
    reason = "".join(c if c.isprintable() else "?" for c in reason)[:_LONGEST]
    # Without a shell: an image may have none. Where there is no false(1) either, that fails as well.
    return f"ExecStart=-{_NOTIFY} {quote_word(f'--status={reason}')}\nExecStart=/bin/false\n"


def _add_link(name: str, text: str, where: str) -> "list[UnitFile | UnitLink]":
    # A group of its own: a unit that can't be written must not take the overlay with it.
    group = f"telling of {where}"
    link = UnitLink("normal", f"local-fs.target.wants/{name}", f"../{name}", group)
    return [UnitFile("normal", name, text, group), link]
