# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What static units can't do that the generator does, as sentences for the builder of an image. Pure."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from overlay_generator.model import FstabEntry, OverlayMount, Plan

_FIXED = ("UUID=", "/dev/disk/by-uuid/")
# overlayfs sees no UUID on these.
_WITHOUT_UUID = ("squashfs", "cramfs", "romfs")


def find_limits(plan: "Plan", always: bool) -> "list[str]":
    """What the units of `plan` leave out or take more coarsely, and what has to be done about it."""
    limits = [
        "fstab, the configuration and the directories were read now: render again when one of them changes",
        _describe_flags(plan, always),
    ]
    for mount in plan.mounts:
        limits += _find_limits(mount, plan)
    if plan.mounter and not plan.mounter.context:
        limits.append(
            "SELinux: overlays are mounted in the domain that the policy gives to mount. In the reference policy that "
            "may write nothing there: load packaging/selinux/overlay-generator.cil, or render with --selinux-context= "
            "and that of PID 1, such as system_u:system_r:init_t:s0"
        )
    for one in plan.softened:
        limits.append(
            f"{one.where}: {one.unit} requires {one.wanted} by fstab, and a boot without that ends in emergency mode: "
            "only the generator can mask it; write nofail, or x-systemd.wanted-by= for x-systemd.required-by="
        )
    if any(not mount.backing.volatile for mount in plan.mounts):
        limits += [
            "overlayfs.reset works as overlayfs.reset=yes and with one path; the bare word and lists reset nothing",
            "an update of the image is not noticed. What persists is safe over squashfs, and over erofs or ext4 with "
            "a new UUID in each build (the usual), on Linux 5.8 and later. With a fixed UUID (mkfs -U, -E uuid=) "
            "files of two images are mixed up: such an image needs the generator",
            "what an update brings into a directory that was removed and made again on the device stays hidden there",
            "the boot waits for the disk also where its overlay is switched off by the kernel command line",
            "a file system that can't hold an upper layer shows when it is mounted, not before; "
            "use ext4, xfs, btrfs, f2fs or ubifs",
        ]
    return limits


def find_unheeded(plan: "Plan") -> "list[str]":
    """What the configuration asks for, and static units can't do."""
    unheeded = []
    for mount in plan.mounts:
        if mount.settings.policy != "keep" and not mount.backing.volatile:
            unheeded.append(
                f"{mount.where}: Policy={mount.settings.policy} needs the generator; here it is Policy=keep"
            )
        if mount.settings.rollback != "no":
            text = "needs the generator; here the data never go back with the image"
            unheeded.append(f"{mount.where}: Rollback=yes {text}")
        for word in mount.settings.passthrough:
            text = f"{word.text} is not passed through, and lies on the overlay: give it a line in fstab"
            unheeded.append(f"{word}: {text}")
    return unheeded


def find_fixed_uuid(plan: "Plan", words: "Iterable[str]", entries: "Iterable[FstabEntry]") -> str:
    """A warning if something persists over a root file system whose UUID seems to be fixed, or ""."""
    if all(mount.backing.volatile for mount in plan.mounts):
        return ""
    what = fstype = source = ""
    for entry in entries:
        if entry.where == "/":
            what, fstype, source = entry.what, entry.fstype, str(entry)
    for word in words:
        key, _, value = word.partition("=")
        if key == "root":
            what, source = value, "the kernel command line"
        elif key == "rootfstype":
            fstype = value
    if fstype in _WITHOUT_UUID or not what.startswith(_FIXED):
        return ""
    return (
        f"{source}: the root file system is named by its UUID. If builds share it, an update mixes up files of "
        "two images in what persists: name the root by PARTLABEL=, PARTUUID= or LABEL=, and let mkfs choose the UUID"
    )


def find_missing_commands(needed: "Iterable[str]", resolved: "Mapping[str, str]") -> "list[str]":
    """What is wrong with the commands `needed`; `resolved` has where each leads in the image, none if it is missing."""
    problems = []
    for path in sorted(set(needed)):
        target = resolved.get(path, "")
        if not target:
            problems.append(f"{path} is not in the image, and the units run it")
        elif path in ("/bin/mount", "/bin/umount") and "busybox" in target:
            problems.append(f"{path} is BusyBox's; the units, and systemd itself, need that of util-linux")
    return problems


def _describe_flags(plan: "Plan", always: bool) -> str:
    several = len(plan.mounts) > 1
    text = "overlayfs.mounts= is compared, not read: no (0, false, off) anywhere on the line is a no"
    if several:
        text += "; one of these directories alone is that one; all else, also a list, means all of these"
    else:
        text += f"; all else, also a wrong value, means {plan.mounts[0].where}"
    return text + ("; so does a line without the key" if always else "")


def _find_limits(mount: "OverlayMount", plan: "Plan") -> "list[str]":
    limits = []
    where, directory = mount.where, mount.directory
    if directory.state == "unseen":
        limits.append(f"{where}: what it looks like is not known before the boot; root's with mode 0755 is assumed")
    if directory.labelled and not plan.mounter:
        limits.append(
            f"{where}: its ACLs and labels are not copied to a new upper layer; relabel it at boot if it matters"
        )
    return limits
