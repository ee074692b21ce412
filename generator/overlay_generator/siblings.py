# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The other generators of this boot, which PID 1 runs at the same time and waits for as well (systemd.generator(7))."""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Seconds; all generators together have 90, and ours fewer, see boot.py.
LIMIT = 10
_STEP = 0.005  # seconds


def wait(read: "Callable[[str], bytes]", limit: float = LIMIT) -> str:
    """Return when no other generator runs any more, or after `limit` seconds. `read` reads a file.

    "" if all that they write is there then, and a name that is free stays free; else why that is not known.
    """
    import _signal  # type: ignore[import-not-found]

    parent = posix.getppid()
    try:
        # (sd-executor), (sd-exec-strv), (generators): the child of PID 1 that runs generators and nothing else.
        if not read(f"/proc/{parent}/comm").startswith(b"("):
            return ""
        while limit > 0:
            denied: list[str] = []
            if not _find(parent, read, denied):
                # Under SELinux each may have a domain of its own. This one is not waited for: it may be any process.
                return f"what runs can't be seen (/proc/{denied[0]}/stat: permission denied)" if denied else ""
            # No signal to wait for: it only sleeps.
            _signal.sigtimedwait((), _STEP)
            limit -= _STEP
    except OSError as error:
        return f"what runs can't be seen ({error.filename or '/proc'}: {error.strerror})"
    return "some still run"


def _find(parent: int, read: "Callable[[str], bytes]", denied: "list[str]") -> bool:
    """True if a process other than this one has the parent `parent`, and has not ended.

    Processes that can't be looked at go into `denied`. Raises OSError where there is no /proc.
    """
    for name in posix.listdir("/proc"):
        if name.isdigit() and int(name) != posix.getpid():
            try:
                # After the name in parentheses, which may have any byte: state, parent (proc_pid_stat(5)).
                fields = read(f"/proc/{name}/stat").rpartition(b")")[2].split()
            except PermissionError:
                denied.append(name)
                continue
            except OSError:
                continue  # it has ended
            if fields[1:2] == [b"%d" % parent] and fields[0] not in (b"Z", b"X"):
                return True
    return False
