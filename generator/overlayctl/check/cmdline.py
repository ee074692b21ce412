# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel command line of an image: where it is, and keys in it that nothing reads."""

from dataclasses import dataclass

from overlay_generator import gather
from overlay_generator.cmdline import split_words
from overlayctl.check.finding import Finding, make
from overlayctl.check.image import Image
from overlayctl.status.machine import read_environ

_FILES = (
    "/proc/cmdline",
    "/etc/kernel/cmdline",
    "/usr/lib/kernel/cmdline",
    "/boot/cmdline.txt",
    "/boot/firmware/cmdline.txt",
)
# bootloader.conf(5): type 1 entries; extlinux.conf of U-Boot and syslinux.
_ENTRIES = ("/boot/loader/entries", "/efi/loader/entries", "/boot/efi/loader/entries")
_MENUS = ("/boot/extlinux/extlinux.conf", "/boot/grub/grub.cfg", "/boot/syslinux/syslinux.cfg", "/etc/default/grub")
_KEYS = ("overlayfs.mounts", "overlayfs.upper", "overlayfs.reset")
# Parameters of the kernel's own module (fs/overlayfs/params.c, super.c): they may be there, and are not ours.
_OF_THE_MODULE = frozenset((
    "overlay.redirect_dir", "overlay.redirect_always_follow", "overlay.redirect_max", "overlay.index",
    "overlay.nfs_export", "overlay.xino_auto", "overlay.metacopy", "overlay.check_copy_up",
    "overlay.permit_mounts_in_userns",
))  # fmt: skip
_NEAR = 0.85


@dataclass(frozen=True)
class CommandLine:
    """A kernel command line and where it stands."""

    text: str
    source: str
    line: int = 0


def find(image: Image, given: "str | None") -> "list[CommandLine]":
    """All that the image has, or the `given` one alone."""
    if given is not None:
        return [CommandLine(given, "--cmdline")]
    found = []
    if not image.root:
        # What this machine has booted with counts, not what may be in its files.
        try:
            return [CommandLine(*gather.read_command_line("", read_environ()))]
        except OSError:
            return []
    for path in _FILES:
        found += [CommandLine(line, path, n) for n, line in _lines(image, path) if not line.startswith("#")]
    for folder in _ENTRIES:
        for name in image.names(folder, "*.conf"):
            path = f"{folder}/{name}"
            found += [CommandLine(t, path, n) for n, line in _lines(image, path) for t in _after(line, ("options",))]
    for path in _MENUS:
        words = ("append", "linux", "linuxefi", "kernel", "GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT")
        found += [CommandLine(t, path, n) for n, line in _lines(image, path) for t in _after(line, words)]
    return found


def choose(lines: "list[CommandLine]") -> "CommandLine | None":
    """The first that asks for something, else the first; None without any."""
    for line in lines:
        if any(word.partition("=")[0].replace("-", "_") == "overlayfs.mounts" for word in split_words(line.text)):
            return line
    return lines[0] if lines else None


def check(lines: "list[CommandLine]") -> "list[Finding]":
    """Keys that look like ours and are not. Pure."""
    findings = []
    for line in lines:
        for word in split_words(line.text):
            key = word.partition("=")[0]
            better = _correct(key)
            if better:
                rule = "initrd-key" if key.startswith("rd.") else "misspelt-key"
                findings.append(make(rule, line.source, line.line, key=key, better=better))
    return findings


def _correct(key: str) -> str:
    """The key of ours that `key` was meant to be, "" if it is one or has nothing to do with us."""
    plain = key[3:] if key.startswith("rd.") else key
    if plain.replace("-", "_") in _KEYS:
        return plain if key != plain else ""
    if plain in _OF_THE_MODULE or not plain.lower().startswith("ov"):
        return ""
    from difflib import get_close_matches

    # One form for what looks alike to people: overlay.mount, Overlayfs-mounts, overlay_mounts.
    flat = plain.lower().replace("_", ".").replace("-", ".")
    flat = f"overlayfs.{flat[8:]}" if flat.startswith("overlay.") else flat
    close = get_close_matches(flat, _KEYS, 1, _NEAR)
    # The generator itself reports unknown keys that begin with overlayfs.
    return close[0] if close else ""


def _lines(image: Image, path: str) -> "list[tuple[int, str]]":
    return [(n, line.strip()) for n, line in enumerate(image.text(path).split("\n"), 1) if line.strip()]


def _after(line: str, words: "tuple[str, ...]") -> "list[str]":
    """What follows the first word of `line`, if that is one of `words`."""
    head, _, tail = line.replace("\t", " ").replace("=", " ", line.startswith("GRUB_")).partition(" ")
    return [tail.strip().strip("\"'")] if head.lower() in words or head in words else []
