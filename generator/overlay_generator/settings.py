# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Sorts out which settings of a directory can be applied at this boot, and why the others can't. Pure."""

from overlay_generator.model import Backing, Directory, FstabEntry, Inputs, Problem, Settings, Word
from overlay_generator.names import LONGEST_OPTION, is_below, mangle_unit, mount_unit, normalise, spell_lower

# All other options tie a persistent upper layer to the inodes of one image, and an update makes it unusable; with
# `volatile` the kernel refuses it after a power cut (kernel's Documentation/filesystems/overlayfs.rst).
_SAFE_ON_A_DISK = ("redirect_dir=off", "index=off", "xino=off", "metacopy=off", "nfs_export=off")


def settle(
    inputs: Inputs,
    where: str,
    accepted: "dict[str, Backing]",
    problems: "list[Problem]",
    hints: "list[str]",
) -> Settings:
    """The settings of `where` without those that can't be applied; `problems` and `hints` get the reasons."""
    asked = inputs.settings[where]
    options = []
    for word in asked.options:
        if accepted[where].volatile or word.text in _SAFE_ON_A_DISK:
            options.append(word)
        else:
            text = f"Options={word.text}: an image update or a power cut would cost {where} its data; ignored"
            problems.append(Problem(text, word.source, word.line))
    _drop_contradictions(options, problems)
    passthrough: list[Word] = []
    for word in sorted(asked.passthrough, key=lambda word: word.text):
        if any(word.text == other.text for other in passthrough):
            continue
        reason = _find_reason(inputs, where, word, accepted, passthrough)
        if reason:
            hints.append(f"{word}: {word.text} is not passed through: {reason}")
        else:
            passthrough.append(word)
    return Settings(
        asked.policy,
        asked.size,
        asked.inodes,
        asked.flags,
        tuple(options),
        tuple(passthrough),
        asked.notify,
        asked.require,
        _settle_rollback(inputs, where, accepted[where], problems),
        asked.commit,
    )


def _settle_rollback(inputs: Inputs, where: str, backing: Backing, problems: "list[Problem]") -> str:
    """no, yes, or hold where the kernel command line has the newer data kept."""
    if inputs.settings[where].rollback != "yes":
        return "no"
    reason = ""
    # Where the kernel command line has left the disk alone for this boot, nobody has to be told.
    if backing.volatile and not inputs.request.in_memory:
        reason = f"{where} is in memory, where no image finds anything of another one"
    elif not backing.volatile and len(spell_lower(backing.path, "yes")) > LONGEST_OPTION:
        reason = f"the path is too long: mount(8) takes {LONGEST_OPTION} bytes for the layers below the upper one"
    if reason:
        problems.append(Problem(f"[{where}] Rollback=yes: {reason}; ignored"))
    if backing.volatile or reason:
        return "no"
    return "hold" if inputs.request.keep_newer else "yes"


def _drop_contradictions(options: "list[Word]", problems: "list[Problem]") -> None:
    """Take out of `options` what the kernel refuses along with others: there would be no overlay (Linux 6.18)."""
    # What is on by default, see render.py.
    values = {"index": "on", "redirect_dir": "on"}
    for word in options:
        key, _, value = word.text.partition("=")
        values[key] = value
    if values.get("metacopy") == "on" and values["redirect_dir"] != "on":
        values["metacopy"] = "off"
        _drop(options, "metacopy=on", f"redirect_dir={values['redirect_dir']}", problems)
    if values.get("nfs_export") == "on":
        for key, value in (("index", "off"), ("metacopy", "on")):
            if values.get(key) == value:
                _drop(options, "nfs_export=on", f"{key}={value}", problems)


def _drop(options: "list[Word]", text: str, other: str, problems: "list[Problem]") -> None:
    for word in [word for word in options if word.text == text]:
        options.remove(word)
        problems.append(Problem(f"Options={text}: the kernel refuses it with {other}; ignored", word.source, word.line))


def _comes_before(entry: FstabEntry, path: str) -> bool:
    """True if `entry`, which needs the directory `path`, is to be mounted before what is mounted there."""
    from overlay_generator.fstab import find_values

    if not any(place == path or is_below(place, path) for place in (entry.where, normalise(entry.what))):
        return False
    units = [mangle_unit(value, ".mount") for value in find_values(entry, "x-systemd.before")]
    return mount_unit(path) in units


def _find_reason(
    inputs: Inputs, where: str, word: Word, accepted: "dict[str, Backing]", passthrough: "list[Word]"
) -> str:
    """Why the path of `word` can't be passed through, or ""."""
    path = word.text
    for entry in inputs.entries:
        if is_below(entry.where, where) and (path == entry.where or is_below(path, entry.where)):
            return f"{entry} mounts {entry.where}"
        if "x-systemd.before" in entry.options and _comes_before(entry, path):
            return f"{entry} says x-systemd.before= for it, and needs it"
    for other in passthrough:
        if is_below(path, other.text):
            return f"{other.text} around it is passed through already"
    for other_where in accepted:
        if path == other_where or (is_below(path, other_where) and is_below(other_where, where)):
            return f"{other_where} is to be an overlay of its own"
        if is_below(other_where, path):
            return f"{other_where} in it is to be an overlay"
    name = mount_unit(path)
    unit = inputs.units.get(name)
    if name in inputs.request.masked:
        return f"{name} is masked by systemd.mask= on the kernel command line"
    if unit:
        return f"{name} is masked by {unit.path}" if unit.kind == "mask" else f"{unit.path} provides {name}"
    directory = inputs.directories.get(path, Directory("unseen"))
    if directory.state == "symlink":
        return f"{directory.detail}; ask for the directory it leads to"
    return "it is not a directory" if directory.state == "file" else ""
