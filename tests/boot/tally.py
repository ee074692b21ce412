# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Say in a line what a series of power cuts has shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runner import BootResult

# The checks whose failure means that something was lost, or that there was no /var to write to.
LOST = ("nothing-synced-is-lost", "synced-files-are-whole", "staged-reset-is-done", "kept-read")
NOT_WRITABLE = ("var-is-overlay", "var-writable", "backing-type:ext4")


def tallies(results: Sequence[BootResult]) -> Iterator[str]:
    """Yield a line for each scenario and suite in which the power was cut more than once."""
    for suite, scenario in dict.fromkeys((result.suite, result.scenario) for result in results):
        boots = [result for result in results if (result.suite, result.scenario) == (suite, scenario)]
        cuts = [result for result in boots if result.cut]
        if len(cuts) < 2:
            continue
        looked = [int(result.info["verified"]) for result in boots if "verified" in result.info]
        lost = sum(any(_failed(result, name) for name in LOST) for result in boots)
        without = sum(any(_failed(result, name) for name in NOT_WRITABLE) for result in boots)
        yield (
            f"{scenario} ({suite}): {len(cuts)} power cuts; {len(looked)} boots came to look at what was synced, "
            f"{max(looked, default=0)} entries at the last; lost something: {lost}, without a writable /var: {without}"
        )


def _failed(result: BootResult, name: str) -> bool:
    return any(outcome.name == name and not outcome.ok for outcome in result.outcomes)
