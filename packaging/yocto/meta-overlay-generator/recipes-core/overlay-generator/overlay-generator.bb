# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
SUMMARY = "Makes /var and other directories of a read-only image writable"
DESCRIPTION = "A systemd generator. When the kernel command line asks for it, it emits the units that mount an overlay \
on /var, in memory or on a disk, before any service needs it."

require overlay-generator.inc

do_install() {
    install_by_make install-generator
}

# On the build machine it renders and checks units for an image: see overlay-generator-image.bbclass.
do_install:class-native() {
    install_by_make install-generator install-overlayctl
}

FILES:${PN} += "\
    ${nonarch_libdir}/overlay-generator \
    ${systemd_unitdir}/system-generators/overlay-generator \
    ${systemd_system_unitdir} \
    ${nonarch_libdir}/systemd/catalog \
"

# python3-crypt has hashlib, which Policy=refresh uses to describe an image; python3-fcntl is for disks with project IDs
# (xfs), python3-io for events in the journal. A test checks every import.
RDEPENDS:${PN}:class-target = "python3-core python3-crypt python3-fcntl python3-io util-linux-mount util-linux-umount"
# There is no such package if overlayfs is built into the kernel.
RRECOMMENDS:${PN}:class-target = "kernel-module-overlay"

BBCLASSEXTEND = "native"
