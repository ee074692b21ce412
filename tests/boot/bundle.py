# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Make an update for RAUC of a root image, by the rauc of the suite under test."""

from __future__ import annotations

import shutil
from pathlib import Path

from debian import Base
from pack import run_in_tree

MANIFEST = """\
[update]
compatible=boot-test
version=2

[bundle]
format=verity

[image.rootfs]
filename=rootfs.img
"""
# The key is of no use afterwards.
SIGN = """set -e
cd "/mnt/$1"
openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=boot-test -addext extendedKeyUsage=emailProtection \
    -keyout /tmp/key.pem -out cert.pem
rauc --cert=cert.pem --key=/tmp/key.pem bundle content update.raucb
rm -r content /tmp/key.pem
"""


def make_bundle(image: Path, base: Base, top: Path, log: Path) -> Path:
    """Return a directory in top with the bundle update.raucb of the image, and cert.pem, by which it is verified.

    Raises StepFailed.
    """
    directory = top / "bundle"
    (directory / "content").mkdir(parents=True)
    shutil.copyfile(image, directory / "content/rootfs.img")
    (directory / "content/manifest.raucm").write_text(MANIFEST)
    run_in_tree("make a bundle", base.tools, top, ["sh", "-c", SIGN, "sh", directory.name], log)
    return directory
