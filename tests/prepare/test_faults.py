# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each call of prepare fails once, as on a worn, a full or a read-only disk: nothing is lost, and it is reported.

`FAULTS=all pytest tests/prepare/test_faults.py` lets every call of every boot fail with every error (many minutes);
otherwise it is one in 23, with one of the errors in turn.
"""

import errno
import os
import posix
import shutil
import sys
from pathlib import Path

import pytest

from hold import hold
from overlay_prepare import stamp
from overlay_prepare.report import Unusable, describe
from persistentdevice import OLD, Device, pretend
from tree import ORIGIN, Tree, read_tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="trusted attributes and device nodes need root")

CALLS = (
    "open", "mkdir", "rmdir", "mknod", "rename", "unlink", "link", "symlink", "write", "read", "ftruncate", "sendfile",
    "fsync", "setxattr", "removexattr", "getxattr", "listxattr", "chown", "chmod", "utime", "scandir", "stat", "lstat",
    "statvfs",
)  # fmt: skip
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS)
STAGED = {"all": "all\n", "path": "path /VAR/lib/app\n", "keep-some": "all\nkeep /VAR/lib/app/one\n"}
BOOTS = ("same", "keep", "refresh", "prune", "reset", "direct", *STAGED)
EVERY = os.environ.get("FAULTS") == "all"


def _prepare(top: Path, boot: str) -> Device:
    """A disk as it is before the boot called `boot`."""
    Device.identity = OLD
    device = Device(top)
    device.boot()
    device.use()
    if boot in STAGED:
        device.stage(STAGED[boot])
    elif boot != "same":
        device.update()
    return device


def _boot(device: Device, boot: str) -> None:
    policy = boot if boot in ("refresh", "prune", "reset") else "keep"
    device.boot(policy, direct=("lib/docker",) if boot == "direct" else ())


def _run(device: Device, boot: str, number: int, error: int) -> "tuple[str, str]":
    """What a boot in a child process says, and the name of the call that failed, "" if it had fewer calls."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            sys.stderr = open(writer, "w", 1, closefd=False, errors="backslashreplace")  # noqa: SIM115
            failed = _become(device, boot, number, error)
            sys.stderr.write(f"\0{failed}")
            sys.stderr.flush()
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, errors="replace") as stream:
        said, _, failed = stream.read().partition("\0")
    assert os.waitpid(pid, 0)[1] == 0, said
    return said, failed


def _become(device: Device, boot: str, number: int, error: int) -> str:
    calls = 0
    failed = ""

    def wrap(name: str) -> None:
        real = getattr(posix, name)

        def one(*arguments: object, **options: object) -> object:
            nonlocal calls, failed
            calls += 1
            if calls == number:
                failed = f"{name}{arguments}"
                raise OSError(error, os.strerror(error))
            return real(*arguments, **options)

        setattr(posix, name, one)

    for name in CALLS:
        wrap(name)
    try:
        _boot(device, boot)
    except (OSError, Unusable) as caught:
        # As main() reports it, before it does what the owner of the image wants in that case.
        sys.stderr.write(f"gave up: {describe(caught)}\n")
    return failed


def _read_upper(device: Device) -> Tree:
    """Without the empty origin, by which the kernel looks for whiteouts: it makes no difference in what is shown."""
    return _without(read_tree(device.upper), empty_alone=True)


def _without(tree: Tree, empty_alone: bool = False) -> Tree:
    """`tree` without references to the image's files, or without those alone that refer to none."""

    def keep(attribute: "tuple[str, bytes]") -> bool:
        return attribute[0] != ORIGIN or (empty_alone and attribute[1] != b"")

    return {path: (*what[:4], tuple(a for a in what[4] if keep(a)), what[5]) for path, what in tree.items()}  # type: ignore[attr-defined]


def _find_mine(device: Device) -> "dict[str, bytes]":
    """The user's own files, wherever on the disk they are."""
    files = (path for path in device.backing.rglob("*") if path.name in ("mine", "own", "layer", "one"))
    return {path.name: text for path in files if path.is_file() and (text := path.read_bytes()) == b"mine"}


def _try(top: Path, boot: str, number: int, error: int, expected: Tree, mine: "dict[str, bytes]") -> bool:
    """Let a call fail, and boot once more; False where there was no such call."""
    device = _prepare(top, boot)
    said, failed = _run(device, boot, number, error)
    if not failed:
        return False
    where = f"{boot}, call {number}, {failed}, {os.strerror(error)}: {said}"
    # On a full disk a reset deletes at once what else would be put aside.
    if error != errno.ENOSPC or boot not in ("reset", *STAGED):
        assert mine.items() <= _find_mine(device).items(), where
    if not said:
        # What is not reported as failed has to be done.
        assert stamp.is_current(hold(device.backing), Device.identity), where
    _boot(device, boot)
    # A request that fails is half done and refused, and an image that can't be read is no reason to drop anything.
    if boot not in STAGED and "nobody knows what image" not in said and "as the disk is full" not in said:
        found = _read_upper(device)
        if boot == "same" and "another image" in said:
            # A note that can't be read is that of no image: references go, with which nothing else is shown.
            found, expected = _without(found), _without(expected)
        assert found == expected, where
    assert stamp.is_current(hold(device.backing), Device.identity), where
    shutil.rmtree(top)
    return True


@pytest.mark.parametrize("boot", BOOTS)
def test_a_call_that_fails_loses_nothing_and_is_told(
    boot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(tmp_path, monkeypatch)
    device = _prepare(tmp_path / "model", boot)
    _boot(device, boot)
    expected, mine = _read_upper(device), _find_mine(device)
    number = 1 + len(boot)
    tried = 0
    while all(
        _try(tmp_path / f"{number}-{error}", boot, number, error, expected, mine)
        for error in (ERRORS if EVERY else [ERRORS[tried % 3]])
    ):
        tried += 1
        number += 1 if EVERY else 23
    assert tried >= 2
