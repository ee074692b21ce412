"""Whether the file system at a backing directory is the wanted one, and can hold an upper layer."""

import posix

from overlay_generator.fstab import can_be_upper
from overlay_generator.gather import read_file
from overlay_generator.kernel import parse_mountinfo
from overlay_generator.model import Mounted
from overlay_generator.normalise import remove_below

_WHITEOUT = 0o020000  # S_IFCHR; a character device 0:0 is what overlayfs marks a deleted file with
_NO_SPACE = (28, 122)  # ENOSPC, EDQUOT


class Unusable(Exception):
    """The file system can't hold an upper layer; the text says why, and what to do."""


def find_mounted(mount: str, mountinfo: str = "/proc/self/mountinfo") -> Mounted:
    """What is mounted at `mount`, the topmost. Raises Unusable if nothing is, OSError."""
    data = read_file(mountinfo)
    found = [m for m in parse_mountinfo(data.decode("utf-8", "surrogateescape")) if m.where == mount]
    if not found:
        raise Unusable(f"nothing is mounted at {mount}")
    return found[-1]


def verify(mounted: Mounted, wanted: str) -> None:
    """Raises Unusable if `mounted` is not of the type that fstab wants ("" or auto: any), or not writable."""
    if wanted not in ("", "auto", "none") and mounted.fstype not in wanted.split(","):
        raise Unusable(f"{mounted.fstype} is mounted at {mounted.where}, and fstab wants {wanted}")
    if not can_be_upper(mounted.fstype):
        raise Unusable(f"{mounted.fstype} at {mounted.where} can't hold an upper layer: use ext4, xfs, btrfs or f2fs")
    if "ro" in mounted.flags.split(",") or "ro" in mounted.options.split(","):
        raise Unusable(f"{mounted.where} is mounted read-only; see the kernel's messages on its file system")


def probe(backing: str) -> None:
    """Try in `backing` what overlayfs needs. Raises Unusable if something is missing, OSError."""
    scratch = f"{backing}/probe"
    _remove(scratch)  # of a boot that was cut off
    try:
        posix.mkdir(scratch, 0o700)
        _probe_attributes(scratch)
        _probe_types(scratch)
        _probe_whiteout(scratch)
    except OSError as error:
        # A full disk can still be read, and files on it be removed.
        if error.errno not in _NO_SPACE:
            raise
    finally:
        _remove(scratch)


def _remove(scratch: str) -> None:
    try:
        remove_below(scratch)
        posix.rmdir(scratch)
    except FileNotFoundError:
        pass


def _probe_attributes(scratch: str) -> None:
    try:
        posix.setxattr(scratch, "trusted.overlay-generator", b"y")
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise
        raise Unusable(f"its file system has no trusted extended attributes ({error.strerror})") from error


def _probe_types(scratch: str) -> None:
    """overlayfs takes the type of an entry from the directory (d_type): without it, rm -r fails later on."""
    inner = f"{scratch}/directory"
    posix.mkdir(inner)
    with posix.scandir(scratch) as entries:
        found = list(entries)
    posix.rmdir(inner)
    # Known from the directory alone, or asked of the entry, which is no longer there.
    if not found or not found[0].is_dir(follow_symlinks=False):
        raise Unusable("its directories don't tell the type of their entries (d_type); make it anew: ext4, xfs ftype=1")


def _probe_whiteout(scratch: str) -> None:
    path = f"{scratch}/whiteout"
    try:
        posix.mknod(path, _WHITEOUT, 0)
        posix.unlink(path)
    except PermissionError as error:
        raise Unusable("no whiteouts can be made on it (mknod is not permitted)") from error
