# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl preview: what an update of the image will do, before it is made."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Optional

from overlay_generator.config import POLICIES
from overlayctl.errors import Failure
from overlayctl.frozen import find_layer
from overlayctl.image.source import Source, opened, unwritable
from overlayctl.layers.directory import Directory
from overlayctl.layers.parallel import Unread
from overlayctl.layers.stack import Merged, Stack, find_entry
from overlayctl.output import Output, printable
from overlayctl.preview import due, needs
from overlayctl.preview.finding import KINDS, LEFT, SEEDED, Finding
from overlayctl.preview.folded import open_folded
from overlayctl.preview.foretell import Foreteller
from overlayctl.preview.goback import list_undone
from overlayctl.preview.images import Old
from overlayctl.preview.owners import Owners, read_owners
from overlayctl.preview.parallel import Said, Told, tell_all
from overlayctl.preview.place import Place, find_places
from overlayctl.preview.text import COLOURS, describe, describe_summary, spell_line, spell_summary
from overlayctl.preview.update import Notes, Update, is_emptied, plan, read_described, read_notes
from overlayctl.progress import Progress

VERB = "preview"
HELP = "show what an update of the image will do, before it is made"
DESCRIPTION = f"""\
Show what the image NEW will do to what this device has written, in all overlays that persist or below PATHs. NEW is a
directory, the image of a file system (squashfs, erofs, ext4, xfs), a disk with one, or a device such as the slot that
an updater has just written. It is read, and nothing is changed anywhere.

{chr(10).join(f"{kind:<8} {text}" for kind, text in KINDS.items())}

The policy and what is passed through are those of NEW's configuration, as its boot will read that. What is the same in
both images is not listed.
"""
EXAMPLES = """\
examples:
  overlayctl preview /dev/disk/by-partlabel/root-b
      the slot that the next boot will take
  overlayctl preview --fail-on hidden,dropped,clash,owner,space update.squashfs
      for an updater: exit status 1 if there is anything of these
  overlayctl preview --policy prune build/target /var/lib/app
      what another policy would do there
  overlayctl preview --json new.erofs | jq -r 'select(.kind == "owner").text'
      for programs: an object in each line, the last of each overlay is a summary
  overlayctl preview new.squashfs --upper /mnt/data/var/upper --old old.squashfs
      on a build machine, with the disk or a copy of the upper layer of a device

exit status: 0 done, 1 there is something of what --fail-on names, 3 it could not be done
"""

_AT_ONCE = 1 << 16  # characters that are written together
_PATIENCE = 0.2  # seconds; after that fewer are
_UNSEEN = "without root the marks of directories that were made anew can't be seen (trusted.*): names may be missing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("image", metavar="NEW", help="the new image: a directory, a file, a disk or a device")
    parser.add_argument("paths", metavar="PATH", nargs="*", help="only this and what is below it")
    parser.add_argument("--json", action="store_true", help="write an object of JSON in each line")
    parser.add_argument(
        "--fail-on", metavar="KIND,...", default="", help="exit status 1 if there is a finding of one of these kinds"
    )
    parser.add_argument("--policy", metavar="WORD", choices=POLICIES, default="", help="in place of NEW's Policy=")
    parser.add_argument("--partition", metavar="NUMBER", type=int, default=0, help="of a disk with several images")
    group = parser.add_argument_group("an upper layer that is not mounted here")
    group.add_argument("--upper", metavar="DIR", help="the upper layer; prepare's notes beside it are read")
    group.add_argument("--old", metavar="OLD", help="the image that it was over, given as NEW is")
    group.add_argument("--where", metavar="DIR", default="", help="where it is mounted otherwise (default: /var)")


def run(options: argparse.Namespace) -> int:
    """The exit status: 0, 1 for what --fail-on names, or 3 if something could not be read. Raises Failure, OSError."""
    fatal = _parse_kinds(options.fail_on)
    with ExitStack() as stack:
        new = stack.enter_context(opened(options.image, options.partition))
        places, notes = find_places(options)
        old = stack.enter_context(opened(options.old)) if options.old else None
        for note in (*notes, *new.notes, *(old.notes if old else ())):
            _say(note)
        unread = 0
        counts: dict[str, int] = {}
        for place in places:
            one = _Preview(options, place, new, old)
            one.run()
            unread += one.unread.count
            for kind, (count, _) in one.counts.items():
                counts[kind] = counts.get(kind, 0) + count
    refused = [f"{counts[kind]} {kind}" for kind in fatal if counts.get(kind)]
    if refused:
        options.output.flush()
        _say(f"refused by --fail-on: {', '.join(refused)}")
    return 3 if unread else int(bool(refused))


def _open_upper(above: str, name: str, notes: "Notes | None") -> Merged:
    """The upper layer, with what an update has frozen as one. Raises OSError."""
    path = os.fsencode(f"{above}/{name}")
    layer = find_layer(f"{above}/.") if notes else ""
    if notes and layer:
        return open_folded(path, os.fsencode(layer), notes.backing)
    return Directory.open_top(path)


def _parse_kinds(text: str) -> "list[str]":
    kinds = [word for word in text.replace(",", " ").split() if word]
    for kind in kinds:
        if kind not in KINDS:
            raise Failure(f"--fail-on {kind}: not a kind of finding; there are {', '.join(KINDS)}")
    return list(dict.fromkeys(kinds))


class _Preview:
    """The preview of one overlay, with what is counted on the way."""

    def __init__(self, options: argparse.Namespace, place: Place, new: Source, old: "Source | None") -> None:
        self.options = options
        self.output: Output = options.output
        self.place = place
        self.new = new
        self.old = old
        self.counts: dict[str, tuple[int, int]] = {}
        self.needs = needs.Needs(0, 0, 0.0)
        self.free: tuple[int, int | None] | None = None
        self.unread = Unread(self._report)
        self.progress = Progress(not self.output.terminal, "entries")

    def run(self) -> None:
        """Write all findings. Raises Failure, OSError."""
        place = self.place
        with unwritable(place.above) as above, ExitStack() as stack:
            notes = read_notes(above, place.above) if place.noted else None
            emptied = is_emptied(notes)
            if emptied:
                upper: Merged = Directory.open_top(os.fsencode(stack.enter_context(TemporaryDirectory())))
            else:
                upper = _open_upper(above, place.name, notes)
            before = self._open_old(stack, notes)
            there = self.new.find(place.where)
            new = Directory.open_top(there)
            update = plan(place.where, self.new, there, upper, before, notes, self.options.policy, place.live, emptied)
            if not place.live and os.geteuid() != 0:
                update = update._replace(notes=(*update.notes, _UNSEEN))
            self._check_start(upper, new)
            owners = read_owners(self.new.root, self.old.root if self.old else None, place)
            teller = Foreteller(update, upper, new, before, self.unread, owners.see if owners.wanted else None)
            teller.advance = self.progress.advance
            try:
                found = self._find_all(update, teller, upper, new, owners, place.above if notes else "")
                self._write(found)
            finally:
                self.progress.end()
            self.output.write(self._spell_summary(update, teller.entries))

    def _open_old(self, stack: ExitStack, notes: "Optional[Notes]") -> Old:
        place = self.place
        if self.old is not None:
            return Old(Directory.open_top(self.old.find(place.where)))
        if place.old:
            return Old(Directory.open_top(os.fsencode(stack.enter_context(unwritable(place.old)) + "/.")))
        return Old(None, read_described(notes) if notes else None)

    def _check_start(self, upper: Merged, new: Directory) -> None:
        """Raises Failure where there is nothing at the path that was asked for."""
        *parts, last = self.place.start.split(b"/")
        if not last:
            return
        for top in (upper, new):
            if find_entry(top.descend(parts), last):
                return
        raise Failure(f"{self._spell(self.place.start)}: neither the upper layer nor the new image has it")

    def _find_all(
        self, update: Update, teller: Foreteller, upper: Merged, new: Directory, owners: Owners, backing: str
    ) -> "Iterator[Said]":
        start, used = time.monotonic(), sum(os.times()[:4])
        if update.rollback == due.BACK and isinstance(upper, Stack):
            yield from list_undone(upper.tops[0], self.place.start, self.unread)
        else:
            yield from tell_all(teller, self.place.start, self._tell, owners, self.unread)
        # prepare has no helpers.
        walked = max(time.monotonic() - start, sum(os.times()[:4]) - used)
        yield from owners.find()
        for gone, there in update.left:
            below = os.fsencode(gone[len(self.place.where.rstrip("/")) + 1 :])
            yield Finding(LEFT, below, text=f"what was written there is in {there}, and not seen")
        seeded = []
        for path in update.seeded:
            *parts, last = path.split(b"/")
            above = new.descend(parts)
            image = above.descend([last]) if above else None
            mine = upper.descend(path.split(b"/")) if update.policy != "reset" else None
            tree = needs.measure(image, self._report_new, mine, sizes=True) if image else needs.Tree(0, 0, 0, 0.0)
            seeded.append(tree)
            text = f"{tree.entries} entries of the new image are copied there" if tree.entries else ""
            here, comes = (top.find() if top else None for top in (mine, image))
            yield Finding(SEEDED, path, here, None, comes, tree.size, (), text)
        self.needs = needs.add_up(update, needs.measure(new, self._report_new), seeded, teller.listed, walked)
        self.free = needs.find_free(backing) if backing else None
        if self.free is not None:
            yield from needs.judge(self.needs, self.free)

    def _write(self, found: "Iterator[Said]") -> None:
        """Write what was `found` and count it: the first at once, others many at a time as long as they come fast."""
        waiting: list[str] = []
        size, last = 0, 0.0
        for one in found:
            told = one if isinstance(one, Told) else self._tell((one,))
            for kind, (count, total) in told.counts.items():
                before = self.counts.get(kind, (0, 0))
                self.counts[kind] = (before[0] + count, before[1] + total)
            waiting.append(told.text)
            size += len(told.text)
            now = time.monotonic()
            if size >= _AT_ONCE or now - last > _PATIENCE:
                self.output.write("".join(waiting))
                self.output.flush()
                waiting.clear()
                size, last = 0, now
        self.output.write("".join(waiting))

    def _tell(self, findings: "Iterable[Finding]") -> Told:
        counts: dict[str, tuple[int, int]] = {}
        texts = []
        for finding in findings:
            count, total = counts.get(finding.kind, (0, 0))
            counts[finding.kind] = (count + finding.entries, total + finding.size)
            texts.append(self._spell_finding(finding))
        return Told("".join(texts), counts)

    def _spell_finding(self, finding: Finding) -> str:
        path = self._spell(finding.path)
        if self.options.json:
            return json.dumps(describe(finding, path)) + "\n"
        line = spell_line(finding, path)
        return (self.output.paint(line, COLOURS[finding.kind]) if self.output.colour else line) + "\n"

    def _spell_summary(self, update: Update, entries: int) -> str:
        found = (update, self.counts, entries, self.needs, self.free)
        return json.dumps(describe_summary(*found)) + "\n" if self.options.json else spell_summary(*found)

    def _spell(self, path: bytes) -> str:
        below = os.fsdecode(path)
        return f"{self.place.where.rstrip('/')}/{below}" if below else self.place.where

    def _report_new(self, path: bytes, error: OSError) -> None:
        self.unread.count += 1
        _say(f"{self.new.name}: {self._spell(path)}: {error.strerror}; left out")

    def _report(self, path: bytes, error: OSError) -> None:
        _say(f"{self._spell(path)}: {error.strerror}; left out")


def _say(text: str) -> None:
    sys.stderr.write(f"overlayctl: {printable(text)}\n")
