# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
SUMMARY = "Makes /var and other directories of a read-only image writable"
DESCRIPTION = "A systemd generator. Asked on the kernel command line, it emits the units that mount an overlay \
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
"

# python3-crypt has hashlib, with which Policy=refresh describes an image. Of the rest, a test walks every import.
RDEPENDS:${PN}:class-target = "python3-core python3-crypt util-linux-mount util-linux-umount"
# Where it is built into the kernel there is no such package.
RRECOMMENDS:${PN}:class-target = "kernel-module-overlay"

BBCLASSEXTEND = "native"
