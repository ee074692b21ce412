# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cuts a step off at each of its calls, as a loss of power does, and lets it be done again.

The step runs in a child process, which ends without a word before the call: nothing that the step would do on an error
is done. What it would have written last is half written.
"""

import os
import posix
from collections.abc import Callable

# Calls that change something on a disk. Those that only flush it count too: before and after differ in a real cut.
CHANGING = (
    "mkdir", "rmdir", "mknod", "rename", "unlink", "link", "symlink", "open", "write", "ftruncate", "sendfile", "fsync",
    "setxattr", "removexattr", "chown", "chmod", "utime", "sync",
)  # fmt: skip
CUT = 77


def cut_off(step: "Callable[[], object]", after: int) -> bool:
    """True if the child that did `step` came to its end within `after` calls. Raises AssertionError if it failed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _count(after)
            step()
            status = 0
        finally:
            os._exit(status)
    return finish(pid)


def finish(pid: int) -> bool:
    """True if the child `pid` came to the end of its step, False if it was cut off. Raises AssertionError else."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, CUT), "the step failed"
    return status == 0


def _count(after: int) -> None:
    """Let this process end at its call number `after`, from 0. Nothing is flushed to the disk, which takes long."""
    calls = 0

    def counted(name: str, call: "Callable[..., object]") -> "Callable[..., object]":
        def one(*arguments: object, **options: object) -> object:
            nonlocal calls
            if name == "open" and not int(str(arguments[1])) & (os.O_CREAT | os.O_TRUNC):
                return call(*arguments, **options)
            if calls == after:
                if name == "write":
                    data = arguments[1]
                    assert isinstance(data, bytes)
                    call(arguments[0], data[: len(data) // 2])
                os._exit(CUT)
            calls += 1
            return None if name in ("sync", "fsync") else call(*arguments, **options)

        return one

    for name in CHANGING:
        setattr(posix, name, counted(name, getattr(posix, name)))


def cut_everywhere(
    prepare: "Callable[[], Callable[[], object]]",
    look: "Callable[[], object]",
    cut: "Callable[[Callable[[], object], int], bool] | None" = None,
) -> int:
    """Cut a step off at each of its calls, do it again to the end, and compare. Returns the number of its calls.

    `prepare` makes everything anew and returns the step. Each result has to be that of a step that was not cut off.
    `cut` does so in another way than cut_off().
    """
    cut = cut or cut_off
    assert cut_off(prepare(), -1)
    expected = look()
    after = 0
    while True:
        step = prepare()
        if cut(step, after):
            return after
        assert cut_off(step, -1)
        found = look()
        assert found == expected, f"cut off at call {after}: {found} is not {expected}"
        after += 1
