# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
# A comment before the docstring: else libmagic 5.44 takes the file for plain
# text, and Buildroot's check-package skips it without a word. It runs flake8,
# which allows 79 columns where it does not find Buildroot's configuration.
"""Runtime tests in the form of Buildroot's support/testing.

They need this br2-external tree and Buildroot's own test infrastructure:

    tests=support/testing/tests/init
    ln -s $PWD/$tests/test_overlay_generator.py BUILDROOT/$tests/
    cd BUILDROOT
    support/testing/run-tests -o OUTPUT -d DL tests.init.test_overlay_generator
"""

import os
import subprocess
import typing

import infra.basetest

HERE = os.path.dirname(os.path.realpath(__file__))
EXTERNAL = os.path.realpath(os.path.join(HERE, "../../../.."))
BACKING = "/run/buildroot/mounts/var"


class OverlayGeneratorBase(infra.basetest.BRTest):
    """An x86-64 image like the defconfig's, but for a smaller build."""

    br2_external: typing.ClassVar[list] = [EXTERNAL]
    config = f"""
        BR2_x86_64=y
        BR2_TOOLCHAIN_EXTERNAL=y
        BR2_TOOLCHAIN_EXTERNAL_BOOTLIN=y
        BR2_INIT_SYSTEMD=y
        # BR2_TARGET_GENERIC_REMOUNT_ROOTFS_RW is not set
        BR2_INIT_SYSTEMD_VAR_NONE=y
        BR2_TARGET_GENERIC_GETTY_PORT="ttyS0"
        BR2_LINUX_KERNEL=y
        BR2_LINUX_KERNEL_LATEST_VERSION=y
        BR2_LINUX_KERNEL_USE_CUSTOM_CONFIG=y
        BR2_LINUX_KERNEL_CUSTOM_CONFIG_FILE="board/qemu/x86_64/linux.config"
        BR2_LINUX_KERNEL_CONFIG_FRAGMENT_FILES="{EXTERNAL}/board/qemu/linux.config"
        BR2_LINUX_KERNEL_NEEDS_HOST_LIBELF=y
        BR2_PACKAGE_OVERLAY_GENERATOR=y
        BR2_TARGET_ROOTFS_EROFS=y
        # BR2_TARGET_ROOTFS_TAR is not set
        """

    def boot(self, words, *options):
        """Boot with kernel command line `words` and QEMU `options`; log in."""
        images = os.path.join(self.builddir, "images")
        drive = f"file={images}/rootfs.erofs,if=virtio,format=raw,readonly=on"
        image = ["root=/dev/vda", "ro", "rootfstype=erofs", "console=ttyS0"]
        self.emulator.boot(
            arch="x86_64",
            kernel=os.path.join(images, "bzImage"),
            kernel_cmdline=[*image, *words],
            options=["-m", "512", "-drive", drive, *options],
        )
        self.emulator.login()

    def assert_healthy(self):
        """No unit has failed, and the journal can be read."""
        self.assertRunOk("systemctl is-system-running --wait", timeout=120)
        failed = "systemctl --failed --no-legend --no-pager"
        output, _ = self.emulator.run(failed)
        self.assertEqual(output, [])
        self.assertRunOk("journalctl --quiet --no-pager --lines 1 | grep -q .")

    def assert_overlaid(self):
        """/var is an overlay: what is written is in its upper layer alone."""
        self.assertRunOk("grep -q '^overlay /var overlay rw,' /proc/mounts")
        self.assertRunOk("echo new >/var/lib/written")
        self.assertRunOk(f"grep -q new {BACKING}/upper/lib/written")
        self.assertRunNotOk(f"test -e {BACKING}/lower/lib/written")
        # What tmpfiles.d asks for has been made when the image was built.
        self.assertRunOk(f"test -d {BACKING}/lower/lib/systemd")


class TestOverlayGenerator(OverlayGeneratorBase):
    """Units made at boot, from compiled files alone."""

    config = (
        OverlayGeneratorBase.config
        + """
        BR2_PACKAGE_PYTHON3=y
        BR2_PACKAGE_PYTHON3_PYC_ONLY=y
        """
    )

    def test_run(self):
        """The flag makes /var writable, in a tmpfs other than that of /run."""
        self.boot(["overlayfs.mounts=/var"])
        self.assert_healthy()
        self.assert_overlaid()
        self.assertRunOk(f"grep -q '^tmpfs {BACKING} tmpfs' /proc/mounts")


class TestOverlayGeneratorOff(TestOverlayGenerator):
    """The same image without the flag."""

    def test_run(self):
        """Nothing is done."""
        self.boot([])
        self.assertRunNotOk("grep -q ' /var overlay ' /proc/mounts")
        self.assertRunNotOk("touch /var/lib/written")


class TestOverlayGeneratorPersistent(TestOverlayGenerator):
    """An upper layer on a disk.

    The kernel command line names it, for want of an fstab of the test's own.
    """

    config = (
        TestOverlayGenerator.config
        + """
        BR2_PACKAGE_HOST_E2FSPROGS=y
        """
    )

    def test_run(self):
        """What is written is there after the next boot."""
        disk = os.path.join(self.builddir, "images", "data.ext4")
        subprocess.check_call(["truncate", "-s", "64M", disk])
        mkfs = os.path.join(self.builddir, "host/sbin/mkfs.ext4")
        subprocess.check_call([mkfs, "-q", disk])
        mount = f"systemd.mount-extra=/dev/vdb:{BACKING}:ext4"
        words = ["overlayfs.mounts=/var", mount]
        drive = ["-drive", f"file={disk},if=virtio,format=raw"]
        self.boot(words, *drive)
        self.assert_healthy()
        self.assert_overlaid()
        self.assertRunOk(f"grep -q '^/dev/vdb {BACKING} ext4' /proc/mounts")
        self.assertRunOk("sync")
        self.emulator.stop()
        self.boot(words, *drive)
        self.assertRunOk("grep -q new /var/lib/written")


class TestOverlayGeneratorStatic(OverlayGeneratorBase):
    """Units made with the image, and no Python in it."""

    config = (
        OverlayGeneratorBase.config
        + """
        BR2_PACKAGE_OVERLAY_GENERATOR_STATIC=y
        """
    )

    def test_run(self):
        """They do the same."""
        self.boot(["overlayfs.mounts=/var"])
        self.assertRunNotOk("test -e /usr/bin/python3")
        self.assert_healthy()
        self.assert_overlaid()
