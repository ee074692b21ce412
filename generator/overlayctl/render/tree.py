"""The tree of an image as overlayctl render sees and changes it: links lead within it, and others' files stay."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from overlay_generator.model import UnitLink
from overlayctl.errors import Failure
from overlayctl.render import services as static_services
from overlayctl.render import text as static_text
from overlayctl.render import units as static

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MOST_LINKS = 40  # as the kernel: path_resolution(7)


class Tree:
    """The tree at `root`; paths in it are absolute, as the booted image sees them."""

    def __init__(self, root: str) -> None:
        self.root = root

    def resolve(self, path: str) -> str:
        """Where `path` leads to, links followed inside the tree; "" if nothing is there."""
        left = path.split("/")
        found: list[str] = []
        links = 0
        while left:
            part = left.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                found = found[:-1]
                continue
            place = f"{self.root}/{'/'.join([*found, part])}"
            if os.path.islink(place):
                links += 1
                target = os.readlink(place)
                if links > _MOST_LINKS:
                    return ""
                found = [] if target.startswith("/") else found
                left = [*target.split("/"), *left]
            elif os.path.lexists(place):
                found.append(part)
            else:
                return ""
        return "/" + "/".join(found)

    def is_ours(self, path: str) -> bool:
        """True if an earlier rendering made the file `path`."""
        return _has_header(Path(self.root + path))

    def replace(self, files: "Iterable[static.File]") -> None:
        """Write `files` and take away what an earlier rendering made. Raises Failure before anything is changed."""
        wanted = {Path(self.root, file.directory, file.path): file for file in files}
        old = list(self._find_ours())
        for path in wanted:
            if os.path.lexists(path) and path not in old:
                raise Failure(
                    f"{path}: is there already, and not of overlayctl render; take it out of the image first "
                    "(in Buildroot: BR2_INIT_SYSTEMD_VAR_OVERLAYFS)"
                )
        for path in old:
            path.unlink()
        for path, file in wanted.items():
            _make_parents(path)
            if isinstance(file, UnitLink):
                path.symlink_to(file.target)
            else:
                path.write_text(file.text, encoding="utf-8")
                # Whatever the builder's umask: the same tree each time.
                path.chmod(0o644)
        for path in old:
            _drop_empty(path.parent)

    def _find_ours(self) -> "Iterator[Path]":
        units, notes = Path(self.root, static.UNITS), Path(self.root, static_services.NOTES)
        for path in sorted([*units.glob("*"), *units.glob("*.d/*.conf")]):
            if _has_header(path):
                yield path
        for path in sorted(units.glob("local-fs.target.*/*")):
            if path.is_symlink() and _has_header(units / path.name) and os.readlink(path) == f"../{path.name}":
                yield path
        yield from sorted(path for path in notes.glob("*") if path.is_file())


def _has_header(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(len(static_text.HEADER)) == static_text.HEADER.encode()
    except OSError:
        return False


def _make_parents(path: Path) -> None:
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir()
            parent.chmod(0o755)


def _drop_empty(directory: Path) -> None:
    """Remove a directory of links or drop-ins that nothing is left in."""
    if directory.name.endswith((".d", ".requires", ".wants")) or directory.name == Path(static_services.NOTES).name:
        try:
            directory.rmdir()
        except OSError:
            pass
