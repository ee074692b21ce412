# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plugin of pytest for another architecture's Python: a test that starts a program is skipped, and hypothesis has no
deadlines.

What a program of the host says proves nothing about that architecture, and its own programs are slow to emulate.
"""

import os
import posix
import subprocess
from typing import Any, NoReturn

import pytest
from hypothesis import settings

# Emulation is some twenty times slower, and its first run of anything slower still.
EXAMPLES = 25


# A child that a test has forked can't skip it: it ends with this status, and whoever waits for it skips.
IN_A_CHILD = 177
_PYTEST = os.getpid()
_waitpid = os.waitpid


def _skip(*_: Any, **__: Any) -> NoReturn:
    if os.getpid() != _PYTEST:
        os._exit(IN_A_CHILD)
    pytest.skip("it starts a program")


def _wait(pid: int, options: int) -> "tuple[int, int]":
    found = _waitpid(pid, options)
    if os.WIFEXITED(found[1]) and os.WEXITSTATUS(found[1]) == IN_A_CHILD:
        _skip()
    return found


def pytest_configure() -> None:
    subprocess.Popen.__init__ = _skip  # type: ignore[method-assign]
    for module in (os, posix):
        setattr(module, "waitpid", _wait)  # noqa: B010
        for name in ("system", "posix_spawn", "execv", "execve"):
            setattr(module, name, _skip)


def pytest_collection_modifyitems(items: "list[pytest.Item]") -> None:
    for item in items:
        function = getattr(item, "obj", None)
        chosen = getattr(function, "_hypothesis_internal_use_settings", None)
        if chosen is not None:
            fewer = settings(chosen, max_examples=min(EXAMPLES, chosen.max_examples), deadline=None)
            function._hypothesis_internal_use_settings = fewer  # type: ignore[union-attr]
