# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
SUMMARY = "Shows, checks and undoes what the overlays of overlay-generator hold"
DESCRIPTION = "A command for the operator of a device: it shows whether the overlays are mounted and persistent, how \
full they are, and what they changed."

require recipes-core/overlay-generator/overlay-generator.inc

do_install() {
    install_by_make install-overlayctl
}

FILES:${PN} += "\
    ${nonarch_libdir}/overlay-generator \
    ${datadir}/bash-completion \
    ${datadir}/fish \
    ${datadir}/overlay-generator \
    ${systemd_system_unitdir} \
    ${datadir}/zsh \
"

RDEPENDS:${PN} = "\
    overlay-generator \
    python3-compression \
    python3-core \
    python3-ctypes \
    python3-difflib \
    python3-fcntl \
    python3-io \
    python3-json \
    python3-psutil \
    python3-pyudev \
"
