# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A disk without any space left stops no boot, and what is on it can be removed."""

import os
import subprocess
from pathlib import Path

import pytest

from overlay_generator.render import OPTIONS_PERSISTENT
from tree import fill

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

# A disk that has been booted from, then filled to the last inode or block under another image.
FULL = """
where=$1 backing=$2
echo mine >"$backing/upper/conf"
printf 'IMAGE_VERSION=1\\n' >"$backing/image"
[ -z "$3" ] || echo "$3" >"$backing/reset"
if [ "$4" = inodes ]; then
    i=0; while touch "$backing/upper/$i" 2>/dev/null; do i=$((i + 1)); done
else
    cat /dev/zero >"$backing/upper/0" 2>/dev/null
fi || :
"""


# What is full, the policy for an update, a request that was staged, and what the directory shows of conf.
FULL_DISKS = [
    ("inodes", "keep", "", "mine"), ("inodes", "refresh", "", "mine"), ("inodes", "prune", "", "1"),
    ("inodes", "reset", "", "1"),
    ("inodes", "keep", "all", "1"), ("inodes", "keep", "path /VAR/conf", "1"),
    ("blocks", "keep", "", "mine"), ("blocks", "prune", "all", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "policy", "staged", "shown"), FULL_DISKS)
def test_on_a_full_disk_every_boot_has_its_var(
    what: str, policy: str, staged: str, shown: str, tmp_path: Path, prefix: Path
) -> None:
    """With a tmpfs in place of a disk, as that is filled quickly."""
    where, backing = fill(tmp_path / "var", "conf=1", "lib/file"), tmp_path / "backing"
    backing.mkdir()
    code = f"""
import sys
sys.path.insert(0, {str(prefix / "lib/overlay-generator")!r})
from overlay_generator.model import Mounted
from overlay_prepare import fitness, main
fitness.find_mounted = lambda mount: Mounted(mount, "ext4", "rw")
fitness.probe = lambda *arguments: None
sys.exit(main.main(["prepare", *sys.argv[1:]]))
"""
    script = f"""
mount -t tmpfs tmpfs /run
set -e
# An image with a name: whether one without is another one can't be told, and nothing would be dropped.
echo IMAGE_VERSION=2 >/run/os-release
mount --bind /run/os-release /etc/os-release
boot() {{ python3 -c '{code.replace("'", '"')}' --mount="{backing}" --policy={policy} "{where}" "{backing}"; }}
mount -t tmpfs -o size=512k,nr_inodes=128 tmpfs "{backing}"
boot
(set -- "{where}" "{backing}" "{staged.replace("/VAR", str(where))}" {what}; {FULL})
boot
boot
mkdir -p "{tmp_path}/at"
mount --bind "{where}" "{backing}/lower"
layers="lowerdir={backing}/lower,upperdir={backing}/upper,workdir={backing}/work"
mount -t overlay -o "$layers,{OPTIONS_PERSISTENT}" overlay "{tmp_path}/at"
cd "{tmp_path}/at"
cat lib/file conf
rm -f 0 && echo new >new && test "$(cat new)" = new
"""
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"lib/file{shown}" + ("\n" if shown == "mine" else "")
