# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
include $(sort $(wildcard $(BR2_EXTERNAL_OVERLAY_GENERATOR_PATH)/package/*/*.mk))
