# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Build the root image of one boot: cached base, the product as it installs itself, the test's own files."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cache import key_of, locked, prune, tree_parts
from debian import Base
from masked import UNIT_DIR, mask
from pack import change_tree, copy_file, make_link, pack
from steps import StepFailed, run_step
from values import File, Image

GUEST = Path(__file__).resolve().parent / "guest"
TEST_DIR = "usr/lib/boot-test"
LABELS = "etc/selinux/default/contexts/files/file_contexts"
FREE = "system_u:system_r:unconfined_t:s0"
MODULES_DIR = re.compile("/(usr/)?lib/modules/")

# A fixed id: with an empty one every boot would be a first boot, and systemd would mount a tmpfs on the file.
MACHINE_ID = "5d2c0b8e7f3a4196a1e4c7d9b02f6835"
FOO_BAR = "foobar\n"

# Parts of the source tree that `make install` has no use for.
NOT_THE_PRODUCT = (".*", "__pycache__", "tests", "*.md")


@dataclass(frozen=True)
class Product:
    """A copy of the product's source tree, and the hash of what is in it."""

    source: Path
    key: str


@contextmanager
def snapshot(source: Path) -> Iterator[Product]:
    """Yield the product as it is now: somebody may edit the source tree while images are built.

    Raises StepFailed when there is nothing to install.
    """
    if not (source / "Makefile").is_file():
        raise StepFailed(f"step 'copy the product': there is no Makefile in {source}")
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "source"
        shutil.copytree(source, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_THE_PRODUCT))
        yield Product(copy, key_of(tree_parts(copy)))


def build_image(base: Base, product: Product, wanted: Image, root: Path) -> Path:
    """Return the root file system of a base with the product and what an image wants, built if the cache has none.

    Raises StepFailed.
    """
    code = [(GUEST.parent / name).read_bytes() for name in ("image.py", "masked.py", "pack.py", "python-of")]
    key = key_of([base.key, product.key, repr(wanted), *code, *tree_parts(GUEST)])
    target = root / "images" / f"{base.suite}-{base.architecture.name}-{key}.{wanted.root}"
    with locked(root):
        if target.exists():
            os.utime(target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            log = root / "logs" / f"image-{base.suite}.log"
            try:
                _build(base, product, wanted, target, log)
            except OSError as error:
                raise StepFailed(f"step 'put the image together': {error}; log: {log}") from error
        prune(target.parent)
    return target


def _build(base: Base, product: Product, wanted: Image, target: Path, log: Path) -> None:
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tree-", dir=target.parent) as name:
        tree = Path(name) / "root"
        run_step("copy the base", ["cp", "--archive", "--reflink=auto", base.tree, tree], log)
        # Compiled by an interpreter of the image's version, which could not use the files of another one.
        command = ["unshare", "--mount", "sh", str(GUEST.parent / "python-of"), str(base.tools)]
        python = f"PYTHON={shlex.join(command)}"
        if not wanted.static:
            run_step(
                "install the product",
                ["make", "-C", product.source, "install", f"DESTDIR={tree}", "PREFIX=/usr", python],
                log,
            )
        mask(tree, whole=wanted.whole or base.kind == "early")
        _configure(tree, wanted.fstab)
        _add_test_files(tree)
        for file in wanted.files:
            change_tree(tree, file)
        if any(MODULES_DIR.match(file.path) for file in wanted.files):
            for release in (tree / "usr/lib/modules").iterdir():
                run_step("index the modules again", ["depmod", "--basedir", tree, release.name], log)
        if wanted.static:
            _render_units(product, tree, log)
        if (tree / LABELS).exists():
            if wanted.policy:
                _load_module(product, tree, log)
            _label(tree, log)
        packed = Path(name) / "packed"
        pack(wanted.root, tree, packed, base.tools, log, wanted.uuid)
        packed.rename(target)


def _render_units(product: Product, tree: Path, log: Path) -> None:
    """Take Python out of the tree, and give it the units that need none. Raises StepFailed."""
    for path in [*tree.glob("usr/bin/python3*"), *tree.glob("usr/lib/python3*")]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    command = ["env", f"PYTHONPATH={product.source / 'generator'}", sys.executable, "-m", "overlayctl", "render"]
    # As docs/security-modules.md has it.
    context = ["--selinux-context=system_u:system_r:init_t:s0"] if (tree / LABELS).exists() else []
    run_step("render static units", [*command, "--root", tree, "--output", tree, *context], log)


def _load_module(product: Product, tree: Path, log: Path) -> None:
    """Put the product's own module into the policy of the tree. Raises StepFailed."""
    copy_file(product.source / "packaging/selinux/overlay-generator.cil", tree / "overlay-generator.cil", 0o644)
    words = ["semodule", "-s", "default", "-n", "-i", "/overlay-generator.cil"]
    run_step("load the policy module", ["chroot", tree, *words], log)
    (tree / "overlay-generator.cil").unlink()


def _label(tree: Path, log: Path) -> None:
    """Give every file of the tree the label that its own policy has for it. Raises StepFailed."""
    (tree / "etc/selinux/config").write_text("SELINUX=enforcing\nSELINUXTYPE=default\n")
    # The checks run as free as an administrator: scripts of the boot may not read the journal.
    (tree / f"{LABELS}.local").write_text(f"/{TEST_DIR}/.*\t--\tsystem_u:object_r:bin_t:s0\n")
    dropin = File(f"{UNIT_DIR}/boot-test.service.d/selinux.conf", "text", f"[Service]\nSELinuxContext={FREE}\n")
    change_tree(tree, dropin)
    # Labels of a scenario's own; they must not get into the next image.
    changed = tree / f"{LABELS}.test"
    if changed.exists():
        with (tree / f"{LABELS}.local").open("a") as stream:
            stream.write(changed.read_text())
    run_step("label the tree", ["chroot", tree, "setfiles", "-F", f"/{LABELS}", "/"], log)


def _configure(tree: Path, fstab: str) -> None:
    """Make the tree fit for a read-only root, quiet, and give it its fstab and its /var."""
    etc = tree / "etc"
    (etc / "fstab").write_text(fstab)
    (etc / "machine-id").write_text(MACHINE_ID + "\n")
    (etc / "hostname").write_text("boot-test\n")
    # The builder copies the host's into the tree while it works.
    (etc / "resolv.conf").unlink(missing_ok=True)
    # Older suites leave /tmp on the root, which is read-only here.
    for place in ("usr/lib/systemd/system", "usr/share/systemd"):
        if (tree / place / "tmp.mount").exists():
            make_link(tree / UNIT_DIR / "local-fs.target.wants/tmp.mount", f"/{place}/tmp.mount")
            break
    foo = tree / "var/foo"
    foo.mkdir()
    (foo / "bar").write_text(FOO_BAR)
    # Its presence is what makes journald keep its files in /var.
    (tree / "var/log/journal").mkdir(exist_ok=True)


def _add_test_files(tree: Path) -> None:
    for name in sorted(path.name for path in GUEST.iterdir()):
        if name.endswith((".service", ".target")):
            copy_file(GUEST / name, tree / UNIT_DIR / name, 0o644)
        elif name == "shutdown-report":
            copy_file(GUEST / name, tree / "usr/lib/systemd/system-shutdown" / name, 0o755)
        elif not name.endswith("-init"):
            copy_file(GUEST / name, tree / TEST_DIR / name, 0o755)
    make_link(tree / UNIT_DIR / "default.target", "boot-test.target")
