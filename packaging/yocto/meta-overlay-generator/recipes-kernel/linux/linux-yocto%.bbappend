# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
# Asked for by the distribution or local.conf:
#   DISTRO_FEATURES:append = " overlay-generator"
# By require: the layer alone must not change a kernel's signature, and a condition inside a value would be part of it.
# A build that masks linux-yocto has to mask this file too: BBMASK += "meta-overlay-generator/recipes-kernel"
require ${@bb.utils.contains('DISTRO_FEATURES', 'overlay-generator', 'overlay-generator-kernel.inc', '', d)}
