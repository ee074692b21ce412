# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an update to a new image will do to one overlay, as prepare will find it at the next boot: the policy, what is
passed through, whether it is another image, and the directories that will be opened. prepare's own functions decide
all of it, on what is read here; nothing is changed.
"""

import os
from typing import NamedTuple, Optional

from overlay_generator import boot
from overlay_generator.gather import read_command_line, read_configuration
from overlay_generator.model import Settings
from overlay_generator.names import backing_name
from overlay_prepare import (
    folder,
    identity,
    imagechange,
    imagenames,
    manifest,
    opaque,
    passthrough,
    resetrequest,
    stamp,
)
from overlay_prepare.files import is_too_long
from overlayctl.image.source import Source
from overlayctl.layers.stack import Merged, Stack, is_hiding
from overlayctl.preview import due
from overlayctl.preview.folded import Layer
from overlayctl.preview.images import Old
from overlayctl.preview.listing import list_upper
from overlayctl.status.machine import read_environ, read_staged, read_state

KEEP = "keep"
_STAGED = "what overlayctl reset or restore has staged is done at that boot as well, and not foreseen here"
_EMPTIED = "a reset is staged: all that was written is gone at that boot, whichever image it is of"
_FLAG = "overlayfs.mounts"


class Update(NamedTuple):
    """The update of the overlay at `where`.

    `policy` is what will be carried out, `asked` what was asked for by `source`. `seeded` are the paths below the top
    that become directories of their own, `bound` those that are so already, `left` those that are no longer, with what
    holds their files. `opened` are directories in which new names show, with the names that stay hidden in each;
    `forgets`: systemd's mark of a finished update is removed. `notes` are sentences for a person. `rollback` is what
    Rollback= does, see due.py.
    """

    where: str
    policy: str
    asked: str
    source: str
    seeded: "tuple[bytes, ...]"
    bound: "tuple[bytes, ...]"
    left: "tuple[tuple[str, str], ...]"
    opened: "dict[bytes, frozenset[bytes]]"
    forgets: bool
    notes: "tuple[str, ...]"
    rollback: str = ""


class Notes(NamedTuple):
    """What prepare has noted beside an upper layer: the image that it is over; the directory, by its name and open."""

    previous: str
    name: str
    backing: "folder.Folder"


def read_notes(backing: str, name: str) -> "Optional[Notes]":
    """The notes in the directory `backing`, which a person knows as `name`; None where there are none.

    Raises OSError.
    """
    data = read_state(f"{backing}/.", stamp.NAME)
    if data is None:
        return None
    previous = stamp.parse(data.decode("utf-8", "surrogateescape"))
    return Notes(previous, name, _open_folder(backing))


def read_described(notes: Notes) -> "dict[str, str] | None":
    """What prepare has noted of the previous image, for the policy refresh; None if nothing. Raises OSError."""
    try:
        data = notes.backing.read(manifest.NAME, manifest.MOST)
    except folder.WrongKind:
        return None
    return None if data is None else manifest.parse(data, notes.previous)


def is_emptied(notes: "Optional[Notes]") -> bool:
    """True if a reset of everything is staged, which that boot carries out. Raises OSError."""
    try:
        staged = read_staged(notes.backing.path) if notes else None
    except (ValueError, folder.WrongKind):
        return False  # nor will that boot do it
    return staged is not None and staged.whole and not staged.keep


def _open_folder(path: str) -> "folder.Folder":
    # A descriptor's path is a link, which is not followed; with "/." it is the directory behind it.
    return folder.open_top(f"{path}/.", lambda _text: None)


def plan(
    where: str,
    source: Source,
    place: bytes,
    upper: Merged,
    old: Old,
    notes: "Optional[Notes]",
    policy: str,
    live: bool,
    emptied: bool = False,
) -> Update:
    """The update to `source`, whose directory `where` is at `place`. `policy` overrides the image's, "" does not;
    `live`: the overlay is one of this machine's; `emptied`: see is_emptied(). Raises Failure, OSError.
    """
    settings, origin, told = _read_settings(where, source, live)
    asked = policy or settings.policy
    origin = "--policy" if policy else origin
    new = identity.read_names(source.root) + (identity.spell_file_system(source.start) if source.start else "")
    exact = bool(source.start)
    step = due.Due()
    if notes and not emptied:
        step = due.find_due(where, settings, notes.backing, notes.previous, new, exact)
    carried_out, doubt = _choose_policy(asked, notes, new, exact)
    if step.keeps:
        carried_out, doubt = KEEP, ("" if step.note else doubt)
    if carried_out == "refresh":
        carried_out, more = _check_refresh(old, notes)
        doubt = doubt or more
    passed = tuple(word.text for word in settings.passthrough)
    seeded, bound, left = _judge_passed(where, passed, None if emptied else notes)
    opened = {}
    if carried_out in (KEEP, "refresh") and step.action not in (due.BACK, due.LEFT):
        opened = _find_opened(os.fsdecode(place), upper, old, notes, (*seeded, *bound))
    staged = _EMPTIED if emptied else _STAGED if notes and notes.backing.find_kind(resetrequest.NAME) else ""
    changes = notes is None or not (step.action == due.BACK or notes.previous == "" or due.is_part(new, notes.previous))
    return Update(
        where,
        carried_out,
        asked,
        origin,
        seeded,
        bound,
        left,
        opened,
        changes and where in imagechange.UPDATABLE,
        tuple(filter(None, (*told, step.note, doubt, staged))),
        step.action,
    )


def _read_settings(where: str, source: Source, live: bool) -> "tuple[Settings, str, list[str]]":
    """What the new image's configuration says of `where`, the place of that, and notes."""
    notes = []
    found, problems = read_configuration(source.root)
    notes += [f"{source.name}: {problem}" for problem in problems]
    settings = found.get(where, Settings())
    origin = "the new image's configuration" if where in found else "default"
    environ = {**read_environ(source.root), "SYSTEMD_IN_INITRD": "0", "SYSTEMD_SCOPE": "system"}
    text = read_command_line("", environ)[0] if live else ""
    environ["SYSTEMD_PROC_CMDLINE"] = text if _FLAG in text else f"{text} {_FLAG}={where}".strip()
    try:
        decided = boot.make_plan(source.root, environ)
    except OSError as error:
        notes.append(f"{source.name}: {error.filename}: {error.strerror}; what it will overlay is not known")
        return settings, origin, notes
    mount = next((mount for mount in decided.mounts if mount.where == where), None) if decided else None
    if mount is not None:
        if mount.backing.volatile and live:
            notes.append(f"{source.name}: has no disk for {where} in its fstab: what was written is not seen there")
        if not live:
            # Without the device's command line there is a disk all the same: the one that holds the upper layer.
            mount.settings.rollback = settings.rollback
        return mount.settings, origin, notes
    skipped = next((skipped for skipped in decided.skipped if skipped.where == where), None) if decided else None
    if skipped is not None and where != "/":
        notes.append(f"{source.name}: it would make no overlay: {skipped}")
    return settings, origin, notes


def _choose_policy(asked: str, notes: "Optional[Notes]", new: str, exact: bool) -> "tuple[str, str]":
    """What prepare will carry out, and why that is not what was asked for."""
    if notes is None or asked == KEEP:
        return asked, ""
    if not notes.previous:
        return KEEP, f"the image that the upper layer was over is not noted, so Policy={asked} drops nothing"
    judged = identity.compare(notes.previous, new)
    if judged == identity.SAME:
        return KEEP, "it is the image that the upper layer is over now: nothing is done to it"
    # For a tree, the file system is not known yet, which mostly tells one image from another.
    if judged == identity.UNSURE and exact:
        text = f"whether this is another image can't be told, so Policy={asked} drops nothing"
        return KEEP, f"{text}; add IMAGE_VERSION= to os-release with each build"
    return asked, ""


def _check_refresh(old: Old, notes: "Optional[Notes]") -> "tuple[str, str]":
    if notes is None:
        return ("refresh", "") if old.known else (KEEP, "give --old: Policy=refresh compares with the previous image")
    try:
        fd = notes.backing.open_file(manifest.NAME, manifest.MOST)
    except FileNotFoundError:
        current = False
    except folder.WrongKind:
        current = False  # prepare puts it aside
    else:
        current = manifest.is_of(fd, notes.previous)
        os.close(fd)
    if current:
        return "refresh", ""
    return KEEP, "the list of what the image before had is not finished, so Policy=refresh drops nothing"


def _judge_passed(
    where: str, passed: "tuple[str, ...]", notes: "Optional[Notes]"
) -> "tuple[tuple[bytes, ...], tuple[bytes, ...], tuple[tuple[str, str], ...]]":
    seeded: list[bytes] = []
    bound: list[bytes] = []
    for path in passed:
        below = os.fsencode(path[len(where.rstrip("/")) + 1 :])
        there = notes is not None and notes.backing.descend(f"{passthrough.TOP}/{backing_name(path)}") is not None
        (bound if there else seeded).append(below)
    left: list[tuple[str, str]] = []
    if notes and notes.backing.find_kind(passthrough.TOP):
        length = len(notes.backing.path)
        left = [(path, notes.name + at[length:]) for path, at in passthrough.list_others(notes.backing, passed)]
    return tuple(seeded), tuple(bound), tuple(left)


def _find_opened(
    new: str, upper: Merged, old: Old, notes: "Optional[Notes]", passed: "tuple[bytes, ...]"
) -> "dict[bytes, frozenset[bytes]]":
    """The directories in which the new image's names will show, with what stays hidden in each."""
    tops = [top for top in _list_opaque(upper) if not _is_in(os.fsencode(top), passed)]
    if not tops:
        return {}
    known = _read_known(old, notes, tops)
    if known is None:
        return {}
    found: dict[bytes, frozenset[bytes]] = {}
    for paths, has_news in opaque.find_groups(new, Layer(upper), tops, known):
        if has_news:
            for path in paths:
                names = (os.fsencode(name.rstrip("/")) for name in known.get(path, ()))
                found[os.fsencode(path)] = frozenset(names)
    return found


def _list_opaque(upper: Merged) -> "list[str]":
    """The opaque directories of an upper layer, as normalise() of prepare finds them."""
    found = []
    pending: list[tuple[bytes, Merged, bytes]] = [(b"", upper, b"")]
    while pending:
        path, above, name = pending.pop()
        text = os.fsdecode(path)
        try:
            directory = above.enter(name) if name else above
            if is_hiding(directory):
                # No image has anything so deep.
                found += [] if is_too_long(text) else [text]
            # Two links: no directory in it. On a file system that does not count them, each directory is listed.
            if directory.find().st_nlink == 2 and not isinstance(directory, Stack):
                continue
            names = list_upper(directory, None).directories
        except OSError:
            continue  # the walk comes there, too, and says it
        pending += [(b"%b/%b" % (path, name) if path else name, directory, name) for name in names]
    return sorted(found)


def _read_known(old: Old, notes: "Optional[Notes]", tops: "list[str]") -> "dict[str, set[str]] | None":
    """The names that images so far had below `tops`: as prepare has noted them, else those of the previous one."""
    if notes is not None:
        try:
            os.close(notes.backing.open_file(imagenames.NAME, imagenames.MOST))
        except (FileNotFoundError, folder.WrongKind):
            return None
        return imagenames.read_below(notes.backing, set(tops))
    if not old.known:
        return None
    known: dict[str, set[str]] = {}
    for top in tops:
        pending = [(top, old.top.descend(os.fsencode(top).split(b"/") if top else []) if old.top else None)]
        while pending:
            path, directory = pending.pop()
            if directory is None:
                continue
            with directory.scan() as entries:
                found = [(name, entry.is_dir(follow_symlinks=False)) for name, entry in entries]
            known.setdefault(path, set()).update(os.fsdecode(name) + "/" * inner for name, inner in found)
            pending += [
                (f"{path}/{os.fsdecode(name)}" if path else os.fsdecode(name), directory.enter(name))
                for name, inner in found
                if inner
            ]
    return known


def _is_in(path: bytes, tops: "tuple[bytes, ...]") -> bool:
    return any(path == top or path.startswith(top + b"/") for top in tops)
