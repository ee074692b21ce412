# SPDX-FileCopyrightText: 2026 the overlay-generator maintainers
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boots from what disks hold after power cuts: as much as fits into two minutes; `make crash` does more."""

import os
from functools import partial

import pytest
from crash import collect, find_kinds, find_missing, fork, try_control, try_kind
from crashcases import CONTROLS, SCENARIOS

KINDS = ("ext4", "xfs", "btrfs", "f2fs")
SECONDS = float(os.environ.get("CRASH_SECONDS", "25"))
MISSING = find_missing()

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.mark.parametrize("kind", KINDS)
def test_no_power_cut_costs_anything(kind: str) -> None:
    usable, reasons = find_kinds([kind])
    if not usable:
        pytest.skip(reasons[0])
    tally = collect(fork(partial(try_kind, kind, list(SCENARIOS), 10000, SECONDS, 1, 2)))
    assert tally is not None, "the harness itself failed"
    assert tally.states > 0
    assert tally.faults == []


# The first takes some 150 states to show, which is for `make crash`.
@pytest.mark.parametrize(("fault", "name", "pace", "near"), CONTROLS[1:])
def test_a_broken_product_is_found_out(fault: str, name: str, pace: str, near: str) -> None:
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    tally = collect(fork(partial(try_control, "ext4", fault, scenario, pace, near, 150, 1)))
    assert tally is not None, "the harness itself failed"
    assert tally.faults
