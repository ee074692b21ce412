# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a kernel has overlayfs, if some of the files that say so may not be read."""

import errno
import os
from pathlib import Path

from overlay_generator.gather import read_file
from overlay_generator.look import Look, read_kernel

RELEASE = "6.12.0-test"
DEP = f"/usr/lib/modules/{RELEASE}/modules.dep"


def machine(root: Path, refused: "tuple[str, ...]", files: "dict[str, str]") -> Look:
    def read(top: str, path: str) -> bytes:
        if path in refused:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return read_file(top + path)

    files = {"/proc/sys/kernel/osrelease": f"{RELEASE}\n", "/proc/filesystems": "nodev\tproc\n", **files}
    for path, text in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return Look(str(root), read, lambda top, path, _follow: top + path)


# In the domain that SELinux's reference policy gives to generators: 0.1.0 said that the kernel had no overlayfs.
def test_a_list_of_modules_that_may_not_be_read_may_have_the_module(tmp_path: Path) -> None:
    look = machine(tmp_path, (DEP,), {DEP: "kernel/fs/overlayfs/overlay.ko.xz:\n"})
    assert read_kernel(look) == ("module", RELEASE)
    assert look.refused == [f"{DEP} can't be read (Permission denied); overlayfs is assumed to be a module"]


def test_a_list_of_file_systems_that_may_not_be_read_may_have_overlayfs(tmp_path: Path) -> None:
    look = machine(tmp_path, ("/proc/filesystems",), {DEP: "kernel/fs/fat/fat.ko:\n"})
    assert read_kernel(look) == ("module", RELEASE)


# Once the module is loaded, a reload has to write the same units.
def test_a_refused_list_says_the_same_before_and_after_the_module_is_loaded(tmp_path: Path) -> None:
    look = machine(tmp_path, (DEP,), {DEP: "", "/proc/filesystems": "nodev\toverlay\n"})
    assert read_kernel(look) == ("module", RELEASE)


def test_a_list_without_it_and_a_kernel_without_it_have_it_not(tmp_path: Path) -> None:
    assert read_kernel(machine(tmp_path, (), {DEP: "kernel/fs/fat/fat.ko:\n"})) == ("absent", RELEASE)
