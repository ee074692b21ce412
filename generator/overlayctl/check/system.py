# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The rest of an image: what the boot runs, its machine ID, and what tells it from the next one."""

import re

from overlay_generator import boot
from overlay_generator.model import Plan, UnitFile
from overlay_generator.names import prepare_unit
from overlay_prepare import identity
from overlayctl.check.finding import Finding, make
from overlayctl.check.image import Image
from overlayctl.check.python import LIBRARY

_GENERATOR = "/usr/lib/systemd/system-generators/overlay-generator"
_MASKS = ("/run/systemd/system-generators", "/etc/systemd/system-generators")
_OLDEST = 247
_PACKAGES = {
    "mount": "mount (util-linux)",
    "umount": "mount (util-linux)",
    "modprobe": "kmod",
    "python3": "python3-minimal",
}
_ID_ADVICE = (
    "give each device its own: systemd.machine_id= on its kernel command line, or the credential system.machine_id"
)
_EMPTY_ADVICE = f"{_ID_ADVICE}; the file should be there and empty"


def is_static(image: Image, plan: Plan) -> bool:
    """True if the image has units that overlayctl render wrote, and so needs neither generator nor Python."""
    return any(image.exists(f"/usr/lib/systemd/system/{prepare_unit(mount.where)}") for mount in plan.mounts)


def find_library(image: Image) -> str:
    """The directory of the package, as the installed generator names it (`librarydir` of make install)."""
    found = re.search(r'sys\.path\.insert\(0, "(/[^"]+)"\)', image.text(_GENERATOR))
    return found[1] if found else LIBRARY


def check_generator(image: Image, library: str) -> "list[Finding]":
    """Whether systemd will find the generator, and the generator its package."""
    for folder in _MASKS:
        path = f"{folder}/overlay-generator"
        if image.resolve(path) == "/dev/null" or (image.exists(path) and image.read(path) == b""):
            return [make("generator-masked", path)]
    if not image.exists(_GENERATOR):
        return [make("generator-missing", _GENERATOR)]
    findings = []
    if not image.is_executable(_GENERATOR):
        findings.append(make("generator-not-executable", _GENERATOR))
    for name in ("prepare", "overlay_generator/boot.py"):
        # Images without sources have boot.pyc in its place.
        if not image.exists(f"{library}/{name}") and not image.exists(f"{library}/{name}c"):
            findings.append(make("package-damaged", library, name=name))
    return findings


def check_commands(image: Image, plan: Plan) -> "list[Finding]":
    """The commands that the units of `plan` run."""
    findings: dict[str, Finding] = {}
    for file in boot.make_files(plan):
        if not isinstance(file, UnitFile):
            continue
        for line in file.text.split("\n"):
            key, _, value = line.partition("=")
            name = value.lstrip("-+!:@").partition(" ")[0].strip('"')
            # false(1) is there to fail, and a missing command fails as well.
            optional = value.startswith("-") or name == "/bin/false"
            if key.startswith("Exec") and name.startswith("/") and not optional and not image.is_executable(name):
                package = _PACKAGES.get(name.rpartition("/")[2], "coreutils")
                findings.setdefault(name, make("command-missing", name, name=name, unit=file.path, package=package))
    return list(findings.values())


def check_version(image: Image) -> "list[Finding]":
    """systemd's version, by the name of its own library."""
    for folder in ("/usr/lib/systemd", "/lib/systemd", "/usr/lib64/systemd"):
        for name in image.names(folder, "libsystemd-shared-*.so"):
            found = re.match(r"libsystemd-shared-(\d+)", name)
            if found and int(found[1]) < _OLDEST:
                return [make("systemd-too-old", f"{folder}/{name}", version=found[1])]
    return []


def check_machine_id(image: Image, cmdline: str) -> "list[Finding]":
    """machine-id(5): on a read-only root nothing can be written into it at a first boot."""
    source = "/etc/machine-id"
    if "systemd.machine_id=" in cmdline:
        return []
    data = image.read(source)
    if data is None:
        return [make("machine-id-missing", source, advice=_EMPTY_ADVICE)]
    text = data.decode("ascii", "replace").strip()
    if not text:
        return [make("machine-id-empty", source, advice=_ID_ADVICE)]
    if text == "uninitialized":
        return [make("machine-id-uninitialized", source, advice=_EMPTY_ADVICE)]
    if not re.fullmatch(r"[0-9a-f]{32}", text):
        return [make("machine-id-wrong", source, advice=_EMPTY_ADVICE)]
    # On a running machine it may have been mounted there for this boot; a tree has it for all devices.
    return [make("machine-id-fixed", source, advice=f"empty it; {_ID_ADVICE}")] if image.root else []


def check_updated(image: Image, plan: Plan) -> "list[Finding]":
    """systemd-update-done.service(8): its mark in /var is younger than /usr if nothing is left to be updated."""
    if not any(mount.where == "/var" and mount.backing.tmpfs for mount in plan.mounts):
        return []
    path = "/var/.updated"
    mark, usr = image.find(path), image.find("/usr")
    reason = "is missing" if mark is None else "is older than /usr" if usr and mark.st_mtime < usr.st_mtime else ""
    return [make("updates-each-boot", path, reason=reason, root=image.root or "/")] if reason else []


def check_rollback(image: Image, plan: Plan) -> "list[Finding]":
    """What data that go back with the image cost, and whether anything ends that."""
    found = []
    units = "/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"
    marked = any(image.exists(f"{path}/boot-complete.target.wants/overlay-commit.service") for path in units)
    for mount in plan.mounts:
        if mount.settings.rollback == "no":
            continue
        found.append(make("rollback-limits", "", where=mount.where))
        if not marked and mount.settings.commit not in ("manual", "next-update"):
            found.append(make("rollback-unmarked", "", where=mount.where))
    return found


def check_identity(image: Image, persistent: bool) -> "list[Finding]":
    """What a persistent upper layer knows an image by: os-release(5), and its file system."""
    if not persistent:
        return []
    source = "/etc/os-release" if image.exists("/etc/os-release") else "/usr/lib/os-release"
    lines = enumerate(image.text(source).split("\n"), 1)
    names = [(number, *line.partition("=")[::2]) for number, line in lines]
    versions = [(number, value) for number, key, value in names if key in ("IMAGE_VERSION", "BUILD_ID")]
    if any(identity.is_name(value) for _, value in versions):
        return []
    number = versions[0][0] if versions else 0
    doubt = "" if image.root else _find_doubt()
    if doubt:
        return [make("image-anonymous", source, number, doubt=doubt)]
    return [make("image-unnamed", source, number)]


def _find_doubt() -> str:
    """Why nothing but a name can tell this machine's root from the next one; "" where its file system can."""
    try:
        return identity.find_doubt(identity.identify("/"), "/")
    except OSError:
        return ""  # as for a tree, whose file system nobody knows either
