# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""ACLs of an image below an overlay: what has one can be changed only if the upper layer can keep it."""

import os

from overlay_generator.model import FstabEntry
from overlayctl.check.finding import Finding, make
from overlayctl.check.image import Image

_ACCESS, _DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
# Of those that can hold an upper layer (fs/ubifs has no code for them, Linux 6.18).
_WITHOUT = ("ubifs",)


def find(image: Image, wheres: "tuple[str, ...]") -> str:
    """The first path below one of `wheres` that has an ACL, "" for none. A running machine is not searched."""
    for where in wheres if image.root else ():
        top = image.outside(where)
        for directory, names, files in os.walk(top):
            for path in (directory, *(os.path.join(directory, name) for name in (*names, *files))):
                if _has_acl(path):
                    return where + path[len(top) :]
    return ""


def check(path: str, types: "dict[str, FstabEntry]") -> "list[Finding]":
    """What is wrong if `path` has an ACL ("": nothing has one), and `types` hold upper layers. Pure."""
    bad = [(fstype, entry) for fstype, entry in types.items() if path and fstype in _WITHOUT]
    return [make("acl-lost", e.source, e.line, path=path, fstype=fstype, where=e.where) for fstype, e in bad]


def _has_acl(path: str) -> bool:
    if os.path.islink(path):
        return False
    try:
        return bool({_ACCESS, _DEFAULT}.intersection(os.listxattr(path)))
    except OSError:
        return False  # a file system without any
