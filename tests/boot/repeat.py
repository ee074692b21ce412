# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boots that are repeated: each repetition becomes a boot of its own, its power cut drawn by chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import gcd
from random import Random

from values import Boot, Cut, Scenario


def spelt_out(scenario: Scenario, count: int | None, seed: int) -> Scenario:
    """Return the scenario with every repeated boot as so many boots, each with one image and one moment.

    count takes the place of what the scenario says. The same seed gives the same moments.
    """
    chance = Random(f"{scenario.name} {seed}")
    return replace(scenario, boots=tuple(boot for wanted in scenario.boots for boot in _each(wanted, count, chance)))


def _each(wanted: Boot, count: int | None, chance: Random) -> Iterator[Boot]:
    times = wanted.repeat if wanted.repeat == 1 or count is None else count
    for number in range(times):
        cuts = wanted.cuts
        if cuts:
            # The images in turn, so that each boot is an update; the kinds of cut as well, where that brings each of
            # them to each image, otherwise once all images had their turn.
            images = len(wanted.images)
            drawn = cuts[(number if gcd(images, len(cuts)) == 1 else number // images) % len(cuts)]
            after = round(chance.uniform(drawn.least, drawn.most), 2)
            cuts = (Cut(drawn.at, after, after),)
        yield replace(
            wanted,
            name=wanted.name if wanted.repeat == 1 else f"{wanted.name}-{number + 1:02}",
            images=(wanted.images[number % len(wanted.images)],),
            cuts=cuts,
            repeat=1,
        )
