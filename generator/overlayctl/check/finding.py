# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What check can find, as data: for each rule its level, what is wrong, and what to do."""

from dataclasses import dataclass

ERROR, WARNING, NOTE = LEVELS = ("error", "warning", "note")

# Errors keep a directory from being writable, or lose data; warnings cost something in use; notes are about what could
# not be looked at, or what somebody should know. The words in braces are filled in by the check that finds it.
RULES = {
    # What the generator itself says of this machine, in its own words.
    "wrong-input": (ERROR, "{text}", ""),
    "not-overlaid": (ERROR, "{text}", ""),
    "left-alone": (WARNING, "{text}", ""),
    "hint": (WARNING, "{text}", ""),
    # The kernel command line.
    "no-flag": (
        WARNING,
        "overlayfs.mounts is not on the kernel command line, so nothing is overlaid",
        "add overlayfs.mounts=/var; the rest was checked as if it were there",
    ),
    "cmdline-unknown": (
        NOTE,
        "no kernel command line is known for this image",
        "give it with --cmdline; it was checked as if it were overlayfs.mounts",
    ),
    "misspelt-key": (ERROR, '"{key}" is not a key that anything reads', "write {better}"),
    "initrd-key": (ERROR, '"{key}" is for the initrd, where nothing is overlaid', "write {better}"),
    # fstab.
    "upper-read-only": (
        ERROR,
        "{where} is mounted read-only, and can't hold an upper layer",
        "take ro out of its options",
    ),
    "upper-in-memory": (
        WARNING,
        "{where} is on {what}, a disk in memory: what is written to {overlaid} is gone after each boot",
        "use a disk; or take the line out, for a tmpfs, which gives back what is deleted",
    ),
    "upper-network": (
        ERROR,
        "{where} waits for the network (_netdev), which comes after {overlaid} is needed",
        "use a disk of the device",
    ),
    "upper-automount": (
        WARNING,
        "x-systemd.automount on {where} does nothing useful: the overlay needs it at once",
        "take it out of its options",
    ),
    "upper-context": (
        WARNING,
        "context= gives all files of {where} one SELinux label, and most services are denied theirs in {overlaid}",
        "write rootcontext= instead, or label the file system when it is made",
    ),
    "upper-unused": (
        WARNING,
        "{where} holds no upper layer: for {overlaid} the place is {expected}",
        "correct the path, or add the directory to overlayfs.mounts=",
    ),
    "upper-type-unknown": (
        NOTE,
        "the type of {where} is found out at boot, so it is not known whether it can hold an upper layer",
        "write it: ext4, xfs, btrfs or f2fs, on raw NAND ubifs",
    ),
    "no-timeout": (
        WARNING,
        "{where} may be missing, and the boot waits 90 s for it",
        "add x-systemd.device-timeout=30s",
    ),
    "timeout-short": (
        NOTE,
        "{where} waits {given} for its disk, from the start of systemd{until}: on a slow device memory takes its place",
        "write x-systemd.device-timeout={better}; only a boot without the disk waits that long",
    ),
    "timeout-endless": (
        WARNING,
        "{where} has x-systemd.device-timeout={given}, no limit: as {overlaid} is waited for, it counts as 90s",
        "write how long its disk may take, such as x-systemd.device-timeout=30s; after that memory takes its place",
    ),
    "makefs-ignored": (
        ERROR,
        "{where} has x-systemd.makefs, which needs a device and its type: {what} is not formatted, and systemd does "
        "not mount it by itself",
        "take x-systemd.makefs out, and make the file system beforehand; for a device, write its type",
    ),
    "timeout-ignored": (
        WARNING,
        "{where} is tried only once, right at the start: to systemd {what} is not a device to wait for",
        "have UBI attached before systemd starts: ubi.mtd= on the kernel command line, or in the initramfs",
    ),
    "acl-lost": (
        WARNING,
        "{path} has an ACL, and {fstype} at {where} keeps none: it can't be changed, nor what is new in it",
        "use ext4, xfs, btrfs or f2fs, or take it off (setfacl -b)",
    ),
    "mounted-twice": (
        WARNING,
        "{where} is mounted by line {first} already; systemd drops this one",
        "take one of them out",
    ),
    "nested-mount": (
        NOTE,
        "{where} is mounted on top of the overlay on {overlaid}, and is not part of it",
        "reset, diff and export leave it alone",
    ),
    # The kernel.
    "kernel-unknown": (
        NOTE,
        "the configuration of the kernel is not in the image",
        "give it with --kernel: overlayfs and TMPFS_XATTR are needed",
    ),
    "kernel-option": (
        ERROR,
        "CONFIG_{option} is not set, and {reason}",
        "build the kernel with CONFIG_{option}={value}",
    ),
    # What tells one image from the next.
    "rollback-limits": (
        NOTE,
        "{where} goes back with the image (Rollback=yes): until an update is confirmed, a file from before it is "
        "copied whole at its first write, and a directory from before it can't be renamed",
        "pass large databases through (Passthrough=), if they need not go back; those directories are shared",
    ),
    "rollback-unmarked": (
        WARNING,
        "Commit= of {where} waits for a good boot, and nothing marks one: its data are confirmed by the next update",
        "enable overlay-commit.service, or write Commit=next-update",
    ),
    "image-unnamed": (
        WARNING,
        "has neither IMAGE_VERSION nor BUILD_ID: a persistent upper layer can tell a new image by its file system "
        "alone, if that has a UUID or times of its own",
        "add IMAGE_VERSION= with each build; where nothing tells two images apart, no policy drops anything",
    ),
    "image-anonymous": (
        ERROR,
        "has neither IMAGE_VERSION nor BUILD_ID, and nothing else tells the next image from this one: {doubt}",
        "add IMAGE_VERSION= to os-release with each build",
    ),
    # The machine's identity.
    "machine-id-missing": (WARNING, "is missing: each boot is a first boot with a new machine ID", "{advice}"),
    "machine-id-empty": (
        WARNING,
        "is empty: each boot has a new machine ID, and a new directory in /var/log/journal",
        "{advice}",
    ),
    "machine-id-uninitialized": (
        WARNING,
        'says "uninitialized": on a read-only root each boot is a first boot',
        "{advice}",
    ),
    "machine-id-fixed": (WARNING, "has a machine ID: all devices with this image have the same", "{advice}"),
    "machine-id-wrong": (WARNING, "has no machine ID in it, but something else", "{advice}"),
    "updates-each-boot": (
        NOTE,
        "{reason}: with /var in memory each boot runs the services with ConditionNeedsUpdate=/var again",
        "systemd-update-done --root={root} as the last step of the build",
    ),
    # What the boot runs.
    "generator-missing": (
        ERROR,
        "the generator is not installed",
        "make install-generator DESTDIR=…, or overlayctl render",
    ),
    "generator-not-executable": (ERROR, "is not executable, and systemd skips it", "chmod 755"),
    "generator-masked": (ERROR, "masks the generator, and nothing is overlaid", "remove it"),
    "package-damaged": (ERROR, "{name} is missing", "install it again: make install-generator DESTDIR=…"),
    "python-missing": (
        ERROR,
        "{name} is missing, and the generator can't run",
        "install python3-minimal, or overlayctl render",
    ),
    "python-too-old": (
        ERROR,
        "is version {version}; the generator needs 3.9",
        "use a newer Python, or overlayctl render",
    ),
    "python-module": (ERROR, "the module {name} of Python is missing; {user} needs it", "{advice}"),
    "python-module-optional": (NOTE, "the module {name} is missing; {user} shows less without it", "{advice}"),
    "not-compiled": (
        WARNING,
        "{count} of {total} files are not compiled for Python {version}, such as {name}: each boot compiles them again",
        "make install PYTHON=/usr/bin/python{version}, an interpreter of the image's version",
    ),
    "compiled-stale": (
        WARNING,
        "{count} compiled files have other times than their sources, such as {name}: each boot compiles them again",
        "compile them unchecked, as make install does",
    ),
    "command-missing": (ERROR, "{name} is missing; {unit} runs it", "install {package}"),
    "systemd-too-old": (ERROR, "systemd {version} is older than 247", "update it"),
    # With --hardening: what a stranger with the disk, or a user of the machine, could make of an overlay.
    "backing-flags": (
        WARNING,
        "{where} is mounted without {flags}: on the disk itself, and in what is passed through, setuid programs and "
        "devices of whoever has written it work",
        "add {flags} to its options, unless Passthrough= lists the storage of a container engine",
    ),
    "backing-noexec": (
        NOTE,
        "{where} is mounted without noexec: programs on the disk itself can be run",
        "add noexec to its options; nothing of ours is run from there",
    ),
    "backing-label": (
        WARNING,
        "{where} is whatever disk has {what}: also a stick that somebody plugs in",
        "write UUID= or PARTUUID=, or unlock it with a key (LUKS); only that keeps out a disk made on purpose",
    ),
    "backing-removable": (
        WARNING,
        "{what}, mounted at {where}, can be taken out of the machine, and be written elsewhere",
        "encrypt it, with a key that stays in the machine",
    ),
    "overlay-flags": (
        WARNING,
        "{where} is mounted without {flags}: what root leaves there with setuid, or as a device, works",
        "set Flags={value} for it{note}",
    ),
    "upper-unread": (NOTE, "was not looked at: {what}", "all else was looked at"),
    "upper-more": (NOTE, "has {count} more of {name}", "overlayctl diff shows all of the upper layer"),
    "upper-setuid": (
        WARNING,
        "is a program with {what}, and not so in the image",
        "overlayctl restore gives back the image's; else chmod ug-s",
    ),
    "upper-capability": (
        WARNING,
        "is a program with file capabilities, and not so in the image",
        "overlayctl restore gives back the image's; else setcap -r",
    ),
    "upper-device": (WARNING, "is a device node ({what})", "remove it; /dev is the place for devices"),
    "upper-program": (
        WARNING,
        "is a program of the image that was changed: updates of the image don't reach it",
        "overlayctl restore gives back the image's",
    ),
    "upper-started": (
        WARNING,
        "was changed, and is read by {what}",
        "look at it with overlayctl diff --content; overlayctl restore gives back the image's",
    ),
    # Files that are larger than any image has them.
    "too-large": (NOTE, "has more than {size}, and was not read", "see what it is"),
    # Units that start early.
    "unordered-unit": (
        WARNING,
        "uses {path} and is not ordered after {mount}: it may look at the image's directory below the overlay",
        "add RequiresMountsFor={path} to it, in a drop-in {dropin}",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `line` is 0 if it is about all of `source`, `advice` says what to do."""

    rule: str
    level: str
    text: str
    advice: str = ""
    source: str = ""
    line: int = 0

    @property
    def place(self) -> str:
        """Where it stands, e.g. `/etc/fstab:7`, "" if nowhere in particular."""
        return f"{self.source}:{self.line}" if self.line else self.source


def make(rule: str, source: str = "", line: int = 0, **words: object) -> Finding:
    """The finding of `rule` at `source`, with `words` in place of those in braces."""
    level, text, advice = RULES[rule]
    return Finding(rule, level, text.format(**words), advice.format(**words), source, line)
