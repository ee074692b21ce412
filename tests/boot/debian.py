# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Build the part of the test image that does not change with the product: a small Debian and its kernel.

A tree of another architecture than the host's is never entered: its packages are only unpacked, and what configuring
them would make is copied from a tree of the host's own. So its programs are emulated only in the machine that boots it.
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from architectures import Architecture, host_architecture
from cache import key_of, locked, staging
from initramfs import write_initramfs, write_probe
from kernel import build_kernel
from steps import StepFailed, output_of, run_step
from values import ROOTS

HERE = Path(__file__).resolve().parent
# Not installed but fetched: installing one would bring an initramfs builder. The newest suites have the
# kernel and its modules in packages that the image package depends on.
FETCH_KERNEL = """set -e
export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
needs() { apt-cache depends "$1" | sed -nE "s/.*Depends: (linux-($2)-[^ ]*)/\\1/p"; }
image=$(needs "$KERNEL" image | head -n 1)
apt-get -o APT::Sandbox::User=root download "$image" $(needs "$image" 'base|binary|modules')
"""
# For an initramfs in which the host's busybox can't run.
FETCH_BUSYBOX = "apt-get -o APT::Sandbox::User=root download busybox-static\n"
# What is of the host's architecture in a configured tree, or of no use in another one; the rest are scripts and texts.
NOT_FOR_OTHERS = (
    "./dev/*", "./lib64", "./usr/lib64", "./usr/lib/modules", "./etc/ld.so.cache", "./var/cache", "./var/lib/apt",
    "*.so", "*.so.*", "*{triplet}*", "*{loader}*",
)  # fmt: skip
COPY_CONFIGURED = """set -e
from=$1 to=$2
shift 2
tar -C "$from" --xattrs --xattrs-include='*' "$@" -cf - . |
    tar -C "$to" --xattrs --xattrs-include='*' --skip-old-files -xpf -
"""
# apt and dpkg-deb only, but they fetch what is not small, on a host that may have other work.
INSTALL_SECONDS = 3600
PACKAGES = (
    "systemd", "systemd-sysv", "udev", "python3-minimal", "util-linux", "mount", "kmod", "e2fsprogs",
)  # fmt: skip
# Only these (and what they need) go into the image; the rest of the kernel package is 100 MB of nothing.
MODULES = (
    "overlay", "squashfs", "virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "ext4", "xfs",
    "btrfs", "autofs4", "loop", "binfmt_misc",
)  # fmt: skip
# What some scenarios need: other file systems and their tools, encryption, partitions; and what overlayctl needs, with
# a Python that has all its modules.
FULL_PACKAGES = (
    "xfsprogs", "btrfs-progs", "f2fs-tools", "dosfstools", "erofs-utils", "fdisk", "cryptsetup-bin",
    "python3-psutil", "python3-pyudev", "mtd-utils",
)  # fmt: skip
FULL_MODULES = (
    "f2fs", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8", "erofs", "dm_crypt", "xts",
    "algif_skcipher", "block2mtd", "ubi", "ubifs",
)  # fmt: skip
# What a base has beside PACKAGES: a policy, an engine. The policy is Debian's own, unchanged.
OWN_PACKAGES = {
    "selinux": ("selinux-policy-default", "policycoreutils", "selinux-utils", "auditd", "fdisk"),
    "podman": ("podman", "crun", "netavark", "busybox-static"),
    "apparmor": ("apparmor", "apparmor-profiles"),
    # With what makes a bundle, and with all of Python for overlayctl.
    "rauc": ("rauc", "rauc-service", "dbus", "openssl", "squashfs-tools", "python3-psutil", "python3-pyudev"),
}  # fmt: skip
# The same of modules. A bundle is a squashfs that is verified block by block.
OWN_MODULES = {"rauc": ("dm_verity",)}
# The kernel asks for them by their purpose, so no other module names them; which of them are modules depends on the
# kernel.
ALGORITHMS = (
    "crc32c_generic", "crc32c_intel", "crc32_generic", "crc32c_cryptoapi", "crc32_cryptoapi", "xxhash_generic",
    "blake2b_generic", "sha256_generic", "sha256_ssse3", "aes_generic", "ecb", "cbc", "deflate", "lzo", "zstd",
)  # fmt: skip
# What ext4 and erofs ask for in this way.
CHECKSUM = ("crc32c_generic",)
# Newer suites have the units for encrypted disks in a package of their own.
CRYPTSETUP_IN_SYSTEMD = ("buster", "bullseye", "bookworm")
# What the initramfs loads: what every root needs, and then only the root's file system. overlay is left out on
# purpose: loading it is the business of mount(8).
BOOT_MODULES = ("virtio_pci", "virtio_blk")
# Early users of /var that are not in systemd's own package, by the first suite that has the package.
EARLY_PACKAGES = {
    "systemd-coredump": "bullseye", "systemd-container": "bullseye", "systemd-timesyncd": "bullseye",
    "systemd-oomd": "bookworm", "systemd-resolved": "bookworm",
}  # fmt: skip
SUITES = ("bullseye", "bookworm", "trixie")
NOT_INSTALLED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
# Settings of the host's apt without which its mirror may be out of reach or refused.
HOST_APT_SETTINGS = (
    "Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-Valid-Until", "Acquire::Check-Date",
)  # fmt: skip
# Suites whose essential packages leave /bin and /lib as directories; their installer merges them.
SPLIT_USR_SUITES = ("buster", "bullseye")
MERGE_USR = 'for dir in bin sbin lib lib64; do mkdir -p "$1/usr/$dir" && ln -s "usr/$dir" "$1/$dir"; done'


@dataclass(frozen=True)
class Base:
    """A cached base: the tree of the root file system, the kernel, and two small initramfs archives.

    kind is one of values.BASES. tools is a tree of the same suite whose programs run on the host; if the architecture
    is the host's, it is the same tree.
    """

    architecture: Architecture
    suite: str
    kind: str
    key: str
    tree: Path
    tools: Path
    kernel: Path
    initramfs: Path
    probe: Path


def build_base(
    suite: str, root: Path, mirror: str | None = None, kind: str = "small", architecture: Architecture | None = None
) -> Base:
    """Return a base of a suite, built if the cache has none; by default its architecture is that of the host.

    Raises StepFailed when a step of the build goes wrong.
    """
    host = host_architecture()
    wanted = architecture or host
    if kind not in wanted.kernels:
        raise StepFailed(f"step 'choose a kernel': there is none for base = {kind} on {wanted.name}")
    mirror = mirror or host_mirror()
    native = None if wanted is host else build_base(suite, root, mirror, kind, host)
    code = [(HERE / name).read_bytes() for name in ("debian.py", "initramfs.py")]
    code += [(HERE / "guest" / name).read_bytes() for name in ("initramfs-init", "probe-init")]
    built = build_kernel(root, mirror, apt_options()) if kind == "tiny" else None
    key = key_of([suite, kind, repr(wanted), native.key if native else "", mirror or "", str(built), *code])
    name = f"{suite}-{kind}" if native is None else f"{suite}-{wanted.name}-{kind}"
    target = root / "base" / f"{name}-{key}"
    with locked(root):
        if not target.exists():
            log = root / "logs" / f"base-{name}.log"
            log.unlink(missing_ok=True)
            try:
                with staging(target) as work:
                    _build(_Plan(wanted, suite, kind, mirror, native, built), work, log)
            except OSError as error:
                raise StepFailed(f"step 'put the base of {suite} together': {error}; log: {log}") from error
    tree = target / "tree"
    tools = native.tools if native else tree
    archives = (target / "initramfs.cpio", target / "probe.cpio")
    return Base(wanted, suite, kind, key, tree, tools, target / "vmlinuz", *archives)


@dataclass(frozen=True)
class _Plan:
    """What a base is built of; native is a base of the host's architecture, if that is another one."""

    architecture: Architecture
    suite: str
    kind: str
    mirror: str | None
    native: Base | None
    built: Path | None


def host_mirror() -> str | None:
    """Return the Debian mirror that the host's apt uses, None if the host is not a Debian."""
    try:
        release = Path("/etc/os-release").read_text()
        form = "$(SITE) $(RELEASE) $(COMPONENT)"
        argv = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
        listing = output_of("find the mirror", argv)
    except (OSError, StepFailed):
        return None
    fields = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    wanted = [fields.get("VERSION_CODENAME", "").strip('"'), "main"]
    for line in listing.splitlines():
        words = line.split()
        if fields.get("ID") == "debian" and words[1:] == wanted:
            return words[0]
    return None


def _build(plan: _Plan, work: Path, log: Path) -> None:
    tree, packages = work / "tree", work / "packages"
    packages.mkdir()
    fetch = f"cd {shlex.quote(str(packages))} && KERNEL={plan.architecture.kernels[plan.kind]} && {FETCH_KERNEL}"
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in NOT_INSTALLED] + apt_options()
    if plan.suite in SPLIT_USR_SUITES:
        options.append(f"--setup-hook={MERGE_USR}")
    if plan.native is None:
        names = _packages_of(plan.suite, plan.kind)
        options += ["--variant=essential"] + ([] if plan.built else [f"--customize-hook={fetch}"])
    else:
        listing = ["dpkg-query", f"--admindir={plan.native.tree}/var/lib/dpkg", "-W", "-f", "${Package}\n"]
        names = output_of("list the packages of the host's own base", listing).split()
        # With this variant a --customize-hook is not run, and nothing says so (mmdebstrap 1.3).
        options += ["--variant=extract", f"--architectures={plan.architecture.name}"]
        options.append(f"--extract-hook={fetch}{FETCH_BUSYBOX}")
    run_step(
        "install Debian",
        ["mmdebstrap", "--mode=root", f"--include={','.join(names)}", "--format=directory", *options, plan.suite,
         tree, *([plan.mirror] if plan.mirror else [])],
        log,
        timeout=INSTALL_SECONDS,
    )  # fmt: skip
    busybox = None
    if plan.native is not None:
        _copy_configured(plan.native, tree, log)
        (archive,) = packages.glob("busybox-static_*.deb")
        run_step("unpack busybox", ["dpkg-deb", "-x", archive, work / "busybox"], log)
        archive.unlink()
        busybox = next(path for path in (work / "busybox").rglob("busybox") if path.parent.name == "bin")
    if plan.built is None:
        groups = _add_kernel(plan, packages, work, log)
    else:
        # Everything is built in.
        shutil.copy2(plan.built, work / "vmlinuz")
        groups = {}
    write_initramfs(work / "initramfs.cpio", groups, log, busybox)
    write_probe(work / "probe.cpio", log, busybox)
    shutil.rmtree(packages)
    shutil.rmtree(work / "busybox", ignore_errors=True)


def _packages_of(suite: str, kind: str) -> list[str]:
    names: list[str] = list(PACKAGES)
    if kind == "full":
        names += FULL_PACKAGES
        names += [] if suite in CRYPTSETUP_IN_SYSTEMD else ["systemd-cryptsetup"]
    names += OWN_PACKAGES.get(kind, ())
    if kind == "early":
        names += [name for name, first in EARLY_PACKAGES.items() if not _is_before(suite, first)]
    return names


def _copy_configured(native: Base, tree: Path, log: Path) -> None:
    """Give an unpacked tree what maintainer scripts have made in the native one: users, links, compiled Python."""
    known = {"triplet": native.architecture.triplet, "loader": native.architecture.machine.replace("_", "-")}
    words = [f"--exclude={pattern.format(**known)}" for pattern in NOT_FOR_OTHERS]
    run_step("copy what is configured", ["sh", "-c", COPY_CONFIGURED, "sh", native.tree, tree, *words], log)


def _add_kernel(plan: _Plan, packages: Path, work: Path, log: Path) -> dict[str, list[Path]]:
    """Put the fetched kernel beside the tree and its modules into it; return those that the initramfs loads."""
    unpacked, tree = work / "kernel", work / "tree"
    for archive in sorted(packages.glob("*.deb")):
        run_step("unpack the kernel", ["dpkg-deb", "-x", archive, unpacked], log)
    wanted = MODULES + (FULL_MODULES + plan.architecture.modules if plan.kind == "full" else ())
    wanted += OWN_MODULES.get(plan.kind, ())
    release = _install_modules(unpacked, tree, wanted, log)
    kernels = [path for path in unpacked.rglob("vmlinuz*") if path.is_file()]
    if not kernels:
        raise StepFailed(f"step 'unpack the kernel': there is none in the packages; log: {log}")
    shutil.copy2(kernels[0], work / "vmlinuz")
    shutil.rmtree(unpacked)
    modules = tree / "usr/lib/modules" / release
    roots = [root for root in ROOTS if plan.kind == "full" or root != "erofs"]
    groups = {"first": _with_needs(modules, BOOT_MODULES)}
    checksum = _with_needs(modules, CHECKSUM, True)
    groups |= {root: checksum + _with_needs(modules, (root,)) for root in roots}
    return groups | {"overlay": _with_needs(modules, ("overlay",)), "memory": _with_needs(modules, ("loop",))}


def _is_before(suite: str, first: str) -> bool:
    """Return whether a suite is older than another; one that is not in SUITES is newer than those."""
    return suite in SUITES and SUITES.index(suite) < SUITES.index(first)


def apt_options() -> list[str]:
    """Return settings of the host's apt as words for mmdebstrap."""
    found = []
    for name in HOST_APT_SETTINGS:
        try:
            text = output_of("read apt's settings", ["apt-config", "dump", name])
        except StepFailed:
            return []
        found += [f"--aptopt={line.rstrip(';')}" for line in text.splitlines() if not line.endswith('"";')]
    return found


def _install_modules(unpacked: Path, tree: Path, names: tuple[str, ...], log: Path) -> str:
    """Copy the wanted kernel modules into the tree; return the kernel's release."""
    if not (unpacked / "usr/lib/modules").is_dir():
        # Older packages use /lib, where newer depmods do not look.
        (unpacked / "usr/lib").mkdir(parents=True, exist_ok=True)
        (unpacked / "lib/modules").rename(unpacked / "usr/lib/modules")
        (unpacked / "lib").rmdir()
    if not (unpacked / "lib").exists():
        (unpacked / "lib").symlink_to("usr/lib")
    release = next((unpacked / "usr/lib/modules").iterdir()).name
    source, target = unpacked / "usr/lib/modules" / release, tree / "usr/lib/modules" / release
    run_step("index all modules", ["depmod", "--basedir", unpacked, release], log)
    for path in dict.fromkeys(_with_needs(source, names) + _with_needs(source, ALGORITHMS, True)):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    for path in source.glob("modules.builtin*"):
        shutil.copy2(path, target)
    shutil.copy2(source / "modules.order", target)
    run_step("index the modules of the image", ["depmod", "--basedir", tree, release], log)
    if not list((target / "kernel").rglob("overlay.ko*")):
        raise StepFailed("step 'install modules': this kernel has no overlay module, nothing can be tested")
    return release


def _with_needs(modules: Path, names: tuple[str, ...], where_there: bool = False) -> list[Path]:
    """Return the files of the named modules in loading order, built-in ones left out.

    Raises StepFailed for a name that is neither a module nor built in, unless where_there says to ignore it.
    """
    needs: dict[str, list[Path]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, rest = line.partition(":")
        # modules.dep lists what to load last first.
        needs[_module_name(file)] = [modules / need for need in reversed(rest.split())] + [modules / file]
    builtin = {_module_name(line) for line in (modules / "modules.builtin").read_text().split()}
    found: dict[Path, None] = {}
    for name in names:
        if name in needs:
            found.update(dict.fromkeys(needs[name]))
        elif name not in builtin and not where_there:
            raise StepFailed(f"step 'choose modules': the kernel has no module {name}")
    return list(found)


def _module_name(file: str) -> str:
    return Path(file).name.partition(".")[0].replace("-", "_")
