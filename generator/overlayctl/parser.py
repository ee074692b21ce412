# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The command line of one verb, with what all of them have."""

import argparse
from typing import NoReturn

from overlayctl.errors import FAILED


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports wrong usage in one line and by exit status 3: 1 and 2 are findings of verbs."""

    def error(self, message: str) -> NoReturn:
        """Does not return."""
        self.exit(FAILED, f"overlayctl: {message}; see {self.prog} --help\n")


def make_parser(name: str, description: str, examples: str) -> Parser:
    """A parser for the command `name`, with the options that every verb has; a verb adds its own."""
    parser = Parser(
        prog=name,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--color", metavar="WHEN", choices=("auto", "always", "never"), default="auto",
        help="auto (on a terminal, the default), always or never",
    )  # fmt: skip
    parser.add_argument("--no-pager", action="store_true", help="write long output without a pager")
    return parser
