# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Requests for the next boot, staged in the backing directory: what reset, restore and their --cancel share."""

import fcntl
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from overlay_generator import boot
from overlay_generator.names import backing_path, is_below
from overlay_prepare import folder, passthrough, resetrequest
from overlay_prepare.resetrequest import Staged, is_kept
from overlayctl import mounts
from overlayctl.errors import Failure
from overlayctl.frozen import find_layer, tell_fold
from overlayctl.layers.directory import Directory
from overlayctl.layers.stack import Merged, Stack
from overlayctl.mounts import Mount, Table
from overlayctl.output import printable
from overlayctl.status import machine

_MODE = 0o600
_PATIENCE = 10  # seconds; staging something takes a fraction of one


@dataclass(frozen=True)
class Place:
    """A directory with a persistent upper layer, where requests can be staged."""

    where: str
    backing: str
    staged: "Staged | None" = None
    commit: str = "next-update"

    @property
    def upper(self) -> str:
        """The upper layer."""
        return f"{self.backing}/upper"

    def open_upper(self) -> Merged:
        """The upper layer, with what an update has frozen below it. Raises OSError."""
        between = find_layer(self.backing)
        tops = [os.fsencode(path) for path in (self.upper, between) if path]
        return Stack.open_tops(*tops) if between else Directory.open_top(tops[0])

    def find_passed(self) -> "dict[str, str]":
        """The directories that are passed through: their paths, sorted, and their names for open_passed().

        Raises OSError, and Failure where there is something that is not ours.
        """
        with folder.open_top(self.backing, lambda _text: None) as opened:
            try:
                return dict(sorted(passthrough.list_kept(opened)))
            except folder.WrongKind as error:
                raise Failure(f"{error.filename} {error.strerror}") from error

    def open_passed(self, name: str) -> Directory:
        """What holds one of them on the disk. Raises OSError, Failure."""
        parts = [os.fsencode(passthrough.TOP), os.fsencode(name)]
        # Name by name: of a path that begins in /run a part on the disk could be somebody's link.
        found = Directory.open_top(os.fsencode(self.backing)).descend(parts)
        if found is None:
            raise Failure(f"{self.backing}/{passthrough.TOP}/{name} is gone, or no directory any more")
        return found

    @property
    def lower(self) -> str:
        """The image's directory."""
        return f"{self.backing}/lower"


@dataclass
class Machine:
    """The overlays of this machine: those that persist, and why the others can't be reset."""

    places: "dict[str, Place]" = field(default_factory=dict)
    refused: "dict[str, str]" = field(default_factory=dict)
    table: Table = field(default_factory=Table)

    def find(self, path: str) -> Place:
        """The place that holds `path`. Raises Failure if there is none."""
        where = machine.find_directory(path, {*self.places, *self.refused})
        if not where:
            known = ", ".join(sorted(self.places)) or "none here"
            raise Failure(f"{path} is not below an overlay; those that persist: {known}")
        if where in self.refused:
            raise Failure(self.refused[where])
        mount = self.table.holding(path)
        if path != where and mount and is_below(mount.where, where):
            if mount.where in self.places[where].find_passed():
                if path != mount.where:
                    raise Failure(
                        f"{path} lies in {mount.where}, which is passed through; that can only be restored whole"
                    )
                return self.places[where]
            raise Failure(f"{path} lies on {mount.where}, which is mounted on top of the overlay and is not part of it")
        return self.places[where]


def read_machine() -> Machine:
    """What is there to be reset. Raises Failure where this user may not look, OSError."""
    if os.geteuid() != 0:
        raise Failure("only root may look into upper layers and stage a reset; try it as root")
    table = mounts.read()
    plan = boot.make_plan("", machine.read_environ())
    found = Machine(table=table)
    commits = {mount.where: mount.settings.commit for mount in (plan.mounts if plan else ())}
    for where in sorted({*table.overlays(), *commits}):
        commit = commits.get(where, Place.commit)
        backing = backing_path(where)
        reason = _find_refusal(table, where, backing)
        if reason:
            found.refused[where] = reason
            continue
        try:
            found.places[where] = Place(where, backing, machine.read_staged(backing), commit)
        except (ValueError, folder.WrongKind):
            # It is not understood, and no boot would carry it out: what is staged now takes its place.
            found.places[where] = Place(where, backing, None, commit)
    return found


def merge(before: "Staged | None", more: Staged) -> Staged:
    """Both requests as one. Pure.

    A reset of everything includes single paths. A glob that keeps files holds for the whole request.
    """
    before = before or Staged()
    whole = before.whole or more.whole
    keep = tuple(dict.fromkeys((*before.keep, *more.keep)))
    paths = tuple(dict.fromkeys((*before.paths, *more.paths)))
    kept = tuple(path for path in paths if not any(is_below(path, other) for other in paths))
    return Staged(whole, () if whole else kept, keep)


def take_out(before: Staged, paths: "list[str]") -> Staged:
    """`before` without `paths`. Raises Failure for one that is not staged."""
    for path in paths:
        if path not in before.paths:
            raise Failure(f"{path} is not staged: see overlayctl status")
    return Staged(before.whole, tuple(path for path in before.paths if path not in paths), before.keep)


def write(place: Place, make: "Callable[[Place], Staged | None]") -> "Staged | None":
    """Stage what `make` makes of `place` as it is now, or nothing; on the disk when this returns. Raises Failure.

    A lock keeps others from staging something for it meanwhile, so that no request is lost.
    """
    path = f"{place.backing}/{resetrequest.NAME}"
    try:
        with folder.open_top(place.backing, lambda text: note(place, text)) as opened:
            _lock(opened.fd, place.backing)
            try:
                staged = machine.read_staged(place.backing)
            except (ValueError, folder.WrongKind):
                staged = None  # not understood, and no boot would carry it out: what is staged now replaces it
            request = make(replace(place, staged=staged))
            _write(opened, request)
    except OSError as error:
        raise Failure(f"{path} can't be written ({error.strerror}); nothing is staged") from error
    return request


def _write(opened: folder.Folder, request: "Staged | None") -> None:
    text = resetrequest.spell(request or Staged())
    try:
        # As the boot will read it: what it does not understand it does not do.
        resetrequest.parse(text)
    except ValueError as error:
        raise Failure(f"{error}; nothing is staged") from error
    if request is not None and (request.whole or request.paths):
        opened.write(resetrequest.NAME, text.encode("utf-8", "surrogateescape"), _MODE)
    elif opened.find_kind(resetrequest.NAME) == "d":
        opened.put_aside(resetrequest.NAME, "is a directory, and not a request")
    elif opened.find_kind(resetrequest.NAME):
        opened.remove_file(resetrequest.NAME)
        opened.sync()


def _lock(fd: int, backing: str) -> None:
    """Lock what `fd` has open until it is closed. Raises Failure if somebody else holds the lock for long, OSError."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Failure(f"{backing}: another overlayctl is staging something there; try it again") from None
            time.sleep(0.02)


def note(place: Place, text: str) -> None:
    """Tell the operator what was found or put aside at `place`."""
    sys.stderr.write(f"overlayctl: {printable(place.where)}: {printable(text)}\n")


def tell(place: Place, request: "Staged | None") -> str:
    """What the next boot will do at `place`, as lines for a person. Raises OSError."""
    if request is None or not (request.whole or request.paths):
        return f"{printable(place.where)}: nothing is staged\n"
    lines = [f"{printable(place.where)}: at the next boot the upper layer is emptied"] if request.whole else []
    lines += [f"{printable(path)}: at the next boot it is as the image has it" for path in request.paths]
    lines += [f"  but what matches {printable(glob)} is kept" for glob in request.keep]
    try:
        passed = place.find_passed()
    except Failure as error:
        # Said after it is staged, which that boot does all the same.
        note(place, str(error))
        passed = {}
    for path in passed:
        above = any(is_below(path, top) for top in request.paths)
        if request.whole and not is_kept(path, request.keep):
            lines.append(f"  {printable(path)}, which is passed through, is as the image has it as well")
        elif above and path not in request.paths:
            lines.append(f"  but {printable(path)}, which is passed through, stays")
    fold = tell_fold(printable(place.where)) if find_layer(place.backing) else ""
    return "".join(f"{line}\n" for line in lines) + fold


def _is_fallen_back(where: str) -> bool:
    try:
        return bool(machine.read_fallen_back(where))
    except (OSError, ValueError, AttributeError):
        return False


def _find_refusal(table: Table, where: str, backing: str) -> str:
    """Why nothing can be staged for `where`, "" if it can."""
    mount: Mount | None = table.holding(backing)
    if mount is not None and mount.fstype == "tmpfs" and is_below(mount.where, "/run/buildroot"):
        if _is_fallen_back(where):
            return f"{where}: its disk is missing and memory is in its place: fix that first, see overlayctl status"
        return f"{where} is in memory: it is empty at each boot, and nothing needs to be reset"
    if mount is None or not is_below(mount.where, "/run"):
        return f"{where}: nothing is mounted at {backing}, so there is no upper layer to reset"
    if mount.read_only:
        return f"{where}: {mount.where} is mounted read-only, and nothing can be staged on it"
    if not os.path.isdir(f"{backing}/upper"):
        return f"{where}: there is no upper layer in {backing} yet, and nothing to reset"
    return ""
