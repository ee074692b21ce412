# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a systemd-fstab-generator over many fstab files in a root of its own, and reads what came of it.

The root has links of every kind and nothing that is mounted. The generator comes with the /usr that it was built for:
of this machine, or of a tree of another release.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from overlay_generator.names import mount_unit, normalise

GENERATOR = "lib/systemd/system-generators/systemd-fstab-generator"
_LINKS = {
    "var/run": "/run",
    "var/lock": "../run/lock",
    "var/local-data": "/data/./local//",
    "home": "var/home",
    "mnt": "var/mnt",
    "media": "/run/media",
    "srv/up": "../../..",
    "srv/data": "../data",
    "srv/here": ".",
    "srv/dangling": "/nowhere/there",
    "srv/dangling-up": "../nowhere/../data",
    "srv/loop": "loop2",
    "srv/loop2": "loop",
    "srv/to-file": "/data/file",
    "srv/to-var-run": "/var/run/buildroot/mounts",
    "upper": "/var/run/buildroot/mounts/var",
    "data/with space": "/data/local",
    "data/back\\slash": "/data/local",
    **{f"srv/chain/{number}": f"{number + 1}" for number in range(1, 40)},
    **{f"srv/short/{number}": f"{number + 1}" for number in range(1, 31)},
}
_DIRECTORIES = (
    "etc", "var/home", "var/mnt", "var/lib", "run/lock", "run/media", "data/local", "srv/chain/40", "srv/short/31",
    "proc", "sys", "dev", "tmp", "usr/" + os.path.dirname(GENERATOR),
)  # fmt: skip
# A backslash at the end of one of these takes the next line for more of it.
_JOINED = re.compile(r"^(What|Type)=([^\n]*[^\\\n])?(\\\\)*\\\n[^\n]", re.M)
_SCRIPT = """\
mount --bind "$1" "$0/usr" && mount -t proc proc "$0/proc" && exec chroot "$0" /bin/sh -c '
for i in /t/*; do
    mkdir "$i/normal" "$i/early" "$i/late"
    SYSTEMD_FSTAB=$i/fstab /usr/lib/systemd/system-generators/systemd-fstab-generator \
        "$i/normal" "$i/early" "$i/late" 2>"$i/log" || :
done'
"""
_ENVIRON = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "0",
    "SYSTEMD_LOG_TARGET": "console", "SYSTEMD_PROC_CMDLINE": "quiet", "LC_ALL": "C",
}  # fmt: skip


@dataclass(frozen=True)
class Mount:
    """One mount unit: what is mounted, as which type ("": found out, or a bind mount), and what starts it."""

    what: str
    fstype: str
    hooks: "tuple[str, ...]"


def build_root(top: Path, usr: Path) -> Path:
    """A root directory below `top`, with links and with the generator of `usr`."""
    root = top / "root"
    for name in _DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, target in _LINKS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    (root / "data/file").write_text("")
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    shutil.copy2(usr / GENERATOR, root / "usr" / GENERATOR)
    return root


def run_theirs(root: Path, usr: Path, files: "list[bytes]") -> "list[dict[str, Mount]]":
    """For each of `files` what the generator of `usr` mounts in `root`, by the mount points. Needs root's rights."""
    for number, data in enumerate(files):
        directory = root / "t" / f"{number:05}"
        directory.mkdir(parents=True)
        (directory / "fstab").write_bytes(data)
    subprocess.run(
        ["unshare", "--mount", "--propagation=private", "sh", "-c", _SCRIPT, root, usr], env=_ENVIRON, check=True
    )
    return [_read_mounts(root / "t" / f"{number:05}" / "normal") for number in range(len(files))]


def _read_mounts(directory: Path) -> "dict[str, Mount]":
    hooks: dict[str, list[str]] = {}
    for link in directory.glob("*.[wr]*/*"):
        if link.is_symlink():
            hooks.setdefault(link.name, []).append(link.parent.name)
    found = {}
    for unit in directory.glob("*.mount"):
        values = _read_unit(unit)
        # PID 1 refuses a path that is not normalised.
        where = normalise(values.get("Where", ""))
        if where and mount_unit(where) == unit.name and _is_usable(unit, values):
            started = hooks.get(unit.name, []) + hooks.get(unit.name[: -len("mount")] + "automount", [])
            fstype = values.get("Type", "")
            fstype = "" if fstype in ("auto", "none") else fstype
            bind = fstype in ("bind", "rbind") or re.search(r"(^|(^|[^\\]),)r?bind($|[,=])", values.get("Options", ""))
            found[where] = Mount(values["What"], "" if bind else fstype, tuple(sorted(started)))
    return found


def _is_usable(unit: Path, values: "dict[str, str]") -> bool:
    """False if PID 1 refuses the unit, or has another mount of it (tried with systemd --test of 247, 252, 257, 262)."""
    what, options = values.get("What", ""), values.get("Options", "").split(",")
    # fstype_is_network() and mount_add_mount_dependencies(): no mounts are asked for of what is on a server.
    fstype = values.get("Type", "").replace("fuse.", "", 1)
    remote = fstype in ("nfs", "nfs4", "cifs", "sshfs", "ceph", "glusterfs", "davfs") or "_netdev" in options
    local = {"bind", "rbind", "loop"}.intersection(option.partition("=")[0] for option in options)
    parts = what.split("/") if what.startswith("/") and (local or not remote) else []
    text = unit.read_bytes().decode("utf-8", "surrogateescape")
    return bool(what) and not (".." in parts or any(len(part) > 255 for part in parts) or _JOINED.search(text))


def _read_unit(path: Path) -> "dict[str, str]":
    """Settings as PID 1 reads them: a carriage return ends a line, a backslash does not, blanks at the ends go."""
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    text = re.sub(r"(?<!\\)((?:\\\\)*)\\\n", r"\1 ", text)
    pairs = (line.partition("=") for line in re.split(r"[\r\n]", text) if "=" in line and not line.startswith("#"))
    return {key.strip(" \t"): value.strip(" \t").replace("%%", "%") for key, _, value in pairs}
