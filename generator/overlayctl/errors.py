# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What ends a verb with a sentence for a person."""

FAILED = 3  # the exit status: 1 and 2 are findings of status and check


class Failure(Exception):
    """The verb can't do what was asked; the text says what is wrong, where, and what to do. Exit status FAILED."""
