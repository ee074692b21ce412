# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts what prepare lists: a square of a number shows in it, on every machine."""

import os
from collections.abc import Callable, Iterator

import pytest

from overlay_prepare.folder import Folder


def count_entries(monkeypatch: pytest.MonkeyPatch) -> "Callable[[], int]":
    """Count all entries that Folder.scan() gives from now on; what is returned tells how many there were."""
    count = 0
    scan = Folder.scan

    def scan_counted(folder: Folder) -> "Iterator[os.DirEntry[str]]":
        nonlocal count
        for entry in scan(folder):
            count += 1
            yield entry

    monkeypatch.setattr(Folder, "scan", scan_counted)
    return lambda: count
