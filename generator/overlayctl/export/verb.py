# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl export: the changes as a tar to be laid over the image's tree at its next build."""

import argparse
import os
import stat
import sys
from collections.abc import Iterator

from overlayctl.errors import Failure
from overlayctl.export.archive import Archive
from overlayctl.layers.change import DELETED, EQUAL, OPAQUE, REPLACED, Change
from overlayctl.layers.links import Links
from overlayctl.layers.locate import Target, find_targets
from overlayctl.layers.locate import add_arguments as add_layer_arguments
from overlayctl.layers.marks import read_attributes
from overlayctl.layers.walk import NotFound, walk
from overlayctl.outfile import OutFile, standard_output, whole
from overlayctl.output import printable
from overlayctl.progress import Progress
from overlayctl.tar import Torn

VERB = "export"
HELP = "write the changes into a tar for the next build of the image"
DESCRIPTION = """\
Write what was changed against the image into a tar: a root file system overlay, as image builders lay it over the
tree that the next image is made of. Paths in it start below the root directory, owners are numbers, extended
attributes are kept (GNU tar --xattrs), those of overlayfs are not. Files that were copied up and do not differ are
left out, sockets as well. The same upper layer gives the same bytes. GNU tar warns of hdrcharset where a name or an
attribute is no UTF-8, and reads it well.

What was deleted can't be in a tar. The list of --deletions has a path in each line: what was deleted, and what has to
go before the tar is unpacked, as it was replaced by something of another type.
"""
EXAMPLES = """\
examples:
  overlayctl export --deletions deleted.txt changes.tar
      all overlays
  overlayctl export - /var/lib/app | ssh builder 'cat > app.tar'
      a part of one
  cd build/target && xargs -d '\\n' rm -rf -- < deleted.txt && tar -xpf changes.tar --xattrs --xattrs-include='*'
      how to lay it over an image's tree

exit status: 0 done, 3 it could not be done, or something was left out
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("file", metavar="FILE", help="the tar to be written; - for standard output")
    parser.add_argument("paths", metavar="PATH", nargs="*", help="only this and what is below it")
    parser.add_argument("--deletions", metavar="LIST", help="the file to be written with the list of deletions")
    parser.add_argument(
        "--undone", action="store_true", help="what a step back has put aside instead, as it lies in the layer"
    )
    parser.add_argument("-z", "--null", action="store_true", help="end the paths in the list with NUL bytes")
    add_layer_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """The exit status: 0, or 3 if something had to be left out. Raises Failure, OSError."""
    if options.null and not options.deletions:
        raise Failure("--null goes with --deletions")
    if options.file == "-" and sys.stdout.isatty():
        raise Failure("a tar can't be shown on a terminal; give a file, or - and a pipe")
    if options.undone:
        return _export_undone(options)
    targets = find_targets(options, options.paths)
    for name in filter(None, (options.file if options.file != "-" else "", options.deletions)):
        _refuse_inside(name, targets)
    exporter = _Exporter(options.null)
    with standard_output() if options.file == "-" else whole(options.file) as out:
        exporter.write(targets, out)
    exporter.finish(options.deletions)
    return 3 if exporter.left_out else 0


def _export_undone(options: argparse.Namespace) -> int:
    from overlayctl.frozen import find_undone
    from overlayctl.stage import request as staging
    from overlayctl.stage.backup import write_layer
    from overlayctl.status import machine

    if options.file == "-" or options.deletions or options.upper or options.lower or options.frozen:
        raise Failure("--undone goes with a file and directories alone")
    found = staging.read_machine()
    places = [found.find(path) for path in machine.resolve(options.paths)] or list(found.places.values())
    places = [place for place in places if find_undone(place.backing)]
    if not places:
        raise Failure("no step back has put anything aside")
    write_layer(options.file, places, "undone")
    return 0


class _Exporter:
    def __init__(self, null: bool) -> None:
        self.null = null
        self.deleted: list[bytes] = []
        self.left_out = 0

    def write(self, targets: "list[Target]", out: OutFile) -> None:
        """Write the tar for `targets` to `out`. Raises Failure, OSError."""
        archive = Archive(out)
        for target in targets:
            self._add_all(archive, target)
        archive.close()

    def finish(self, path: "str | None") -> None:
        """Write the list of deletions to `path`, or say that there is something for it. Raises OSError."""
        if path:
            end = b"\0" if self.null else b"\n"
            with whole(path) as out:
                for name in self.deleted:
                    out.write(name + end)
        elif self.deleted:
            count = len(self.deleted)
            _say(f"{count} {'path has' if count == 1 else 'paths have'} to be deleted: not in the tar, see --deletions")

    def _add_all(self, archive: Archive, target: Target) -> None:
        progress = Progress()
        try:
            links = Links(target.layers.links)
            for change in self._walk(target):
                progress.advance(1)
                self._add(archive, target, change, links)
        except NotFound as error:
            raise Failure(f"{target.spell(error.args[0])}: neither the overlay nor its image has it") from error
        finally:
            progress.end()

    def _walk(self, target: Target) -> "Iterator[Change]":
        def report(path: bytes, error: OSError) -> None:
            self._leave_out(target.spell(path), str(error.strerror))

        # Not following moves: the image's tree has nothing at the new place.
        return walk(target.layers, target.start, follow=False, report=report)

    def _add(self, archive: Archive, target: Target, change: Change, links: Links) -> None:
        path = target.spell(change.path)
        name = os.fsencode(path).strip(b"/") or b"."
        if change.kind in (DELETED, REPLACED):
            if b"\n" in name and not self.null:
                raise Failure(f"{path}: has a line break in its name; use --deletions with --null")
            self.deleted.append(name)
        if change.info is None or (change.kind == OPAQUE and not change.what):
            return
        # What equals the image's is left out, unless it is a hard link to a file whose other name may not be equal.
        if change.kind == EQUAL and change.info.st_nlink < 2:
            return
        try:
            note = archive.add(name, change, target.layers, links)
            if note:
                _say(f"{path}: {note}")
            for lost in _find_lost(change):
                self._leave_out(path, f"a tar can't say that it no longer has {lost}")
        except FileNotFoundError:
            return  # somebody has just removed it
        except BrokenPipeError:
            raise  # the reader of the tar has gone away
        except Torn as error:
            self.left_out += 1
            _say(f"{path}: {error.strerror}; what could not be read is zeros in the tar")
        except OSError as error:
            self._leave_out(path, str(error.strerror))

    def _leave_out(self, path: str, why: str) -> None:
        self.left_out += 1
        _say(f"{path}: {why}; left out")


def _find_lost(change: Change) -> "list[str]":
    """The attributes of a directory of the image that were removed: unpacking a tar does not remove them."""
    if not change.real or not change.old or not change.info or not stat.S_ISDIR(change.info.st_mode):
        return []
    return sorted(read_attributes(change.old).keys() - read_attributes(change.real).keys()) if change.what else []


def _refuse_inside(name: str, targets: "list[Target]") -> None:
    """Raises Failure if the file `name` would be part of what is exported."""
    path = os.path.realpath(name)
    for target in targets:
        layers = (os.fsdecode(target.layers.upper), os.fsdecode(target.layers.frozen))
        for top in (target.where if target.backing else "", *layers):
            if top and os.path.commonpath((path, top)) == top:
                raise Failure(f"{name} lies in {top}, which is exported; write it elsewhere, or to standard output")


def _say(text: str) -> None:
    sys.stderr.write(f"overlayctl: {printable(text)}\n")
