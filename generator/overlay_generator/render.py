# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The units of a plan as text, and what services may do and for how long. Pure.

Three languages with a quoting of their own meet here, see systemd.syntax(7): values with specifiers
(`quote_value`), words of ExecStart= (`quote_word`), lists of paths (`quote_paths`). Nothing is quoted in another way.
"""

from overlay_generator.model import Backing, OverlayMount, Plan, UnitFile, UnitLink
from overlay_generator.names import (
    HEADER,
    can_be_value,
    failure_mark,
    fallback_mark,
    fallback_unit,
    mount_unit,
    prepare_unit,
    quote_paths,
    quote_value,
    quote_word,
    spell_lower,
    verify_unit,
    write_head,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from overlay_generator.model import Word

_TARGET = "local-fs.target"
PYTHON = "/usr/bin/python3 -ISB"
# Half of a boot waits for /var. Of the jobs that are ready PID 1 starts one with this first (src/core/unit.c, 247 to
# 262), and the kernel gives it the processor first.
_NICE = -20

# All spelt out: the default of each depends on the kernel's configuration, see the kernel's overlayfs.rst.
# In memory an upper layer never meets another image. With these, directories can be renamed and hard links stay links.
OPTIONS_VOLATILE = "redirect_dir=on,index=on,xino=on,metacopy=off,nfs_export=off"
# With any of these on, the upper refers to inodes of the image below it: after an update of the image /var is
# refused (ESTALE) or files are mixed up silently, on squashfs always (tried on Linux 6.1, 6.12 and 6.18).
OPTIONS_PERSISTENT = "redirect_dir=off,index=off,xino=off,metacopy=off,nfs_export=off"

# What a service that mounts still has to be allowed: marks and labels of files (SYS_ADMIN, MAC_ADMIN, SETFCAP), other
# people's files, the blocks that ext4 reserves for root (SYS_RESOURCE), its priority. No setting below makes a mount
# namespace, in which its mounts would stay. RestrictAddressFamilies=none came with systemd 249.
_CAPABILITIES = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_MKNOD "
    "CAP_SETFCAP CAP_SYS_ADMIN CAP_SYS_NICE CAP_SYS_RESOURCE"
)
_REFUSED = "@clock @cpu-emulation @debug @obsolete @raw-io @reboot @swap"
# For another image each file of the upper layer is looked at: 100,000 of them take 8 minutes at the 200 reads a second
# of a worn card. A oneshot service has no time limit by default, and whatever hangs here would hold the boot for ever.
_PATIENCE = "15min"
# For a service that only writes to /run. A mount namespace of its own does no harm, as it ends at once.
ONLY_TELLS = """TimeoutStartSec=90s
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ReadWritePaths=/run
ProtectHome=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""


def render(plan: Plan) -> "list[UnitFile | UnitLink]":
    """The files of `plan`: for each mount its units first and the link that starts them last."""
    files: list[UnitFile | UnitLink] = []
    fallbacks: dict[str, OverlayMount] = {}
    for mount in plan.mounts:
        if mount.backing.nofail:
            fallbacks.setdefault(mount.backing.mount, mount)
    for where, mount in fallbacks.items():
        files.append(UnitFile("normal", fallback_unit(where), _fallback_service(plan, mount), where))
    backings = {mount.backing.mount: mount.backing for mount in plan.mounts if not mount.backing.tmpfs}
    if backings or plan.swaps:
        from overlay_generator.dropins import render_dropins

        files += render_dropins(tuple(backings.values()), plan.swaps)
    for name in plan.early:
        # Only an order: if /var can't be mounted, name resolution must not fail with it.
        text = f"{HEADER}After={mount_unit('/var')}\n"
        files.append(UnitFile("normal", f"{name}.d/50-overlay-generator.conf", text, "/var"))
    for mount in plan.mounts:
        where = mount.where
        if mount.backing.tmpfs:
            # Late: in the normal directory it would make systemd-fstab-generator refuse the owner's fstab line,
            # should there be one at the next reload, and it must yield to a unit file of the owner.
            text = _tmpfs_mount(plan, mount)
            files.append(UnitFile("late", mount_unit(mount.backing.path), text, where))
        files.append(UnitFile("normal", prepare_unit(where), _prepare_service(plan, mount), where))
        # Late: a partition of the owner's that is to be mounted on the directory takes precedence over the overlay.
        place = "late" if mount.yields else "normal"
        files.append(UnitFile(place, mount_unit(where), _overlay_mount(plan, mount), where))
        # Not .wants unless the mount around it is nofail: where /var fails, basic.target fails as well, and
        # with .wants there would not even be an emergency shell (systemd 257).
        link = f"{_TARGET}.{'wants' if mount.optional else 'requires'}/{mount_unit(where)}"
        files.append(UnitLink("normal", link, f"../{mount_unit(where)}", where))
        if not mount.backing.volatile:
            files.append(UnitFile("normal", verify_unit(where), _verify_service(plan, mount), where))
            files.append(UnitLink("normal", f"{_TARGET}.wants/{verify_unit(where)}", f"../{verify_unit(where)}", where))
        for word in mount.settings.passthrough:
            from overlay_generator.direct import passthrough_mount

            name = mount_unit(word.text)
            text = passthrough_mount(mount, word, _spell_context(plan))
            files.append(UnitFile("normal", name, text, word.text))
            files.append(UnitLink("normal", f"{_TARGET}.wants/{name}", f"../{name}", word.text))
    return files


def confine(load_module: bool = False, patience: str = _PATIENCE) -> str:
    """The settings that limit the time and the rights of a service that prepares or makes mounts."""
    module = " CAP_SYS_MODULE" if load_module else ""
    return f"""TimeoutStartSec={patience}
NoNewPrivileges=yes
CapabilityBoundingSet={_CAPABILITIES}{module}
RestrictAddressFamilies=AF_UNIX
SystemCallArchitectures=native
SystemCallFilter=~{_REFUSED}{"" if load_module else " @module"}
SystemCallErrorNumber=EPERM
"""


def name_log(where: str = "") -> str:
    """The settings of a service that mark its lines in the journal as ours, and as about the directory `where`.

    PID 1's own lines about the unit have the field as well (LogExtraFields= of systemd.exec(5), 236 and later; those
    of PID 1 since 252). It costs PID 1 a file: not for services that every boot starts and that mostly say nothing.
    """
    field = f"LogExtraFields={quote_paths(f'OVERLAY_WHERE={where}')}\n" if where else ""
    return f"SyslogIdentifier=overlay-generator\n{field}"


def _tmpfs_options(plan: Plan, mount: OverlayMount) -> str:
    # A size of its own keeps a full directory from filling /run. The number of inodes is the kernel's default, which
    # depends on the size of memory: systemd's usual nr_inodes=1m is 1 GiB of them, which a small device has not got.
    size = mount.settings.size or f"{plan.size}%"
    inodes = f",nr_inodes={mount.settings.inodes}" if mount.settings.inodes else ""
    # A bind mount inherits nosuid and nodev: in a container's storage neither su nor a device would work. 0700 stays.
    direct = any(other.settings.passthrough for other in plan.mounts if other.backing.mount == mount.backing.mount)
    return f"mode=0700,{'' if direct else 'nosuid,nodev,'}size={size}{inodes}"


def _tmpfs_mount(plan: Plan, mount: OverlayMount) -> str:
    # The default dependencies of a tmpfs have After=swap.target: /var would wait for every swap device.
    return (
        write_head(f"Memory for the overlay on {mount.where}", plan.source)
        + f"""DefaultDependencies=no
Conflicts=umount.target
Before=umount.target

[Mount]
What=tmpfs
Where={mount.backing.path}
Type=tmpfs
Options={quote_value(_tmpfs_options(plan, mount))}
Nice={_NICE}
"""
    )


def _is_adapted(plan: Plan, backing: Backing) -> bool:
    """True if prepare checks what is mounted where memory was planned, and adapts to it."""
    return plan.shell and backing.volatile


def _backing_dependencies(plan: Plan, backing: Backing) -> str:
    """What orders a unit after the mount that holds `backing`; it fails with that mount unless it is nofail."""
    if backing.tmpfs and _is_adapted(plan, backing):
        # Whoever mounts it in the end; if nobody does, prepare decides what to do.
        return f"Wants={mount_unit(backing.mount)}\nAfter={mount_unit(backing.mount)}\n"
    if not backing.nofail:
        return f"RequiresMountsFor={quote_paths(backing.path)}\n"
    # RequiresMountsFor= would turn a missing disk into a failed local-fs.target: emergency mode.
    units = f"{mount_unit(backing.mount)} {fallback_unit(backing.mount)}"
    return f"Wants={units}\nAfter={units}\n"


def _prepare_service(plan: Plan, mount: OverlayMount) -> str:
    backing = mount.backing
    lower = f"{backing.path}/lower"
    parent = "" if mount.parent == "/" else f"RequiresMountsFor={quote_paths(mount.parent)}\n"
    commands = "".join(f"ExecStart={command}\n" for command in _prepare_commands(plan, mount))
    # A device that loses its data at the next boot says so where somebody looks.
    loud = "" if mount.backing.tmpfs and plan.static else "StandardError=journal+console\n"
    # Where memory was planned, prepare checks this itself, and does something about it.
    there = "" if _is_adapted(plan, backing) else f"ConditionPathIsMountPoint={quote_value(backing.mount)}\n"
    # A factory reset that systemd was asked for (258 and later) has to be done before systemd marks it as done.
    reset, logged = ("", "") if backing.volatile else (" factory-reset-now.target", mount.where)
    # A service, as a mount unit with What=/var would have to come after var.mount. No option here may imply
    # a mount below the directory (StateDirectory=, PrivateTmp= ...), nor the default dependencies.
    # The conditions: never write to what is not the wanted mount; no second bind on a second start; no
    # bind of the overlay itself; no second try, for the same answer, by each service that is restarted.
    # PID 1 makes the mount unit of lower itself, from mountinfo, and a shutdown has to stop var.mount, lower, prepare
    # and the disk in this order. The bind gets to mount namespaces that exist already (udevd's) before it is private
    # here, and so does the overlay, on top of it: if lower went first, that pair would stay there, and keep the disk
    # busy to the very end. If the disk were tried first, it would be busy as well (systemd 247 to 262).
    return (
        write_head(f"Prepare the overlay on {mount.where}", backing.source)
        + f"""DefaultDependencies=no
{_backing_dependencies(plan, backing)}{parent}Conflicts=umount.target
Before={" ".join((mount_unit(mount.where), *mount.before, mount_unit(lower), "umount.target"))}{reset}
{there}ConditionPathIsMountPoint=!{quote_value(lower)}
ConditionPathIsMountPoint=!{quote_value(mount.where)}
ConditionPathExists=!{failure_mark(mount.where)}

[Service]
Type=oneshot
RemainAfterExit=yes
Nice={_NICE}
{name_log(logged)}{confine(plan.load_module)}{loud}{commands}ExecStop=-/bin/umount -q {lower}
"""
    )


def _prepare_commands(plan: Plan, mount: OverlayMount) -> "list[str]":
    path, directory, adapted = mount.backing.path, mount.directory, _is_adapted(plan, mount.backing)
    # The merged root shows mode, owner, ACL and labels of upper, not of lower. A new upper takes them over from
    # lower; one that is there already keeps its own.
    known = (
        mount.backing.tmpfs
        and (plan.shell or plan.static)
        and directory.state == "directory"
        and not directory.labelled
        and not mount.settings.passthrough
        and not plan.mounter
    )
    words = _prepare_words(plan, mount)
    # Last, as var.mount has it as its condition. private: else the overlay appears on lower too. Read-only and the rest
    # are for people who look there: overlayfs makes its own read-only clone.
    bind = "/bin/mount -n -o bind,private,ro,nosuid,nodev,noexec"
    lower = f"{path}/lower"
    # Else what is mounted below one of the two shows below the other, and keeps that from being unmounted.
    alone = f"/bin/mount -n --make-private {quote_word(mount.backing.mount)}" if mount.backing.bind else ""
    if not plan.shell:
        modprobe = ["-/sbin/modprobe overlay"] if plan.load_module else []
        modprobe += [f"-{alone}"] if alone else []
        steps = _layer_commands(mount) if known else [f"{PYTHON} {' '.join(map(quote_word, words))}"]
        return [*modprobe, *steps, f"{bind} {quote_word(mount.where)} {lower}"]
    # One shell for all: each program that PID 1 starts costs more than these do (from 255 on another one runs before
    # it). Where the kernel groups by sessions (autogroup, sched(7)), the priority of a process counts only within its
    # session, whose own one can be set only by the kernel's file. A container may have neither.
    module = "/sbin/modprobe overlay; " if plan.load_module else ""
    boost = f"{{ echo {_NICE} >/proc/self/autogroup; }} 2>/dev/null"
    python = f'{PYTHON} "$$@"'
    # Not by exec: a bind mount that fails has to leave its mark. Python does that itself.
    end = f'{bind} "$$0" {lower} || {{ : >{failure_mark(mount.where)}; exit 1; }}'
    if known:
        # Memory, as it mostly is, is done by the shell alone; anything else that is mounted is for prepare.
        run = f"{_look(path)} || exec {python}; {' && '.join([*_layer_commands(mount), end])}"
    else:
        module += f"{alone}; " if alone else ""
        run = f"exec {python}" if adapted else f"{python} && {end}"
    return [f"/bin/sh -c '{boost}; {module}{run}' {' '.join(map(quote_word, (mount.where, *words)))}"]


def _look(path: str) -> str:
    """What is true in a shell if the topmost mount at `path` is a tmpfs. No program is started."""
    line = f'[ "$$w" != {path} ] || t=$${{r#*- }}'
    return f'while read -r _ _ _ _ w _ r; do {line}; done </proc/self/mountinfo; [ "$${{t%%%% *}}" = tmpfs ]'


def _layer_commands(mount: OverlayMount) -> "list[str]":
    """The commands that make the layers if everything that a new upper layer takes over is known."""
    path, directory = mount.backing.path, mount.directory
    upper = f"{path}/upper"
    plain = directory.mode == 0o755
    commands = [f"/bin/mkdir -p {path}/lower {path}/work{' ' + upper if plain else ''}"]
    if not plain:
        commands.append(f"/bin/mkdir -p -m {directory.mode:04o} {upper}")
    if (directory.uid, directory.gid) != (0, 0):
        # chown(2) drops the set-group-ID bit, so the mode comes again after it.
        commands += [f"/bin/chown {directory.uid}:{directory.gid} {upper}", f"/bin/chmod {directory.mode:04o} {upper}"]
    return commands


def _prepare_words(plan: Plan, mount: OverlayMount, *first: str) -> "list[str]":
    """The program that prepares what is not known here, with its arguments."""
    backing = mount.backing
    adapted = _is_adapted(plan, backing)
    fstype = "tmpfs" if backing.tmpfs else backing.fstype
    words = [f"{plan.library}/prepare", *first, f"--mount={backing.mount}"]
    if adapted:
        words += ["--adapt=yes", *(["--notify=notice"] if mount.settings.notify != "fail" else [])]
        words += [f"--flags={''.join(f'{flag},' for flag in mount.settings.flags)}"] if mount.settings.flags else []
    elif fstype and can_be_value(fstype):  # else prepare takes what is mounted, if there is such a type at all
        words.append(f"--type={fstype}")
    if backing.nofail or adapted:
        words.append(f"--fallback={_tmpfs_options(plan, mount)}")
    if mount.reset and not backing.volatile:
        words.append("--reset=yes")
    if mount.settings.policy != "keep" and not backing.volatile:
        words.append(f"--policy={mount.settings.policy}")
    if mount.settings.rollback != "no":
        words += [f"--rollback={mount.settings.rollback}", f"--commit={mount.settings.commit}"]
    words += [f"--direct={word.text}" for word in mount.settings.passthrough]
    words += [f"--mounter={plan.mounter.context}"] if plan.mounter and plan.mounter.context else []
    return [*words, mount.where, backing.path]


def _overlay_mount(plan: Plan, mount: OverlayMount) -> str:
    backing = mount.backing
    path = backing.path
    prepare = prepare_unit(mount.where)
    adapted = _is_adapted(plan, backing)
    requires = "" if backing.nofail or (adapted and backing.tmpfs) else _backing_dependencies(plan, backing)
    # prepare may have mounted it then, see its adapt.py.
    once = f"ConditionPathIsMountPoint=!{quote_value(mount.where)}\n" if adapted else ""
    before = "" if mount.optional else f"{_TARGET} "
    # Conditions and Wants=: where the layers can't be made, the image's directory stays and the boot goes on.
    module = "ConditionPathExists=/sys/module/overlay\n" if plan.load_module else ""
    # A 32-bit kernel has no bits in its inode numbers for xino, turns it off, and warns at each boot.
    in_memory = OPTIONS_VOLATILE if plan.wide else OPTIONS_VOLATILE.replace("xino=on", "xino=off")
    options = _merge_options(in_memory if backing.volatile else OPTIONS_PERSISTENT, mount.settings.options)
    flags = "".join(f"{flag}," for flag in mount.settings.flags)
    return (
        write_head(f"Overlay on {mount.where}", backing.source)
        + f"""DefaultDependencies=no
Wants={prepare}
After={prepare} {mount_unit(path + "/lower")}
{requires}Conflicts=umount.target
Before={before}umount.target
ConditionPathIsMountPoint={path}/lower
{once}{module}
[Mount]
What=overlay
Where={quote_value(mount.where)}
Type=overlay
Options={flags}lowerdir={spell_lower(path, mount.settings.rollback)},upperdir={path}/upper,workdir={path}/work,{options}
Nice={_NICE}
{_spell_context(plan)}"""
    )


def _spell_context(plan: Plan) -> str:
    """The domain of mount(8), see selinux.py; with "-" it is ignored if there is no such context."""
    return f"SELinuxContext=-{quote_value(plan.mounter.context)}\n" if plan.mounter and plan.mounter.context else ""


def _merge_options(usual: str, asked: "tuple[Word, ...]") -> str:
    options = dict.fromkeys(usual.split(","))
    for word in asked:
        key = word.text.partition("=")[0]
        options = {option: None for option in options if option.partition("=")[0] != key}
        options[word.text] = None
    return ",".join(options)


def _verify_service(plan: Plan, mount: OverlayMount) -> str:
    # With a work directory that can't be used the kernel mounts the overlay all the same, read-only, and reports
    # success (Linux 6.1 to 6.18). Costs nothing where that is not so.
    command = " ".join(map(quote_word, _prepare_words(plan, mount, "--verify=yes")))
    return (
        write_head(f"Report that the overlay on {mount.where} is read-only", mount.backing.source)
        + f"""DefaultDependencies=no
After={mount_unit(mount.where)}
Conflicts=umount.target
Before=umount.target
ConditionPathIsMountPoint={quote_value(mount.where)}
ConditionPathIsReadWrite=!{quote_value(mount.where)}

[Service]
Type=oneshot
{name_log(mount.where)}StandardError=journal+console
{ONLY_TELLS}ExecStart={PYTHON} {command}
"""
    )


def _fallback_service(plan: Plan, mount: OverlayMount) -> str:
    backing = mount.backing
    unit = mount_unit(backing.mount)
    # ExecStop=: /run outlives a soft reboot, and the disk may be there then. prepare reports the fallback.
    return (
        write_head(f"Memory in place of the missing file system at {backing.mount}", backing.source)
        + f"""DefaultDependencies=no
Wants={unit}
After={unit}
Conflicts=umount.target
Before=umount.target
ConditionPathIsMountPoint=!{quote_value(backing.mount)}

[Service]
Type=oneshot
RemainAfterExit=yes
{confine(patience="90s")}ExecStart=/bin/mkdir -p {quote_word(backing.mount)} {fallback_mark(backing.mount)}
ExecStart=/bin/mount -n -t tmpfs -o {quote_word(_tmpfs_options(plan, mount))} tmpfs {quote_word(backing.mount)}
ExecStop=-/bin/rmdir {fallback_mark(backing.mount)}
"""
    )
