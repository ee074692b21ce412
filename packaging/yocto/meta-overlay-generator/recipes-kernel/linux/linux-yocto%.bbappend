# Asked for by the distribution or local.conf, so that the layer alone changes no kernel:
#   DISTRO_FEATURES:append = " overlay-generator"
FILESEXTRAPATHS:prepend := "${THISDIR}/files:"

SRC_URI:append = "${@bb.utils.contains('DISTRO_FEATURES', 'overlay-generator', \
    ' file://overlay-generator.scc file://overlay-generator.cfg', '', d)}"
