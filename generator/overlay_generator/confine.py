"""What the services that are emitted may do, and for how long. Pure."""

# What a service that mounts can go without. Nothing here makes a mount namespace, in which its mounts would stay; none
# of it stops what it needs: marks and labels of files (SYS_ADMIN, MAC_ADMIN, SETFCAP), other people's files, the
# blocks that ext4 keeps for root (SYS_RESOURCE), its priority. RestrictAddressFamilies=none is of 249 and later.
_CAPABILITIES = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_MKNOD "
    "CAP_SETFCAP CAP_SYS_ADMIN CAP_SYS_NICE CAP_SYS_RESOURCE"
)
_REFUSED = "@clock @cpu-emulation @debug @obsolete @raw-io @reboot @swap"
# Of 100,000 files that another image has to be made fit for, each is looked at: 8 minutes at 200 reads a second, as a
# worn card has. A oneshot service has no limit of its own, and whatever hangs here would hold the boot for ever.
_PATIENCE = "15min"
# Only writes to /run. A mount namespace of its own is no harm, as it ends at once.
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
    """The lines of a service that prepares or makes mounts, on how long it may take and what it may not do."""
    module = " CAP_SYS_MODULE" if load_module else ""
    return f"""TimeoutStartSec={patience}
NoNewPrivileges=yes
CapabilityBoundingSet={_CAPABILITIES}{module}
RestrictAddressFamilies=AF_UNIX
SystemCallArchitectures=native
SystemCallFilter=~{_REFUSED}{"" if load_module else " @module"}
SystemCallErrorNumber=EPERM
"""
