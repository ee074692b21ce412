"""Runtime tests in the form of Buildroot's support/testing.

They need this directory's br2-external tree and Buildroot's own test infrastructure:

    ln -s $PWD/support/testing/tests/init/test_overlay_generator.py BUILDROOT/support/testing/tests/init/
    cd BUILDROOT && support/testing/run-tests -o OUTPUT -d DOWNLOADS tests.init.test_overlay_generator
"""

import os
import subprocess
import typing

import infra.basetest

EXTERNAL = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../../.."))
BACKING = "/run/buildroot/mounts/var"


class OverlayGeneratorBase(infra.basetest.BRTest):
    """An x86-64 image with a read-only erofs root, as the defconfig has it but for a smaller build."""

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
        """Boot with `words` on the kernel command line and more `options` of QEMU; log in as root."""
        images = os.path.join(self.builddir, "images")
        self.emulator.boot(
            arch="x86_64",
            kernel=os.path.join(images, "bzImage"),
            kernel_cmdline=["root=/dev/vda", "ro", "rootfstype=erofs", "console=ttyS0", *words],
            options=[
                "-m", "512",
                "-drive", f"file={images}/rootfs.erofs,if=virtio,format=raw,readonly=on",
                *options,
            ],
        )  # fmt: skip
        self.emulator.login()

    def assert_healthy(self):
        """No unit has failed, and the journal can be read."""
        self.assertRunOk("systemctl is-system-running --wait", timeout=120)
        output, _ = self.emulator.run("systemctl --failed --no-legend --no-pager")
        self.assertEqual(output, [])
        self.assertRunOk("journalctl --quiet --no-pager --lines 1 | grep -q .")

    def assert_overlaid(self):
        """/var is an overlay: a write is seen above, and in the upper layer alone below."""
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
        """The flag makes /var writable in memory, and its tmpfs is not that of /run."""
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
    """An upper layer on a disk, named on the kernel command line for want of an fstab of the test's own."""

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
        subprocess.check_call([os.path.join(self.builddir, "host/sbin/mkfs.ext4"), "-q", disk])
        words = ["overlayfs.mounts=/var", f"systemd.mount-extra=/dev/vdb:{BACKING}:ext4"]
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
