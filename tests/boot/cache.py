# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where built things are kept, and how a new one gets there whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Older root images are thrown away: each product change makes one for each image of each scenario.
IMAGES_KEPT = 48


def cache_root() -> Path:
    """Return the directory for everything built or measured here; it may not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "overlay-generator" / "boot"


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep other builders out while the block runs; two runs then share one build."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Unfinished work of a builder that was killed: nobody else builds now.
        for stale in [*root.glob("base/.*"), *root.glob("images/.*")]:
            shutil.rmtree(stale, ignore_errors=True)
        yield


@contextmanager
def staging(target: Path) -> Iterator[Path]:
    """Yield an empty directory beside target; it becomes target when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    # mkdtemp makes it 0700, but a Debian tree below it must be reachable for apt's own user.
    work.chmod(0o755)
    try:
        yield work
        work.rename(target)
    finally:
        if work.exists():
            shutil.rmtree(work, ignore_errors=True)


def key_of(parts: Iterable[str | bytes]) -> str:
    """Return a short hash of all parts, in order."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:16]


def tree_parts(top: Path) -> Iterator[str | bytes]:
    """Yield name, kind, mode and content of everything below top, sorted: parts for key_of."""
    for path in sorted(top.rglob("*")):
        yield str(path.relative_to(top))
        if path.is_symlink():
            yield f"link {path.readlink()}"
        else:
            yield f"{path.stat().st_mode:o}"
            if path.is_file():
                yield path.read_bytes()


def prune(images: Path) -> None:
    """Remove all but the most recently used root images."""
    found = sorted(images.glob("[!.]*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in found[IMAGES_KEPT:]:
        old.unlink(missing_ok=True)
