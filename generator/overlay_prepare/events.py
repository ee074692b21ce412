# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Events that are worth an alert, each with a MESSAGE_ID that never changes (systemd.journal-fields(7)). Pure.

docs/troubleshooting.md explains each; packaging/make-catalog makes the catalog for journalctl(1) from that page.
"""

FELL_BACK = "2d08fae7fc944a9f9f03c6bfa7415117"
READ_ONLY = "b8dbacb82b92431e8c61bbb120c94806"
NOT_OVERLAID = "1b44b4d6ab8a48cca2d81ab69c2bb732"
IMAGE_CHANGED = "42bc8ca747d4406382761df10d768c7b"
ENTRIES_DROPPED = "8e3bfca2b7d042a38573d6dd9ffbfcab"
POLICY_NOT_DONE = "ecfde2a8f0f94eb79019fa56a6bf2350"
RESET_DONE = "cb8760199a9c42f796e58a0c7423e3ec"
RESET_REFUSED = "083d7dee871c4dc6a329c1d6181cd9cc"
NOT_PASSED_THROUGH = "8ebded97c4c64e4d9d2d6e0ded70e78b"
BOOT_NOT_GOOD = "0323f0e2c58946a08c5ebd49d9c8deca"
DATA_FROZEN = "637672cec4cc475eab83aee9285f3db0"
DATA_FOLDED = "4b5f906c83ca4faca28bb93e4b257417"
STEPPED_BACK = "2205968d808c4e9f98561610739cefe0"
ROLLBACK_REFUSED = "bf7c297d0b6e48c3b1508162fbba60ca"

# What the generator's units call them, as it imports nothing from here.
BY_NAME = {
    "fell-back": FELL_BACK, "not-overlaid": NOT_OVERLAID, "not-passed-through": NOT_PASSED_THROUGH,
}  # fmt: skip
