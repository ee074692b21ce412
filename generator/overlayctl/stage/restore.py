"""The verb restore: single paths are as the image has them again, from the next boot on."""

import os
import stat
from typing import TYPE_CHECKING

from overlay_generator.names import ancestors
from overlay_prepare.resetrequest import Staged, is_kept
from overlayctl.errors import Failure
from overlayctl.layers.marks import is_whiteout, read_directory
from overlayctl.stage import request as staging
from overlayctl.stage.request import Place
from overlayctl.status import machine

if TYPE_CHECKING:
    import argparse

VERB = "restore"
HELP = "give files of the image back at the next boot"
DESCRIPTION = """\
Give each PATH back as the image has it: what was changed there is dropped, what was deleted is there again, and what
the image has not is gone. It is staged now and done by the next boot, before anything is mounted; overlayctl status
shows it, and --cancel takes it back.
"""
EXAMPLES = """\
examples:
  overlayctl restore /var/lib/app.conf
  overlayctl restore --dry-run /var/lib/app
  overlayctl restore --cancel /var/lib/app.conf

exit status: 0 done, 3 it could not be done
"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """The command line of the verb."""
    parser.add_argument("path", metavar="PATH", nargs="+", help="a file or directory below an overlay that persists")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--dry-run", action="store_true", help="say what would be staged, and stage nothing")
    action.add_argument("--cancel", action="store_true", help="take staged paths back")


def run(options: "argparse.Namespace") -> int:
    """The exit status. Raises Failure; what has been staged until then, for another directory, is told."""
    found = staging.read_machine()
    chosen: dict[str, list[str]] = {}
    for path in machine.resolve(options.path):
        chosen.setdefault(found.find(path).where, []).append(path)
    requests = []
    for where, paths in chosen.items():
        place = found.places[where]
        if options.cancel:
            requests.append((place, staging.take_out(place.staged or Staged(), paths)))
            continue
        for path in paths:
            warning = verify(place, path)
            if warning:
                options.output.write(f"warning: {warning}\n")
        requests.append((place, _merge(place, paths)))
    for place, request in requests:
        if not options.dry_run:
            staging.write(place, request)
        options.output.write(staging.tell(place, request))
    return 0


def verify(place: Place, path: str) -> str:
    """A warning if there is nothing to restore at `path`, else "". Raises Failure if it can't be restored alone."""
    if path == place.where:
        raise Failure(f"{path} is the whole overlay; overlayctl reset {path} empties it")
    for above in reversed([above for above in ancestors(path) if above.startswith(f"{place.where}/")]):
        inside = above[len(place.where) :]
        kind = _find_kind(f"{place.upper}{inside}")
        if kind == "directory":
            reason = _find_cut(f"{place.upper}{inside}")
            if reason and os.path.lexists(f"{place.lower}{path[len(place.where) :]}"):
                # Its own content hides the image's, so what is taken away below shows nothing of the image.
                raise Failure(f"{path} can't be restored alone: {above} {reason}; restore {above}")
        elif kind == "whiteout":
            raise Failure(f"{path} can't be restored alone: {above} was deleted; restore {above}")
        elif kind:
            raise Failure(f"{path} can't be restored alone: {above} was replaced by a {kind}; restore {above}")
        else:
            return f"{path}: nothing was changed there, it is as the image has it"
    if not _find_kind(f"{place.upper}{path[len(place.where) :]}"):
        return f"{path}: nothing was changed there, it is as the image has it"
    return ""


def _merge(place: Place, paths: "list[str]") -> Staged:
    kept = [path for path in paths if place.staged and is_kept(path, place.staged.keep)]
    if kept:
        raise Failure(f"{kept[0]} is kept by what is staged already: overlayctl reset --cancel {place.where}")
    return staging.merge(place.staged, Staged(paths=tuple(paths)))


def _find_kind(path: str) -> str:
    """What stands at `path` in an upper layer: directory, whiteout, file and so on, "" for nothing. Raises OSError."""
    try:
        info = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    if stat.S_ISDIR(info.st_mode):
        return "directory"
    if is_whiteout(os.fsencode(path), info):
        return "whiteout"
    return "symbolic link" if stat.S_ISLNK(info.st_mode) else "file" if stat.S_ISREG(info.st_mode) else "special file"


def _find_cut(path: str) -> str:
    """What keeps the directory `path` of an upper layer from showing what the image has at its place, or ""."""
    opaque, redirect = read_directory(os.fsencode(path))
    if redirect:
        return "was moved there from elsewhere"
    return "was deleted and made anew" if opaque else ""
