# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests an image that inherits overlay-generator-image: TEST_SUITES:append = " overlay_generator"."""

from oeqa.core.decorator.depends import OETestDepends
from oeqa.runtime.case import OERuntimeTestCase

BACKING = "/run/buildroot/mounts/var"


class OverlayGeneratorTest(OERuntimeTestCase):
    """/var of the running image."""

    def run_ok(self, command):
        """The output of `command`, which has to succeed."""
        status, output = self.target.run(command)
        self.assertEqual(status, 0, msg=f"{command}: {output}")
        return output

    @OETestDepends(["ssh.SSHTest.test_ssh"])
    def test_var_is_an_overlay(self):
        """The flag is there, the units are active, none has failed."""
        self.assertIn("overlayfs.mounts=", self.run_ok("cat /proc/cmdline"))
        self.assertIn("overlay", self.run_ok("grep ' /var ' /proc/mounts"))
        self.run_ok("systemctl is-active var.mount prepare-var-overlay.service")
        failed = self.run_ok("systemctl --failed --no-legend --no-pager")
        self.assertEqual(failed.strip(), "")

    @OETestDepends(["overlay_generator.OverlayGeneratorTest.test_var_is_an_overlay"])
    def test_a_write_goes_to_the_upper_layer(self):
        """What is written is seen in /var and in upper, and not in lower."""
        self.run_ok("echo written >/var/lib/overlay-generator-test")
        try:
            self.run_ok(f"grep -q written {BACKING}/upper/lib/overlay-generator-test")
            self.run_ok(f"test ! -e {BACKING}/lower/lib/overlay-generator-test")
        finally:
            self.run_ok("rm /var/lib/overlay-generator-test")

    @OETestDepends(["overlay_generator.OverlayGeneratorTest.test_var_is_an_overlay"])
    def test_the_image_is_seen_below(self):
        """The image's own /var can be read beside the overlay, and can't be written."""
        self.run_ok(f"test -d {BACKING}/lower/lib")
        status, _ = self.target.run(f"touch {BACKING}/lower/overlay-generator-test")
        self.assertNotEqual(status, 0)

    @OETestDepends(["overlay_generator.OverlayGeneratorTest.test_var_is_an_overlay"])
    def test_var_does_not_fill_run(self):
        """The backing directory is a file system of its own."""
        self.assertNotEqual(self.run_ok("stat -c %d /run"), self.run_ok(f"stat -c %d {BACKING}"))
