# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the generated services may do, for how long, and how their lines can be found in the journal. Pure."""

from overlay_generator.names import quote_paths

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
