# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The processes that this one has started and not waited for; earlier tests may have left some, so compare."""

from pathlib import Path


def list_children() -> "set[int]":
    """The process IDs, also of those that have ended: proc_pid_task(5), with CONFIG_PROC_CHILDREN."""
    return {int(pid) for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()}
