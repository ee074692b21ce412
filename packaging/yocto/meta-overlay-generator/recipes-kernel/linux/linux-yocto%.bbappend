# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
# Asked for by the distribution or local.conf:
#   DISTRO_FEATURES:append = " overlay-generator"
# By require, as the layer alone must not change a kernel's signature, and conditions in a value are a part of that.
# A build without linux-yocto masks this file too: BBMASK += "meta-overlay-generator/recipes-kernel"
require ${@bb.utils.contains('DISTRO_FEATURES', 'overlay-generator', 'overlay-generator-kernel.inc', '', d)}
