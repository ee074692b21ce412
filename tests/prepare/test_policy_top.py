# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Mode and owner of the overlaid directory itself at an update, by policy."""

import os
from pathlib import Path

import pytest

from persistentdevice import Device, pretend

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners need root")
FOLLOWS = {"keep": False, "refresh": False, "prune": True, "reset": True}


@pytest.mark.parametrize("rollback", ["no", "yes"])
@pytest.mark.parametrize("policy", FOLLOWS)
def test_an_image_that_closes_it(policy: str, rollback: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(tmp_path, monkeypatch)
    device = Device(tmp_path)
    device.where.chmod(0o755)
    device.boot(policy, rollback=rollback)
    device.use()
    device.update()
    device.where.chmod(0o700)
    os.chown(device.where, 5, 6)
    device.boot(policy, rollback=rollback)
    info = device.upper.stat()
    shown = (info.st_mode & 0o7777, info.st_uid, info.st_gid)
    assert shown == ((0o700, 5, 6) if FOLLOWS[policy] else (0o755, 0, 0))
