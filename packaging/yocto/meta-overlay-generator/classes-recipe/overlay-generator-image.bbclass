# Makes directories of a read-only image writable:
#
#   inherit overlay-generator-image
#   IMAGE_FEATURES += "read-only-rootfs"
#
# With overlay-generator in IMAGE_INSTALL the units are made at boot, which needs python3-core in the image. Without
# it they are made here, for the fstab that the image has. In both cases a directory that can't be overlaid ends the
# build, and not the boot.

# The value of overlayfs.mounts= on the kernel command line: absolute paths, separated by commas.
OVERLAY_GENERATOR_MOUNTS ?= "/var"

# For units made here: 1 if they shall act without that word, too.
OVERLAY_GENERATOR_ALWAYS ?= "0"

# For a wks.in file: bootloader --append="${OVERLAY_GENERATOR_CMDLINE}"
OVERLAY_GENERATOR_CMDLINE = "overlayfs.mounts=${OVERLAY_GENERATOR_MOUNTS}"

# Of the live images, of unified kernel images, of runqemu.
APPEND:append = " ${OVERLAY_GENERATOR_CMDLINE}"
UKI_CMDLINE:append = " ${OVERLAY_GENERATOR_CMDLINE}"
QB_KERNEL_CMDLINE_APPEND:append = " ${OVERLAY_GENERATOR_CMDLINE}"

do_rootfs[depends] += "overlay-generator-native:do_populate_sysroot python3-native:do_populate_sysroot"
do_rootfs[vardeps] += "OVERLAY_GENERATOR_MOUNTS OVERLAY_GENERATOR_ALWAYS"

# Last, as others write fstab and links below /var.
ROOTFS_POSTPROCESS_COMMAND:append = " overlay_generator_make_units"

overlay_generator_make_units() {
    export PYTHONPATH="${STAGING_LIBDIR_NATIVE}/overlay-generator"
    python="${STAGING_BINDIR_NATIVE}/python3-native/python3 -B"
    if [ -e "${IMAGE_ROOTFS}${systemd_unitdir}/system-generators/overlay-generator" ]; then
        $python -m overlay_generator.dryrun --root "${IMAGE_ROOTFS}" --cmdline "${OVERLAY_GENERATOR_CMDLINE}" \
            --print >/dev/null
        return
    fi
    always=
    if [ "${OVERLAY_GENERATOR_ALWAYS}" = 1 ]; then always=--always; fi
    $python -m overlayctl render --root "${IMAGE_ROOTFS}" --cmdline "${OVERLAY_GENERATOR_CMDLINE}" $always \
        --output "${IMAGE_ROOTFS}"
}
