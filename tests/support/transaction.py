# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What systemd makes of a machine's units when it boots: the cycles that it finds in them, and what it would start.

The machine is a tree with our units, made by the caller in its UNITS. systemd, its generators for fstab and crypttab
and all its units come from a /usr: that of this machine, or of a tree of another release. Nothing is started.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import fakeroot
from product import Run

UNITS = "test-units"
_SCRIPT = """\
mount -t overlay -o "lowerdir=$0/usr:$1" usr "$0/usr" && mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" &&
mount --rbind /sys "$0/sys" && mount -t tmpfs run "$0/run" || exit
# systemd 258 and later run with the unified hierarchy of control groups alone.
[ ! -d "$0/sys/fs/cgroup/unified" ] || mount --bind "$0/sys/fs/cgroup/unified" "$0/sys/fs/cgroup"
for name in bin sbin lib lib64; do
    [ -L "$0/$name" ] || mount --bind "$0/usr/$name" "$0/$name"
done
exec chroot "$0" /bin/sh -c '
cd /test-units
for name in fstab cryptsetup; do
    generator=/usr/lib/systemd/system-generators/systemd-$name-generator
    [ ! -x "$generator" ] || SYSTEMD_PROC_CMDLINE=$(cat /proc-cmdline) "$generator" normal early late
done
chmod -R a+rX /test-units
# Not as the first process: the manager would think that it is PID 1, and stay.
units=/test-units
timeout 60 setpriv --reuid=65534 --regid=65534 --clear-groups env \
    SYSTEMD_UNIT_PATH=$units/early:/etc/systemd/system:$units/normal:/usr/lib/systemd/system:$units/late \
    SYSTEMD_GENERATOR_PATH=/nowhere SYSTEMD_LOG_LEVEL=info \
    /usr/lib/systemd/systemd --test --system --unit=multi-user.target || exit 1
'
"""
_ENVIRON = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_SCOPE": "system", "SYSTEMD_IN_INITRD": "0", "HOME": "/",
    "SYSTEMD_LOG_TARGET": "console", "LC_ALL": "C.UTF-8",
}  # fmt: skip


def prepare_root(root: Path) -> "tuple[Path, Path, Path]":
    """Make the tree at `root` fit for find_cycles(). Returns where the units go: normal, early and late."""
    for name in ("usr", "proc", "sys", "dev", "run", "etc", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    root.chmod(0o755)
    (root / "tmp").chmod(0o1777)
    cmdline = root / "proc/cmdline"
    (root / "proc-cmdline").write_bytes(cmdline.read_bytes() if cmdline.exists() else b"quiet")
    places = (root / UNITS / "normal", root / UNITS / "early", root / UNITS / "late")
    for place in places:
        place.mkdir(parents=True)
    return places


def find_cycles(root: Path, usr: Path = Path("/usr")) -> "tuple[list[str], str]":
    """What systemd says of cycles in the units of `root`, and its list of all units that it would start."""
    # Without a namespace of processes: systemd 257 and later take that for a container, and ignore all swap there.
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", _SCRIPT, str(root), str(usr)]
    done = subprocess.run(command, env=_ENVIRON, capture_output=True, text=True, errors="replace", check=False)
    lines = done.stderr.splitlines()
    return [line for line in lines if "cycle" in line or "deleted to break" in line], done.stdout + done.stderr


def ask_both(run: Run, root: Path, tree: str, words: str, files: "Mapping[str, str]") -> "tuple[str, list[str], str]":
    """What ours says of a machine with `words` on its kernel command line and these files, and, as find_cycles(), what
    the systemd of `tree` says of it. `root` is made.
    """
    fakeroot.build(fakeroot.CASES / "none", root)
    (root / "proc/cmdline").write_text(f"quiet {words}\n")
    for path, text in files.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_text(text)
    for name in ("var/lib/x", "home", "srv"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for link in root.glob("etc/systemd/system/*.requires/*"):
        link.unlink()
        link.symlink_to(f"../{link.name}")
    said = run("--root", root, *prepare_root(root), environ={}).stderr
    cycles, output = find_cycles(root, Path(tree, "usr"))
    assert "Unit local-fs.target" in output, f"{said}{output[-2000:]}"
    return said, cycles, output
