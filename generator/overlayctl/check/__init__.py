# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""overlayctl check: the rules, a module for each thing that is looked at, and the verb that collects what they find."""
