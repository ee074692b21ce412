"""The rest of an image: what the boot runs, its machine ID, and what tells it from the next one."""

import os
import re

from overlay_generator.model import Plan, UnitFile
from overlay_generator.names import prepare_unit
from overlay_generator.render import render
from overlay_prepare import stamp
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
    for file in render(plan):
        if not isinstance(file, UnitFile):
            continue
        for line in file.text.split("\n"):
            key, _, value = line.partition("=")
            name = value.lstrip("-+!:@").partition(" ")[0].strip('"')
            optional = value.startswith("-")
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


def check_identity(image: Image, persistent: bool) -> "list[Finding]":
    """What a persistent upper layer knows an image by: os-release(5), and the file system's own words."""
    if not persistent:
        return []
    source = "/etc/os-release" if image.exists("/etc/os-release") else "/usr/lib/os-release"
    for number, line in enumerate(image.text(source).split("\n"), 1):
        key, _, value = line.partition("=")
        if key in ("IMAGE_VERSION", "BUILD_ID") and value.strip("\"'"):
            return []
        if key in ("IMAGE_VERSION", "BUILD_ID"):
            return [make("image-unnamed", source, number)]
    fstype = "" if image.root else _find_anonymous()
    if fstype:
        return [make("image-anonymous", source, fstype=fstype)]
    return [make("image-unnamed", source)]


def _find_anonymous() -> str:
    """The type of this machine's root, if nothing in its superblock tells it from the next one, else ""."""
    try:
        start = read_start("/")
    except OSError:
        return ""
    return judge_start(start)


def judge_start(start: bytes) -> str:
    """The type of the file system that begins with `start`, if it has neither a UUID nor a time, else "". Pure.

    Offsets of the kernel's fs/squashfs/squashfs_fs.h and fs/erofs/erofs_fs.h.
    """
    if start[:4] == b"hsqs" and not any(start[8:12]):
        return "squashfs"
    if start[1024:1028] == b"\xe2\xe1\xf5\xe0" and not any(start[1024 + 24 : 1024 + 36]) and not any(start[1072:1088]):
        return "erofs"
    return ""


def read_start(where: str) -> bytes:
    """The first 8 KiB of the disk below `where`. Raises OSError."""
    device = os.stat(where).st_dev
    name = os.path.basename(os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
    return stamp._read(f"/dev/{name}", 0, 8192)
