# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later

# Makes directories of a read-only image writable:
#
#   inherit overlay-generator-image
#   IMAGE_FEATURES += "read-only-rootfs"
#
# With overlay-generator in IMAGE_INSTALL the units are made at boot, which brings Python into the image. Without it
# they are made here, from the image's fstab. In both cases, if a directory can't be overlaid, the build fails, not the
# boot.

inherit features_check

# Without systemd nothing reads the units. An overlay over a writable root hides what was written before, and one in
# memory loses what is written later.
REQUIRED_DISTRO_FEATURES:append = " systemd"
REQUIRED_IMAGE_FEATURES:append = " read-only-rootfs"

# The value of overlayfs.mounts= on the kernel command line: absolute paths, separated by commas.
OVERLAY_GENERATOR_MOUNTS ?= "/var"

# For units made here: 1 if they should act even without that option.
OVERLAY_GENERATOR_ALWAYS ?= "0"

# A line for the image's fstab that mounts a file system at the backing directory:
#   LABEL=data /run/buildroot/mounts/var ext4 defaults,nofail,x-systemd.device-timeout=30s 0 2
OVERLAY_GENERATOR_FSTAB ?= ""

OVERLAY_GENERATOR_CMDLINE = "overlayfs.mounts=${OVERLAY_GENERATOR_MOUNTS}"

# For live images and wic, for unified kernel images, for runqemu.
APPEND:append = " ${OVERLAY_GENERATOR_CMDLINE}"
UKI_CMDLINE:append = " ${OVERLAY_GENERATOR_CMDLINE}"
QB_KERNEL_CMDLINE_APPEND:append = " ${OVERLAY_GENERATOR_CMDLINE}"

do_rootfs[depends] += "overlay-generator-native:do_populate_sysroot python3-native:do_populate_sysroot"
do_rootfs[vardeps] += "OVERLAY_GENERATOR_MOUNTS OVERLAY_GENERATOR_ALWAYS OVERLAY_GENERATOR_FSTAB"

# Releases before wrynose look for kickstart files only in wic/, and later ones reject a layer with that directory.
WKS_SEARCH_PATH:append = ":${@d.getVar('BBPATH').replace(':', '/files/wic:')}/files/wic"

# Last, as others write fstab and links below /var.
ROOTFS_POSTPROCESS_COMMAND:append = " overlay_generator_add_to_fstab overlay_generator_make_units"

overlay_generator_add_to_fstab() {
    line='${OVERLAY_GENERATOR_FSTAB}'
    if [ -n "$line" ]; then
        echo "$line" >>"${IMAGE_ROOTFS}${sysconfdir}/fstab"
    fi
}

overlay_generator_make_units() {
    export PYTHONPATH="${STAGING_LIBDIR_NATIVE}/overlay-generator"
    python="${STAGING_BINDIR_NATIVE}/python3-native/python3 -B"
    # Readers of the build's messages need the reasons, not the news that a shell command failed.
    if [ -e "${IMAGE_ROOTFS}${systemd_unitdir}/system-generators/overlay-generator" ]; then
        said=$($python -m overlay_generator.dryrun --root "${IMAGE_ROOTFS}" --cmdline "${OVERLAY_GENERATOR_CMDLINE}" \
            --print 2>&1 >/dev/null) || { echo "$said" >&2; bbfatal "$said"; }
    else
        always=
        if [ "${OVERLAY_GENERATOR_ALWAYS}" = 1 ]; then always=--always; fi
        said=$($python -m overlayctl render --root "${IMAGE_ROOTFS}" --cmdline "${OVERLAY_GENERATOR_CMDLINE}" \
            $always --output "${IMAGE_ROOTFS}" 2>&1) || { echo "$said" >&2; bbfatal "$said"; }
    fi
    echo "$said"
}
